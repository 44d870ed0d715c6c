"""How far soft neighbourhoods overlap: the sums of element-wise minima, of all pairs that share an element."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_CELLS = 2**19  # of the accumulator that sums the overlaps of a block of rows: it stays in the processor's cache


def pairwise_overlap(weights: sparse.csr_matrix, *, least: float = 0.0) -> sparse.csr_matrix:
    """`sum_l min(V_il, V_jl)` of every pair i < j where it is above `least`.

    Args:
        weights: V [N, N], none negative; no entry is stored twice.
        least: at least 0.

    Returns:
        [N, N] float64, strictly upper triangular, columns sorted.
    """
    count = weights.shape[0]
    columns = weights.tocsc()
    weights = columns.tocsr()  # both sorted
    # Entry (i, l) meets what stands below it in column l, so that every pair is met once.
    place = sparse.csc_matrix((np.arange(columns.nnz), columns.indices, columns.indptr), shape=weights.shape).tocsr()
    begin = place.data.astype(np.int64) + 1
    length = columns.indptr[weights.indices + 1].astype(np.int64) - begin
    index, data, stored = [], [], [np.zeros(1, np.int64)]
    start = 0
    while start < count:
        # The accumulator begins at the block's own first column: what lies before has been met.
        stop = min(count, start + max(1, _CELLS // (count - start)))
        row, column, value = _block(weights, columns, begin, length, start, stop)
        chosen = value > least
        index.append(column[chosen].astype(np.int32))
        data.append(value[chosen])
        stored.append(np.bincount(row[chosen], minlength=stop - start))
        start = stop
    indptr = np.cumsum(np.concatenate(stored))
    return sparse.csr_matrix((_joined(data, np.float64), _joined(index, np.int32), indptr), shape=weights.shape)


def _block(
    weights: sparse.csr_matrix,
    columns: sparse.csc_matrix,
    begin: NDArray[np.int64],
    length: NDArray[np.int64],
    start: int,
    stop: int,
) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.float64]]:
    """Rows, counted from `start`, columns and overlaps of the pairs of a block of rows, in order."""
    wide = weights.shape[0] - start
    entries = slice(weights.indptr[start], weights.indptr[stop])
    size = length[entries]
    ends = np.cumsum(size)
    met = np.repeat(begin[entries] - (ends - size), size)
    met += np.arange(len(met))
    first_cell = np.repeat(np.arange(stop - start) * wide - start, np.diff(weights.indptr[start : stop + 1]))
    cell = np.repeat(first_cell, size)
    cell += columns.indices[met]
    shared = columns.data[met]
    np.minimum(shared, np.repeat(weights.data[entries], size), out=shared)
    total = np.bincount(cell, shared, minlength=(stop - start) * wide)
    filled = np.flatnonzero(total)
    row = filled // wide
    return row, filled - row * wide + start, total[filled]


def _joined(parts: list[NDArray], kind: type) -> NDArray:
    """One array of many; the parts are given up, so that only one of a matrix's arrays is there twice."""
    whole = np.concatenate(parts) if parts else np.empty(0, kind)
    parts.clear()
    return whole
