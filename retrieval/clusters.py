"""The pseudo-clusters of a run's last round, laid out in a plane by t-SNE."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from retrieval.report import Scatter
from retrieval.report.scatter import NAMED
from utils.files import read_npz

_PERPLEXITY = 30.0
_NAME = re.compile(r"pseudo_labels_(\d+)\.npz")
_FEWEST = 5  # images that make a picture


def cluster_picture(run: Path, *, seed: int = 0) -> Scatter | None:
    """The last round's sample of fused features in a plane; None where the run has none.

    Raises:
        UserError: the file of that round cannot be read.
    """
    rounds = [int(match[1]) for file in run.glob("*.npz") if (match := _NAME.fullmatch(file.name))]
    if not rounds:
        return None
    found = read_npz(run / f"pseudo_labels_{max(rounds)}.npz", ["labels"], optional=["sample", "features"])
    if len(found.get("sample", ())) < _FEWEST:  # or of an older version, which kept none
        return None
    labels, sample, features = found["labels"], found["sample"], found["features"]

    from sklearn.manifold import TSNE  # takes a second to load

    unit = features.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True).clip(1e-12)
    perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit)
    own = labels[sample]
    sizes = np.bincount(labels[labels >= 0])
    largest = np.argsort(-sizes, kind="stable")[:NAMED]
    points = [(float(x), float(y)) for x, y in plane]

    def of(chosen: np.ndarray) -> list[tuple[float, float]]:
        return [points[number] for number in np.flatnonzero(chosen)]

    named = {f"cluster {label}": of(own == label) for label in largest}
    shown = "" if len(sample) == len(labels) else f"{len(sample):,} of "
    return Scatter(
        title="Pseudo-clusters of the last round",
        named={name: places for name, places in named.items() if places},
        others=of((own >= 0) & ~np.isin(own, largest)),
        none=of(own < 0),
        note=f"{shown}{len(labels):,} training images by their fused features (t-SNE), as the last round clustered "
        f"them: {len(sizes):,} clusters, of which the {len(largest)} largest are marked in colour; grey dots are "
        f"images of others, rings are noise ({int((labels < 0).sum()):,} images).",
    )
