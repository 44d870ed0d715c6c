"""Fused features in, pseudo-labels out: who might be the same person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clustering.density import cluster_precomputed, cluster_rows
from clustering.jaccard import below, plain_jaccard
from clustering.radius import automatic_eps
from clustering.source import add_source, source_offsets


@dataclass(frozen=True)
class PseudoLabels:
    """One clustering of a training set.

    Attributes:
        labels: [N] int64, 0 to clusters - 1, or -1 for noise.
        eps: the radius that was used; freeze it for later rounds.
    """

    labels: NDArray[np.int64]
    eps: float

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
    eps: float | Literal["auto"] = "auto",
    min_samples: int = 4,
    metric: Literal["precomputed", "rows"] = "precomputed",
) -> PseudoLabels:
    """Cluster features by DBSCAN over their k-reciprocal Jaccard distance.

    Args:
        features: [N, D].
        source, source_weight, k1, k2: as in `jaccard_distance`.
        eps: radius, or "auto" for the mean of the smallest 1 % of all distances (as published).
        min_samples: points within eps, itself included, that make a point a core point.
        metric: "precomputed" takes eps as a Jaccard distance, which is what the field means; "rows" as the
            Euclidean distance between two rows of the distance matrix, which is what the release computes.

    Raises:
        ValueError: as `jaccard_distance`, an eps that is not positive, or an unknown metric.
    """
    if eps != "auto" and not eps > 0:
        raise ValueError(f"eps must be positive or 'auto', not {eps}")
    if metric not in ("precomputed", "rows"):
        raise ValueError(f"metric must be 'precomputed' or 'rows', not {metric!r}")
    weight = source_weight if source is not None else 0.0
    jaccard = plain_jaccard(features, k1=k1, k2=k2)
    offsets = source_offsets(features, source) if weight and source is not None else np.zeros(len(features))
    if eps == "auto":
        eps = automatic_eps(_with_source(jaccard, offsets, weight, 0.0), offsets=offsets, weight=weight)
    if metric == "rows":
        similarity = jaccard.copy()
        similarity.data = 1 - similarity.data
        labels = cluster_rows(similarity, offsets, weight, eps=eps, min_samples=min_samples)
    else:
        # DBSCAN's ball is closed: keep what is exactly eps away.
        reach = np.nextafter(eps, np.inf)
        distance = below(_with_source(jaccard, offsets, weight, reach), reach)
        labels = cluster_precomputed(distance, eps=eps, min_samples=min_samples)
    return PseudoLabels(labels=labels, eps=float(eps))


def _with_source(
    jaccard: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, max_distance: float
) -> sparse.csr_matrix:
    return add_source(jaccard, offsets, weight, max_distance) if weight else jaccard
