"""k-reciprocal Jaccard distance (Zhong et al., CVPR 2017, equations 2 to 10), sparse: memory grows with N k.

Two points are near when their neighborhoods overlap. Nearly all pairs have no neighbor in common and a distance of
exactly 1, so only the others are computed and stored. A source term may be added to all distances (as published).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from clustering.neighbors import Neighbors, check_features, check_source, find_neighbors, nearest_distances
from utils.errors import UserError
from utils.jit import cached_njit

_MAX_ADDED_PAIRS = 10**8  # without a common neighbor
_BLOCKS_PER_THREAD = 16  # so that all threads end at about the same time
_DECIMALS = 1e12  # means over k2 points make distances such as 1/2 common: rounding must not decide what is within eps
_TOLERANCE = 1e-11  # of an overlap; the few pairs that it lets in are compared again by the caller


def jaccard_distance(
    features: NDArray[Any],
    *,
    k1: int = 20,
    k2: int = 6,
    source: NDArray[Any] | None = None,
    source_weight: float = 0.0,
    max_distance: float = 1.0,
) -> sparse.csr_matrix:
    """Compute the distance between the k-reciprocal neighborhoods of points.

    Args:
        features: [N, D], any float type.
        k1: neighbors that may be reciprocal.
        k2: neighbors, the point itself included, whose neighborhoods are averaged.
        source: [M, D], features of another data set. Points that are far from all of it are moved away from all others:
            `D = (1 - w) Jaccard + w (a_i + a_j)`, `a_i = min_s (1 - exp(-|z_i - s|^2))` over its maximum.
        source_weight: w.
        max_distance: pairs this far apart or farther are left out.

    Returns:
        [N, N] float64, symmetric; an absent entry means `max_distance` or farther, an exact zero is stored. Every
        diagonal entry is stored, as zero. Above `1 - source_weight` pairs without a common neighbor count too, and
        memory may grow with N^2.

    Raises:
        UserError: features that are not a finite matrix, k1 or k2 below 1, a weight outside [0, 1), a weight without a
            source, or a bound above 1 without a source: then all N^2 pairs are below it.
    """
    if k1 < 1 or k2 < 1:
        raise UserError(f"k1 and k2 must be at least 1, not {k1} and {k2}")
    if not 0 <= source_weight < 1:
        raise UserError(f"source_weight must be in [0, 1), not {source_weight}")
    if source_weight and source is None:
        raise UserError("source_weight needs the features of a source set")
    if not source_weight and max_distance > 1:
        raise UserError(f"max_distance must be at most 1, not {max_distance}: without a source no pair is farther")
    features = check_features(features)
    pairs = upper_jaccard(features, k1=k1, k2=k2, max_distance=max_distance / (1 - source_weight))
    if source_weight and source is not None:
        offsets = source_offsets(features, check_source(source, features))
        pairs = add_source(pairs, offsets, source_weight, max_distance)
    return symmetric(pairs, max_distance)


def upper_jaccard(
    features: NDArray[Any],
    *,
    k1: int,
    k2: int,
    max_distance: float = 1.0,
    knn: Literal["exact", "ivf"] = "exact",
    device: torch.device | str | None = None,
) -> sparse.csr_matrix:
    """Jaccard distances of the pairs i < j, [N, N]: those up to `max_distance`, which rounding may exceed a little.

    Where `max_distance` is 1 or more, exactly the pairs without a common neighbor are absent; they are 1 apart.
    `features` are as `check_features` returns them.
    """
    if not len(features):
        return sparse.csr_matrix((0, 0))
    near = find_neighbors(features, neighbors_needed(len(features), k1, k2), method=knn, device=device)
    weights = reciprocal_neighborhoods(near, k1=k1)
    if k2 > 1:
        weights = query_expansion(weights, near.nearest[:, :k2])
    del near  # and its copy of the features
    return pairwise_jaccard(weights, max_distance=max_distance)


def neighbors_needed(count: int, k1: int, k2: int) -> int:
    """Return how many neighbors of each of `count` points the distance needs, the point itself included."""
    return min(count, max(k1 + 1, k2))


def reciprocal_neighborhoods(near: Neighbors, *, k1: int) -> sparse.csr_matrix:
    """Expanded k-reciprocal neighbors [N, N], weights `exp(-d / max d)` of each row scaled to sum 1 (equation 7)."""
    members = _expanded_reciprocal(near.nearest[:, : k1 + 1], half=round(k1 / 2) + 1)
    rows = np.repeat(np.arange(members.shape[0]), np.diff(members.indptr))
    scale = np.maximum(near.farthest, np.finfo(float).tiny)
    weights = np.exp(-near.squared_distances(rows, members.indices) / scale[rows])
    weights /= np.bincount(rows, weights, minlength=members.shape[0])[rows]
    return sparse.csr_matrix((weights, members.indices, members.indptr), shape=members.shape)


def _expanded_reciprocal(nearest: NDArray[np.int64], *, half: int) -> sparse.csr_matrix:
    """Reciprocal neighbors, and those of each that are mostly neighbors already (equation 3)."""
    wide, narrow = _reciprocal(nearest), _reciprocal(nearest[:, :half])
    shared = (wide @ narrow.T).multiply(wide).tocoo()
    size = np.asarray(narrow.sum(axis=1)).ravel()
    taken = shared.data > 2 / 3 * size[shared.col]
    chosen = sparse.csr_matrix((np.ones(taken.sum()), (shared.row[taken], shared.col[taken])), shape=wide.shape)
    members = (wide + chosen @ narrow).tocsr()
    members.sort_indices()
    return members


def _reciprocal(nearest: NDArray[np.int64]) -> sparse.csr_matrix:
    """[N, N], one where each of two points is among the nearest of the other (equation 2)."""
    forward = _indicator(nearest)
    return forward.multiply(forward.T).tocsr()


def _indicator(columns: NDArray[np.int64]) -> sparse.csr_matrix:
    """Column numbers [N, k] as a matrix [N, N] of ones in these columns."""
    count, k = columns.shape
    indptr = np.arange(0, count * k + 1, k)
    return sparse.csr_matrix((np.ones(count * k), columns.ravel(), indptr), shape=(count, count))


def query_expansion(weights: sparse.csr_matrix, nearest: NDArray[np.int64]) -> sparse.csr_matrix:
    """Average the neighborhoods of each point's nearest [N, k2] (local query expansion)."""
    return (_indicator(nearest) @ weights).tocsr() / nearest.shape[1]


class _Csr(NamedTuple):
    """The arrays of a sparse matrix in CSR format (of its transpose: CSC)."""

    indptr: NDArray[np.integer]
    indices: NDArray[np.integer]
    data: NDArray[np.float64]


class _Pairs(NamedTuple):
    """What `_find_overlaps` writes.

    Attributes:
        counts: [N], pairs of each row; they are counted in any case.
        indptr: [N + 1], where the pairs of each row go.
        indices, data: later rows, rising, and their distances; empty where pairs are only to be counted.
    """

    counts: NDArray[np.int64]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.float64]


def pairwise_jaccard(weights: sparse.csr_matrix, *, max_distance: float = 1.0) -> sparse.csr_matrix:
    """`1 - m / (2 - m)`, `m = sum_l min(V_il, V_jl)`, of the pairs i < j that share an l (equation 10).

    Args:
        weights: V [N, N], rows of sum 1, none negative; no entry is stored twice.
        max_distance: pairs farther apart are left out; from 1 on, none is.

    Returns:
        [N, N] float64 in [0, 1], of twelve decimals, strictly upper triangular, columns sorted.
    """
    count = weights.shape[0]
    # J is below the bound b where m is above 2 (1 - b) / (2 - b).
    min_overlap = max(0.0, 2 * (1 - max_distance) / (2 - max_distance) - _TOLERANCE) if max_distance < 1 else 0.0
    columns = weights.tocsc()
    rows = columns.tocsr()  # both sorted
    # Entry (i, l) meets the entries below it in column l, so that every pair is met once.
    place = sparse.csc_matrix((np.arange(columns.nnz), columns.indices, columns.indptr), shape=rows.shape).tocsr()
    below = place.data.astype(np.int64) + 1
    work = np.concatenate([[0], np.cumsum(columns.indptr[rows.indices + 1] - below)])[rows.indptr]
    threads = torch.get_num_threads()
    cuts = np.searchsorted(work, np.linspace(0, work[-1], _BLOCKS_PER_THREAD * threads + 1)[1:-1]).tolist()
    by_row, by_column = (_Csr(matrix.indptr, matrix.indices, matrix.data) for matrix in (rows, columns))

    def run(pairs: _Pairs) -> None:
        def run_block(bounds: tuple[int, int]) -> None:
            _find_overlaps(*bounds, by_row, by_column, below, min_overlap, pairs)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run_block, pairwise([0, *cuts, count])))

    # Count first, so that the pairs are not held twice.
    counts, indptr = np.zeros(count, np.int64), np.zeros(count + 1, np.int64)
    run(_Pairs(counts, indptr, np.empty(0, np.int32), np.empty(0)))
    np.cumsum(counts, out=indptr[1:])
    pairs = _Pairs(counts, indptr, np.empty(indptr[-1], np.int32), np.empty(indptr[-1]))
    if len(pairs.indices):
        run(pairs)
    return sparse.csr_matrix((pairs.data, pairs.indices, pairs.indptr), shape=weights.shape)


@cached_njit()
def _find_overlaps(
    start: int, stop: int, rows: _Csr, columns: _Csr, below: NDArray[Any], min_overlap: float, pairs: _Pairs
) -> None:
    """Count the pairs of the rows from `start` to `stop` with later rows, and write their distances if there is room.

    Args:
        rows, columns: V [N, N] by rows and by columns.
        below: for each entry of `rows`, the position of the next entry in its column.
        min_overlap: pairs that do not overlap more are left out.
    """
    words_per_row = (rows.indptr.shape[0] + 6) // 8
    total = np.zeros(8 * words_per_row)
    met = np.zeros(8 * words_per_row, np.uint8)  # read eight at a time: pairs come out in order without sorting
    words = met.view(np.uint64)
    for row in range(start, stop):
        for entry in range(rows.indptr[row], rows.indptr[row + 1]):
            weight = rows.data[entry]
            for shared in range(below[entry], columns.indptr[rows.indices[entry] + 1]):
                other = columns.indices[shared]
                met[other] = 1
                total[other] += min(weight, columns.data[shared])
        number = 0
        for word in range((row + 1) // 8, words_per_row):
            if not words[word]:
                continue
            words[word] = 0
            for other in range(8 * word, 8 * word + 8):
                overlap = total[other]
                total[other] = 0.0
                if overlap > min_overlap:
                    if pairs.indices.shape[0]:
                        distance = np.rint((1 - overlap / (2 - overlap)) * _DECIMALS) / _DECIMALS
                        pairs.indices[pairs.indptr[row] + number] = other
                        pairs.data[pairs.indptr[row] + number] = min(max(distance, 0.0), 1.0)
                    number += 1
        pairs.counts[row] = number


def symmetric(pairs: sparse.csr_matrix, max_distance: float) -> sparse.csr_matrix:
    """Both directions of the pairs nearer than `max_distance`, and a stored zero for each point with itself."""
    count = pairs.shape[0]
    keep = pairs.data < max_distance
    row = np.repeat(np.arange(count, dtype=np.int32), np.diff(pairs.indptr))[keep]
    column, data, own = pairs.indices[keep], pairs.data[keep], np.arange(count, dtype=np.int32)
    places = (np.concatenate([row, column, own]), np.concatenate([column, row, own]))
    return sparse.csr_matrix((np.concatenate([data, data, np.zeros(count)]), places), shape=pairs.shape)


def source_offsets(
    features: NDArray[Any], source: NDArray[Any], *, device: torch.device | str | None = None
) -> NDArray[np.float64]:
    """How far each point is from the source set, [N] in [0, 1], the farthest at 1 (as published)."""
    offsets = -np.expm1(-nearest_distances(features, source, device=device))
    return offsets / max(offsets.max(initial=0), np.finfo(float).tiny)


def add_source(
    pairs: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, max_distance: float
) -> sparse.csr_matrix:
    """`(1 - w) D + w (a_i + a_j)`, also of pairs that have no overlap if that is below `max_distance`.

    Args:
        pairs: D of the pairs i < j, [N, N]; 1 where absent.
        offsets: a [N].
        weight: w; 0 leaves D as it is.
        max_distance: absent pairs below it are added.

    Raises:
        UserError: there are more of them than memory should hold.
    """
    if not weight:
        return pairs
    rows = np.repeat(np.arange(len(offsets)), np.diff(pairs.indptr))
    data = (1 - weight) * pairs.data + weight * (offsets[rows] + offsets[pairs.indices])
    moved = sparse.csr_matrix((data, pairs.indices, pairs.indptr), shape=pairs.shape)
    max_sum = (max_distance - (1 - weight)) / weight  # of the offsets of an absent pair
    if max_sum <= 0:
        return moved
    order = np.argsort(offsets, kind="stable")
    reach = np.searchsorted(offsets[order], max_sum - offsets, side="left")
    if reach.sum() > 2 * _MAX_ADDED_PAIRS:  # each is counted twice
        raise UserError(
            f"{reach.sum() // 2} pairs without a common neighbor, at least {1 - weight:.4f} apart, are within a "
            f"distance of {max_distance:.4f}: choose a smaller eps"
        )
    row = np.repeat(np.arange(len(offsets)), reach)
    column = order[np.arange(reach.sum()) - np.repeat(np.cumsum(reach) - reach, reach)]
    once = row < column
    far = sparse.csr_matrix((np.ones(once.sum()), (row[once], column[once])), shape=pairs.shape)
    present = sparse.csr_matrix((np.ones(pairs.nnz), pairs.indices, pairs.indptr), shape=pairs.shape)
    far = (far - far.multiply(present)).tocoo()
    far.eliminate_zeros()
    far.data = (1 - weight) + weight * (offsets[far.row] + offsets[far.col])
    return (moved + far.tocsr()).tocsr()
