"""How far soft neighbourhoods overlap: Jaccard distances of all pairs that share an element, from sums of minima."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_AT_ONCE = 2**15  # minima summed at once: what they need stays in the processor's cache
_DIGITS = 12  # means over k2 points make distances such as 1/2 common: rounding must not decide who is within eps
_ROUNDING = 1e-11  # of an overlap; a pair that this lets in is compared again by whoever asks


def pairwise_jaccard(weights: sparse.csr_matrix, *, max_distance: float = 1.0) -> sparse.csr_matrix:
    """`1 - m / (2 - m)`, `m = sum_l min(V_il, V_jl)`, of the pairs i < j that share an l (equation 10).

    Args:
        weights: V [N, N], rows of sum 1, none negative; no entry is stored twice.
        max_distance: pairs farther apart are left out; from 1 on, none is.

    Returns:
        [N, N] float64 in [0, 1], of twelve digits, strictly upper triangular, columns sorted.
    """
    count = weights.shape[0]
    # J is below the bound b where m is above 2 (1 - b) / (2 - b).
    least = max(0.0, 2 * (1 - max_distance) / (2 - max_distance) - _ROUNDING) if max_distance < 1 else 0.0
    columns = weights.tocsc()
    weights = columns.tocsr()  # both sorted
    # Entry (i, l) meets what stands below it in column l, so that every pair is met once.
    place = sparse.csc_matrix((np.arange(columns.nnz), columns.indices, columns.indptr), shape=weights.shape).tocsr()
    begin = place.data.astype(np.int64) + 1
    length = columns.indptr[weights.indices + 1].astype(np.int64) - begin
    work = np.concatenate([[0], np.cumsum(length)])[weights.indptr]
    cuts = np.searchsorted(work, np.arange(_AT_ONCE, work[-1] + _AT_ONCE, _AT_ONCE), side="right") - 1
    # Room for as many pairs as there can be: memory is taken when it is written to, and no more is.
    index, data = np.empty(work[-1], np.int32), np.empty(work[-1])
    stored, end = np.zeros(count + 1, np.int64), 0
    for start, stop in pairwise(np.unique(np.concatenate([[0], cuts, [count]])).tolist()):
        row, column, overlap = _block(weights, columns, begin, length, start, stop, least)
        here = slice(end, end := end + len(row))
        index[here] = column
        np.clip(np.round(1 - overlap / (2 - overlap), _DIGITS), 0, 1, out=data[here])
        stored[start + 1 : stop + 1] = np.bincount(row, minlength=stop - start)
    return sparse.csr_matrix((data[:end], index[:end], np.cumsum(stored)), shape=weights.shape)


def _block(
    weights: sparse.csr_matrix,
    columns: sparse.csc_matrix,
    begin: NDArray[np.int64],
    length: NDArray[np.int64],
    start: int,
    stop: int,
    least: float,
) -> tuple[NDArray, NDArray, NDArray]:
    """Rows, counted from `start`, columns and overlaps of the pairs of a block of rows, in order."""
    entries = slice(weights.indptr[start], weights.indptr[stop])
    size = length[entries]
    ends = np.cumsum(size)
    met = np.repeat(begin[entries] - (ends - size), size)
    met += np.arange(len(met))
    column = columns.indices.take(met)
    # The accumulator has columns for what the block meets alone.
    seen = np.zeros(weights.shape[0], bool)
    seen[column] = True
    known = np.flatnonzero(seen)
    place = np.empty(weights.shape[0], np.int32)
    place[known] = np.arange(len(known))
    first_cell = np.repeat(np.arange(stop - start) * len(known), np.diff(weights.indptr[start : stop + 1]))
    cell = np.repeat(first_cell, size)
    cell += place.take(column)
    shared = columns.data.take(met)
    np.minimum(shared, np.repeat(weights.data[entries], size), out=shared)
    total = np.bincount(cell, shared)
    filled = np.flatnonzero(total > least)
    row, place = np.divmod(filled, max(1, len(known)))
    return row, known[place], total[filled]
