"""Fused features in, pseudo-labels out: who might be the same person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.density import cluster_precomputed, cluster_rows
from clustering.jaccard import upper_jaccard
from clustering.neighbours import Method
from clustering.quality import silhouette
from clustering.radius import automatic_eps, silhouette_eps
from clustering.source import add_source, source_offsets
from utils.errors import UserError


@dataclass(frozen=True)
class PseudoLabels:
    """One clustering of a training set.

    Attributes:
        labels: [N] int64, 0 to clusters - 1, or -1 for noise.
        eps: the radius that was used; freeze it for later rounds.
        silhouette: of a sample, in feature space (`clustering.quality.silhouette`); NaN below two clusters.
    """

    labels: NDArray[np.int64]
    eps: float
    silhouette: float = float("nan")

    @property
    def clusters(self) -> int:
        """How many clusters were found."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def noise(self) -> int:
        """How many points belong to none."""
        return int((self.labels == -1).sum())


def assign_pseudo_labels(
    features: NDArray,
    *,
    source: NDArray | None = None,
    source_weight: float = 0.0,
    k1: int = 20,
    k2: int = 6,
    eps: float | Literal["auto", "silhouette"] = "auto",
    min_samples: int = 4,
    metric: Literal["precomputed", "rows"] = "precomputed",
    knn: Method = "exact",
    device: torch.device | str | None = None,
) -> PseudoLabels:
    """Cluster features by DBSCAN over their k-reciprocal Jaccard distance.

    Args:
        features: [N, D].
        source, source_weight, k1, k2: as in `jaccard_distance`.
        eps: radius; "auto" for the mean of the smallest 1 % of all distances (as published); or "silhouette" for the
            one of 0.2, 0.25, ... 0.8 with the highest silhouette, as in `silhouette_eps`.
        min_samples: points within eps, itself included, that make a point a core point.
        metric: "precomputed" takes eps as a Jaccard distance, which is what the field means; "rows" as the
            Euclidean distance between two rows of the distance matrix, which is what the release computes.
        knn, device: how and where neighbours are searched, as in `find_neighbours`.

    Raises:
        UserError: as `jaccard_distance`, an eps that is not positive, an unknown metric or rule, or an eps that takes
            in more pairs without a common neighbour than memory should hold.
    """
    check_options(k1=k1, k2=k2, eps=eps, min_samples=min_samples, metric=metric, knn=knn, source_weight=source_weight)
    weight = source_weight if source is not None else 0.0
    # Pairs beyond a known radius are not even stored; other rules need all that are not 1 apart.
    kept = _beyond(eps) / (1 - weight) if not isinstance(eps, str) and metric == "precomputed" else np.inf
    pairs = upper_jaccard(features, k1=k1, k2=k2, max_distance=kept, knn=knn, device=device)
    offsets = np.zeros(len(features))
    if weight and source is not None:
        offsets = source_offsets(features, source, device=device)

    def labels_at(radius: float) -> NDArray[np.int64]:
        if not weight and radius >= 1:  # no pair is farther apart
            return np.full(len(features), 0 if len(features) >= min_samples else -1)
        near = add_source(pairs, offsets, weight, _beyond(radius))
        return cluster_precomputed(near, eps=radius, min_samples=min_samples)

    if eps == "silhouette":
        eps, labels = silhouette_eps(pairs, labels_at)
    else:
        if eps == "auto":
            eps = automatic_eps(add_source(pairs, offsets, weight, 0.0), offsets=offsets, weight=weight)
        if metric == "rows":
            labels = cluster_rows(pairs, offsets, weight, eps=eps, min_samples=min_samples)
        else:
            labels = labels_at(eps)
    return PseudoLabels(labels, float(eps), silhouette(features, labels))


def check_options(
    *,
    k1: int,
    k2: int,
    eps: float | str,
    min_samples: int,
    metric: str,
    knn: str,
    source_weight: float = 0.0,
    source: NDArray | None = None,
) -> None:
    """Refuse what `assign_pseudo_labels` cannot work with, whatever the features are.

    Raises:
        UserError: it names the argument.
    """
    if k1 < 1 or k2 < 1:
        raise UserError(f"k1 and k2 must be at least 1, not {k1} and {k2}")
    if eps not in ("auto", "silhouette") and not (isinstance(eps, float | int) and 0 < eps < np.inf):
        raise UserError(f"eps must be positive, 'auto' or 'silhouette', not {eps}")
    if metric not in ("precomputed", "rows"):
        raise UserError(f"metric must be 'precomputed' or 'rows', not {metric!r}")
    if eps == "silhouette" and metric == "rows":
        raise UserError("eps 'silhouette' is a Jaccard distance: it needs the metric 'precomputed'")
    if min_samples < 1:
        raise UserError(f"min_samples must be at least 1, not {min_samples}")
    if source_weight and not 0 <= source_weight < 1:
        raise UserError(f"source_weight must be in [0, 1), not {source_weight}")
    if knn not in ("exact", "ivf"):
        raise UserError(f"knn must be 'exact' or 'ivf', not {knn!r}")


def _beyond(radius: float) -> float:
    """The bound below which all distances up to `radius` are: DBSCAN's ball is closed."""
    return float(np.nextafter(radius, np.inf))
