"""Exact nearest neighbours with faiss, in a fixed order."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

_SPARE = 8  # faiss ranks in float32: a few more candidates, ranked again in float64, settle what is nearly tied


def as_features(features: NDArray, name: str) -> NDArray:
    """Check that `features` is a finite [N, D] matrix of floats.

    Raises:
        ValueError: it is not; rows that are not finite are named.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise ValueError(f"{name} must be a matrix of floats, not {features.dtype} of shape {features.shape}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} are not finite in rows {', '.join(map(str, bad[:8]))}{', ...' * (len(bad) > 8)}")
    return features


def nearest_neighbours(features: NDArray, k: int) -> NDArray[np.int64]:
    """Find the k nearest points of every point, itself first.

    Args:
        features: [N, D].
        k: neighbours, the point itself included; at most N.

    Returns:
        Indices [N, k] by rising squared Euclidean distance, ties by index.
    """
    count = len(features)
    index = faiss.IndexFlatL2(features.shape[1])
    base = np.ascontiguousarray(features, dtype=np.float32)
    index.add(base)
    _, found = index.search(base, min(count, k + _SPARE))
    own = np.arange(count)
    lost = (found != own[:, None]).all(axis=1)  # among many duplicates faiss may leave the point itself out
    found[lost, -1] = own[lost]
    distance = squared_distances(features, found)
    distance[found == own[:, None]] = -1  # first, whatever it ties with
    return np.take_along_axis(found, np.lexsort((found, distance), axis=1)[:, :k], axis=1)


def squared_distances(features: NDArray, columns: NDArray[np.int64], rows: NDArray[np.int64] | None = None) -> NDArray:
    """Squared Euclidean distances of each row's point to the points `columns` [R, k], summed in float64."""
    distance = np.empty(columns.shape)
    rows = np.arange(len(columns)) if rows is None else rows
    step = max(1, 2**22 // max(1, columns.shape[1] * features.shape[1]))
    for start in range(0, len(columns), step):
        part = slice(start, start + step)
        difference = features[rows[part], None].astype(np.float64) - features[columns[part]].astype(np.float64)
        distance[part] = np.einsum("rkd,rkd->rk", difference, difference)
    return distance


def farthest_distance(features: NDArray) -> NDArray[np.float64]:
    """Squared Euclidean distance [N] of each point to the point farthest from it."""
    base = np.ascontiguousarray(features, dtype=np.float32)
    # |q - x|^2 is largest where |x|^2 - 2 q.x is: one inner product with an extra coordinate.
    norms = np.einsum("nd,nd->n", base, base)
    index = faiss.IndexFlatIP(base.shape[1] + 1)
    index.add(np.hstack([base, norms[:, None]]))
    _, found = index.search(np.hstack([-2 * base, np.ones((len(base), 1), np.float32)]), 1)
    return squared_distances(features, found)[:, 0]


def nearest_other(features: NDArray, others: NDArray) -> NDArray[np.float64]:
    """Squared Euclidean distance [N] of each point of `features` [N, D] to the nearest of `others` [M, D]."""
    index = faiss.IndexFlatL2(others.shape[1])
    index.add(np.ascontiguousarray(others, dtype=np.float32))
    _, found = index.search(np.ascontiguousarray(features, dtype=np.float32), min(len(others), 1 + _SPARE))
    near = features[:, None].astype(np.float64) - others[found].astype(np.float64)
    return np.einsum("nkd,nkd->nk", near, near).min(axis=1)
