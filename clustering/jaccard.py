"""k-reciprocal Jaccard distance (Zhong et al., CVPR 2017, equations 2 to 10), sparse: memory grows with N k.

Two points are near when their neighbourhoods overlap. Nearly all pairs have no neighbour in common and a distance of
exactly 1, so only the others are computed and kept.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from clustering.neighbours import Method, Neighbours, as_features, find_neighbours
from clustering.overlap import pairwise_jaccard
from clustering.source import add_source, source_offsets
from utils.errors import UserError


def jaccard_distance(
    features: NDArray,
    *,
    k1: int = 20,
    k2: int = 6,
    source: NDArray | None = None,
    source_weight: float = 0.0,
    max_distance: float = 1.0,
) -> sparse.csr_matrix:
    """Distance between the k-reciprocal neighbourhoods of points.

    Args:
        features: [N, D], any float type.
        k1: neighbours that may be reciprocal.
        k2: neighbours, the point itself included, whose neighbourhoods are averaged.
        source: [M, D], features of another data set. What lies far from all of it is moved away from everything:
            `D = (1 - w) Jaccard + w (a_i + a_j)`, `a_i = min_s (1 - exp(-|z_i - s|^2))` over its maximum.
        source_weight: w.
        max_distance: pairs this far apart or farther are left out.

    Returns:
        [N, N] float64, symmetric; an absent entry means `max_distance` or farther, an exact zero is stored. Every
        diagonal entry is stored, as zero. Above `1 - source_weight` pairs without a common neighbour count too, and
        memory may grow with N^2.

    Raises:
        UserError: features that are no finite matrix, k1 or k2 below 1, a weight outside [0, 1), a weight without a
            source, or a bound above 1 without a source: then all N^2 pairs are below it.
    """
    if not 0 <= source_weight < 1:
        raise UserError(f"source_weight must be in [0, 1), not {source_weight}")
    if source_weight and source is None:
        raise UserError("source_weight needs the features of a source set")
    if not source_weight and max_distance > 1:
        raise UserError(f"max_distance must be at most 1, not {max_distance}: without a source no pair is farther")
    pairs = upper_jaccard(features, k1=k1, k2=k2, max_distance=max_distance / (1 - source_weight))
    if source_weight and source is not None:
        pairs = add_source(pairs, source_offsets(features, source), source_weight, max_distance)
    return symmetric(pairs, max_distance)


def upper_jaccard(
    features: NDArray,
    *,
    k1: int,
    k2: int,
    max_distance: float = 1.0,
    knn: Method = "exact",
    device: torch.device | str | None = None,
) -> sparse.csr_matrix:
    """Jaccard distances of the pairs i < j, [N, N]: those up to `max_distance`, which rounding may exceed a little.

    Where `max_distance` is 1 or more, exactly the pairs without a common neighbour are absent; they are 1 apart.

    Raises:
        UserError: features that are no finite matrix, or k1 or k2 below 1.
    """
    if k1 < 1 or k2 < 1:
        raise UserError(f"k1 and k2 must be at least 1, not {k1} and {k2}")
    features = as_features(features, "features")
    count = len(features)
    if count == 0:
        return sparse.csr_matrix((0, 0))
    near = find_neighbours(features, neighbours_wanted(count, k1, k2), method=knn, device=device)
    weights = neighbourhoods(near, k1=k1, k2=k2)
    del near  # and its copy of the features
    return pairwise_jaccard(weights, max_distance=max_distance)


def neighbours_wanted(count: int, k1: int, k2: int) -> int:
    """How many neighbours of each of `count` points are searched for, the point itself included."""
    return min(count, max(k1 + 1, k2))


def neighbourhoods(near: Neighbours, *, k1: int, k2: int) -> sparse.csr_matrix:
    """Soft k-reciprocal neighbourhoods V of sum 1, averaged over the k2 nearest points, [N, N]."""
    weights = reciprocal_neighbourhoods(near, k1=k1)
    return averaged(weights, near.nearest[:, :k2]) if k2 > 1 else weights


def reciprocal_neighbourhoods(near: Neighbours, *, k1: int) -> sparse.csr_matrix:
    """Expanded k-reciprocal neighbours, weighted by `exp(-d)`, d scaled by its row's maximum, [N, N] (equation 7)."""
    members = _expanded_reciprocal(near.nearest[:, : k1 + 1], half=round(k1 / 2) + 1)
    rows = np.repeat(np.arange(members.shape[0]), np.diff(members.indptr))
    scale = np.maximum(near.farthest, np.finfo(float).tiny)
    weights = np.exp(-near.squared_distances(rows, members.indices) / scale[rows])
    weights /= np.bincount(rows, weights, minlength=members.shape[0])[rows]
    return sparse.csr_matrix((weights, members.indices, members.indptr), shape=members.shape)


def symmetric(pairs: sparse.csr_matrix, max_distance: float) -> sparse.csr_matrix:
    """Both directions of the pairs nearer than `max_distance`, and a stored zero for each point with itself."""
    count = pairs.shape[0]
    keep = pairs.data < max_distance
    row = np.repeat(np.arange(count, dtype=np.int32), np.diff(pairs.indptr))[keep]
    column, data, own = pairs.indices[keep], pairs.data[keep], np.arange(count, dtype=np.int32)
    places = (np.concatenate([row, column, own]), np.concatenate([column, row, own]))
    return sparse.csr_matrix((np.concatenate([data, data, np.zeros(count)]), places), shape=pairs.shape)


def averaged(weights: sparse.csr_matrix, nearest: NDArray[np.int64]) -> sparse.csr_matrix:
    """The mean neighbourhood of each point's nearest [N, k2] (local query expansion)."""
    return (_indicator(nearest) @ weights).tocsr() / nearest.shape[1]


def _indicator(columns: NDArray[np.int64]) -> sparse.csr_matrix:
    """[N, k] column numbers -> [N, N] with ones there."""
    count, k = columns.shape
    ones = np.ones(count * k)
    return sparse.csr_matrix((ones, columns.ravel(), np.arange(0, count * k + 1, k)), shape=(count, count))


def _reciprocal(nearest: NDArray[np.int64]) -> sparse.csr_matrix:
    """[N, N], one where each of two points is among the nearest of the other (equation 2)."""
    forward = _indicator(nearest)
    return forward.multiply(forward.T).tocsr()


def _expanded_reciprocal(nearest: NDArray[np.int64], *, half: int) -> sparse.csr_matrix:
    """Reciprocal neighbours, and those of each that are mostly neighbours already (equation 3)."""
    wide, narrow = _reciprocal(nearest), _reciprocal(nearest[:, :half])
    shared = (wide @ narrow.T).multiply(wide).tocoo()
    size = np.asarray(narrow.sum(axis=1)).ravel()
    taken = shared.data > 2 / 3 * size[shared.col]
    chosen = sparse.csr_matrix((np.ones(taken.sum()), (shared.row[taken], shared.col[taken])), shape=wide.shape)
    members = (wide + chosen @ narrow).tocsr()
    members.sort_indices()
    return members
