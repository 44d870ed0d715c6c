"""The k-reciprocal clustering of the published code: N x N matrices, and Python loops over points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

Dense = NDArray[Any]


def dense_steps(
    features: NDArray, *, k1: int, k2: int, eps: float | None, min_samples: int, half: bool
) -> Iterator[tuple[str, NDArray | float]]:
    """Yield the name and the result of each step; the last result is the labels.

    Args:
        features, k1, k2, min_samples: as in `assign_pseudo_labels`.
        eps: radius; None for the published rule.
        half: float16 throughout (as published), which moves neighbors by rounding; else float32.
    """
    distance = _squared_distances(features.astype(np.float32)).astype(np.float16 if half else np.float32)
    distance = np.transpose(distance / distance.max(axis=0))
    ranks = np.argsort(distance).astype(np.int32)
    yield "neighbors", ranks
    weights = _soft_memberships(distance, ranks, k1)
    yield "reciprocal", weights
    if k2 > 1:
        expanded = np.zeros_like(weights)
        for point in range(len(weights)):
            expanded[point] = weights[ranks[point, :k2]].mean(axis=0)
        weights = expanded
    yield "expansion", weights
    jaccard = _jaccard(weights)
    yield "overlap", jaccard
    if eps is None:
        upper = np.triu(jaccard, 1).ravel()
        upper = np.sort(upper[upper >= 1e-6])
        eps = float(upper[: round(0.01 * len(upper))].mean())
    yield "eps", eps
    np.fill_diagonal(jaccard, 0)
    yield "DBSCAN", DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(jaccard)


def _squared_distances(features: Dense) -> Dense:
    norms = (features**2).sum(axis=1)
    return np.maximum(norms[:, None] + norms[None] - 2 * features @ features.T, 0)


def _reciprocal(ranks: NDArray[np.int32], point: int, size: int) -> NDArray[np.int32]:
    forward = ranks[point, :size]
    backward = ranks[forward, :size]
    return forward[np.where(backward == point)[0]]


def _soft_memberships(distance: Dense, ranks: NDArray[np.int32], k1: int) -> Dense:
    weights = np.zeros_like(distance)
    for point in range(len(distance)):
        first = _reciprocal(ranks, point, k1 + 1)
        members = first
        for other in first:
            candidates = _reciprocal(ranks, int(other), round(k1 / 2) + 1)
            if len(np.intersect1d(candidates, first)) > 2 / 3 * len(candidates):
                members = np.append(members, candidates)
        members = np.unique(members)
        weight = np.exp(-distance[point, members])
        weights[point, members] = weight / weight.sum()
    return weights


def _jaccard(weights: Dense) -> Dense:
    having = [np.flatnonzero(weights[:, point]) for point in range(len(weights))]
    jaccard = np.zeros_like(weights)
    for point in range(len(weights)):
        overlap = np.zeros(len(weights), weights.dtype)
        for member in np.flatnonzero(weights[point]):
            others = having[member]
            overlap[others] += np.minimum(weights[point, member], weights[others, member])
        jaccard[point] = 1 - overlap / (2 - overlap)
    return np.maximum(jaccard, 0)
