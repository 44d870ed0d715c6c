"""Pseudo-labels: clusters of fused features, each of which may be one person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.dbscan import cluster_precomputed, cluster_rows
from clustering.eps import automatic_eps, silhouette_eps
from clustering.jaccard import add_source, neighbors_needed, source_offsets, upper_jaccard
from clustering.neighbors import check_features, check_source, find_neighbors
from clustering.options import ClusterOptions
from clustering.quality import silhouette
from utils import distributed
from utils.options import build


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
        """Number of clusters."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def noise(self) -> int:
        """Number of points that belong to no cluster."""
        return int((self.labels == -1).sum())


def are_labels(labels: NDArray[Any]) -> bool:
    """Whether an array that was read from a file can be the labels of some points."""
    if labels.ndim != 1 or labels.dtype != np.int64:
        return False
    return bool(labels.min(initial=-1) >= -1 and labels.max(initial=-1) < len(labels))


def assign_pseudo_labels(
    features: NDArray[Any],
    *,
    source: NDArray[Any] | None = None,
    source_weight: float = 0.0,
    k1: int = 20,
    k2: int = 6,
    eps: float | Literal["auto", "silhouette"] = "auto",
    min_samples: int = 4,
    metric: Literal["precomputed", "rows"] = "precomputed",
) -> PseudoLabels:
    """Cluster features by DBSCAN over their k-reciprocal Jaccard distance, without whitening.

    Args:
        features: [N, D].
        source, source_weight, k1, k2: as in `jaccard_distance`.
        eps, min_samples, metric: as in `ClusterOptions`.

    Raises:
        UserError: as `cluster_features`, or for an option that is not possible.
    """
    values = {"whiten": 0.0, "k1": k1, "k2": k2, "eps": eps, "min_samples": min_samples, "metric": metric}
    options = build(ClusterOptions, values | {"knn": "exact", "source_weight": source_weight})
    return cluster_features(features, options, source=source)


def cluster_features(
    features: NDArray[Any],
    options: ClusterOptions,
    *,
    source: NDArray[Any] | None = None,
    device: torch.device | str | None = None,
) -> PseudoLabels:
    """Cluster features by DBSCAN over their k-reciprocal Jaccard distance.

    In a process group every rank must call this with the same arguments. The ranks share the search for neighbors;
    rank 0 does the rest and broadcasts the labels, so that machines that round differently cannot disagree.

    Args:
        features: [N, D].
        source: [M, D], features of the source set for the source term.
        device: where neighbors are searched; None takes the first GPU if there is one.

    Raises:
        UserError: features or source are not finite matrices, or eps includes more pairs without a common neighbor
            than memory should hold.
    """
    features = check_features(features)
    source = check_source(source, features) if source is not None and options.source_weight else None
    if options.whiten and len(features):
        features, *others = whitened(features, options.whiten, *([] if source is None else [source]))
        source = others[0] if others else None
    if distributed.world_size() == 1:
        return _cluster(features, options, source, device)

    def cluster_on_main() -> dict[str, Any]:
        found = _cluster(features, options, source, device)
        return {"labels": found.labels.tolist(), "eps": found.eps, "silhouette": found.silhouette}

    if not distributed.is_main_process() and len(features):  # the counterpart of the search on rank 0
        k = neighbors_needed(len(features), options.k1, options.k2)
        find_neighbors(features, k, method=options.knn, device=device)
    found = distributed.run_on_main(cluster_on_main)
    return PseudoLabels(np.array(found["labels"], np.int64), found["eps"], found["silhouette"])


def _cluster(
    features: NDArray[Any], options: ClusterOptions, source: NDArray[Any] | None, device: torch.device | str | None
) -> PseudoLabels:
    """Cluster checked features, with the source term if there is a source."""
    eps, min_samples, by_rows = options.eps, options.min_samples, options.metric == "rows"
    weight = 0.0 if source is None else options.source_weight
    # Pairs beyond a known radius need not be stored; the other rules need all pairs with a common neighbor.
    bound = np.inf if isinstance(eps, str) or by_rows else _just_above(eps) / (1 - weight)
    pairs = upper_jaccard(features, k1=options.k1, k2=options.k2, max_distance=bound, knn=options.knn, device=device)
    offsets = np.zeros(len(features)) if source is None else source_offsets(features, source, device=device)

    def labels_at(radius: float) -> NDArray[np.int64]:
        if not weight and radius >= 1:  # no pair is farther apart
            return np.full(len(features), 0 if len(features) >= min_samples else -1)
        near = add_source(pairs, offsets, weight, _just_above(radius))
        return cluster_precomputed(near, eps=radius, min_samples=min_samples)

    if eps == "auto":
        eps = automatic_eps(add_source(pairs, offsets, weight, 0.0), offsets=offsets, weight=weight)
    if eps == "silhouette":
        eps, labels = silhouette_eps(pairs, labels_at)
    elif by_rows:
        labels = cluster_rows(pairs, offsets, weight, eps=eps, min_samples=min_samples)
    else:
        labels = labels_at(eps)
    return PseudoLabels(labels, eps, silhouette(features, labels))


def whitened(features: NDArray[Any], strength: float, *others: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Scale the principal components of features so that a few strong ones no longer decide what is near.

    With the mean m, the unit eigenvectors V of the scatter matrix and its eigenvalues `s^2`:
    `z = (x - m) V s^(-strength)`, divided by its norm.

    Args:
        features: [N, D], N at least 1.
        strength: 0 only subtracts the mean, 1 gives all components the same variance.
        others: [M, D] each, transformed as the features are.

    Returns:
        The features and the others, with rows of unit length; a row at the mean stays zero.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    centered = features - mean
    variances, axes = np.linalg.eigh(centered.T @ centered)
    # Components without variance hold rounding alone, which must not be scaled up.
    kept = variances > variances[-1] * features.shape[1] * np.finfo(np.float32).eps
    scaled = axes[:, kept] * variances[kept] ** (-strength / 2)
    rows = [centered @ scaled, *((other - mean) @ scaled for other in others)]
    norms = [np.linalg.norm(each, axis=1, keepdims=True) for each in rows]
    return [(each / np.where(norm > 0, norm, 1)).astype(np.float32) for each, norm in zip(rows, norms, strict=True)]


def _just_above(radius: float) -> float:
    """Return the smallest bound that all distances up to `radius` are below: the ball of DBSCAN is closed."""
    return float(np.nextafter(radius, np.inf))
