"""k-reciprocal Jaccard distance (Zhong et al., CVPR 2017, equations 2 to 10), sparse: memory grows with N k.

Two points are near when their neighbourhoods overlap. Nearly all pairs have no neighbour in common and a distance of
exactly 1, so only the others are computed and kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clustering.neighbours import as_features, farthest_distance, nearest_neighbours, squared_distances
from clustering.source import add_source, source_offsets

_PAIRS_AT_ONCE = 2**24  # cells of the accumulator that sums the overlaps of a block of rows


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
        ValueError: features that are no finite matrix, k1 or k2 below 1, a weight outside [0, 1), or a weight
            without a source.
    """
    if not 0 <= source_weight < 1:
        raise ValueError(f"source_weight must be in [0, 1), not {source_weight}")
    if source_weight and source is None:
        raise ValueError("source_weight needs the features of a source set")
    distance = plain_jaccard(features, k1=k1, k2=k2)
    if source_weight and source is not None:
        distance = add_source(distance, source_offsets(features, source), source_weight, max_distance)
    return below(distance, max_distance)


def plain_jaccard(features: NDArray, *, k1: int, k2: int) -> sparse.csr_matrix:
    """Jaccard distance of every pair with a common neighbour, [N, N]; the absent ones are exactly 1 apart."""
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 and k2 must be at least 1, not {k1} and {k2}")
    distance = neighbourhood_overlap(as_features(features, "features"), k1=k1, k2=k2)
    distance.data = np.clip(1 - distance.data / (2 - distance.data), 0, 1)
    return distance


def below(distance: sparse.csr_matrix, max_distance: float) -> sparse.csr_matrix:
    """Keep what is nearer than `max_distance`, and a zero for each point with itself."""
    rows = np.repeat(np.arange(distance.shape[0]), np.diff(distance.indptr))
    own = distance.indices == rows
    keep = (distance.data < max_distance) | own
    # Rounding and the source term move the diagonal, but a point is at no distance from itself.
    data = np.where(own, 0.0, distance.data)[keep]
    return sparse.csr_matrix((data, (rows[keep], distance.indices[keep])), shape=distance.shape)


def neighbourhood_overlap(features: NDArray, *, k1: int, k2: int) -> sparse.csr_matrix:
    """Overlap `sum_l min(V_il, V_jl)` of the soft neighbourhoods of all pairs that have one, [N, N]."""
    count = len(features)
    if count == 0:
        return sparse.csr_matrix((0, 0))
    nearest = nearest_neighbours(features, min(count, k1 + 1))
    members = _expanded_reciprocal(nearest, half=round(k1 / 2) + 1)
    weights = _soft_membership(features, members)
    if k2 > 1:
        averaged = _indicator(nearest[:, :k2])
        weights = (averaged @ weights).tocsr() / min(k2, count)
    return _min_overlap(weights.tocsr())


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


def _soft_membership(features: NDArray, members: sparse.csr_matrix) -> sparse.csr_matrix:
    """Weights `exp(-d)` of the members of each neighbourhood, of sum 1, d scaled by its row's maximum (equation 7)."""
    rows = np.repeat(np.arange(len(features)), np.diff(members.indptr))
    scale = np.maximum(farthest_distance(features), np.finfo(float).tiny)
    distance = squared_distances(features, members.indices[:, None].astype(np.int64), rows)[:, 0]
    weights = np.exp(-distance / scale[rows])
    weights /= np.bincount(rows, weights, minlength=len(features))[rows]
    return sparse.csr_matrix((weights, members.indices, members.indptr), shape=members.shape)


def _min_overlap(weights: sparse.csr_matrix) -> sparse.csr_matrix:
    """Sum over l of min(V_il, V_jl) for every pair that shares an l (equation 10's numerator), in blocks of rows."""
    count = weights.shape[0]
    columns = weights.tocsc()
    block = max(1, _PAIRS_AT_ONCE // count)
    parts = [_block_overlap(weights, columns, start, min(count, start + block)) for start in range(0, count, block)]
    return sparse.vstack(parts, format="csr")


def _block_overlap(weights: sparse.csr_matrix, columns: sparse.csc_matrix, start: int, stop: int) -> sparse.csr_matrix:
    count = weights.shape[0]
    entries = slice(weights.indptr[start], weights.indptr[stop])
    member, value = weights.indices[entries], weights.data[entries]
    row = np.repeat(np.arange(stop - start), np.diff(weights.indptr[start : stop + 1]))
    # Every entry (i, l) meets the whole column l: lay those columns end to end.
    length = np.diff(columns.indptr)[member]
    ends = np.cumsum(length)
    place = np.arange(ends[-1]) + np.repeat(columns.indptr[member] - (ends - length), length)
    cell = np.repeat(row.astype(np.int64) * count, length) + columns.indices[place]
    shared = np.minimum(np.repeat(value, length), columns.data[place])
    total = np.bincount(cell, shared, minlength=(stop - start) * count)
    filled = np.flatnonzero(total)
    return sparse.csr_matrix(
        (total[filled], (filled // count, filled % count)), shape=(stop - start, count), dtype=np.float64
    )
