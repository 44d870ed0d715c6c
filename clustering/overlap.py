"""How far soft neighbourhoods overlap: Jaccard distances of all pairs that share an element, from sums of minima."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from clustering import kernels

_BLOCKS = 16  # for each thread, so that all of them end at about the same time
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
    rows = columns.tocsr()  # both sorted
    # Entry (i, l) meets what stands below it in column l, so that every pair is met once.
    place = sparse.csc_matrix((np.arange(columns.nnz), columns.indices, columns.indptr), shape=rows.shape).tocsr()
    begin = place.data.astype(np.int64) + 1
    work = np.concatenate([[0], np.cumsum(columns.indptr[rows.indices + 1] - begin)])[rows.indptr]
    threads = torch.get_num_threads()
    cuts = np.searchsorted(work, np.linspace(0, work[-1], _BLOCKS * threads + 1)[1:-1]).tolist()
    by_row, by_column = ((way.indptr, way.indices, way.data) for way in (rows, columns))
    found, end = np.zeros(count, np.int64), np.zeros(count + 1, np.int64)

    def overlaps(index: NDArray[np.int32], data: NDArray[np.float64]) -> None:
        def block(bounds: tuple[int, int]) -> None:
            kernels.overlaps(*bounds, by_row, by_column, begin, least, found, end, index, data)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(block, pairwise([0, *cuts, count])))

    # Counted first, so that the pairs are not held twice.
    overlaps(np.empty(0, np.int32), np.empty(0))
    np.cumsum(found, out=end[1:])
    index, data = np.empty(end[-1], np.int32), np.empty(end[-1])
    if len(index):
        overlaps(index, data)
    return sparse.csr_matrix((data, index, end), shape=weights.shape)
