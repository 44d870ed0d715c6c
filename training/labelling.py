"""A round's pseudo-labels: who might be the same person, and what is said about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from clustering.pseudo_labels import PseudoLabels
from clustering.quality import describe_quality, label_quality
from clustering.together import assign_together
from training.run_folder import RunFolder
from utils.errors import UserError

_STEP = 1.1  # by which a radius is widened or narrowed
_TRIES = 24  # from 0.1 to 0.98

Features = Callable[[], tuple[NDArray, NDArray | None]]


def labels_of_round(
    run: RunFolder,
    number: int,
    features: Features,
    *,
    names: Sequence[str],
    degenerate: Literal["stop", "adjust"],
    **options: Any,
) -> PseudoLabels:
    """The labels that were saved for a round, or those of its clustering, which are saved.

    Args:
        features: computes those of the training pairs and of the source pairs.
        names: of the training images.
        degenerate: what to do about labels that teach nothing, all noise or all one cluster: stop, or `adjust` the
            radius by tenths until there are two clusters.
        options: of `assign_together`.

    Raises:
        UserError: there is nothing to learn from the labels.
    """
    if stored := run.load_labels(number):
        return PseudoLabels(*stored)
    own, source = features()
    found = assign_together(own, source=source, **options)
    for _ in range(_TRIES if degenerate == "adjust" else 0):
        if found.clusters > 1:
            break
        eps = found.eps * _STEP if not found.clusters else found.eps / _STEP
        print(f"round {number}: {_what(found)} at eps={found.eps:.4f}, trying {eps:.4f}", file=sys.stderr)
        found = assign_together(own, source=source, **(options | {"eps": eps}))
    if found.clusters < 2:
        hint = "smaller" if found.clusters else "larger"
        raise UserError(f"round {number}: {_what(found)} at eps={found.eps:.4f}: set a {hint} cluster.eps")
    run.save_labels(number, found.labels, eps=found.eps, silhouette=found.silhouette, names=names, features=own)
    return found


def _what(found: PseudoLabels) -> str:
    return "all are one" if found.clusters else "every image is noise"


def tell_quality(run: RunFolder, number: int, found: PseudoLabels, person_ids: NDArray | None) -> None:
    """Log and print what the labels are like; person ids are read here alone, and nothing that follows sees them."""
    before = run.load_labels(number - 1)
    quality = label_quality(
        found.labels, person_ids, previous=before[0] if before else None, silhouette=found.silhouette
    )
    run.log("labels", round=number, eps=found.eps, **quality)
    print(f"round {number}: {describe_quality(quality)}, eps {found.eps:.4f}", flush=True)
