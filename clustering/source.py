"""The source term: points that look like nothing in another data set are moved away from everything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clustering.neighbours import as_features, nearest_other


def source_offsets(features: NDArray, source: NDArray) -> NDArray[np.float64]:
    """How far each point is from the source set, [N] in [0, 1], the farthest at 1 (as published)."""
    features, source = as_features(features, "features"), as_features(source, "source")
    offsets = -np.expm1(-nearest_other(features, source))
    return offsets / max(offsets.max(initial=0), np.finfo(float).tiny)


def add_source(
    distance: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, max_distance: float
) -> sparse.csr_matrix:
    """`(1 - w) D + w (a_i + a_j)`, with the pairs that have no overlap where even those come below `max_distance`."""
    rows = np.repeat(np.arange(len(offsets)), np.diff(distance.indptr))
    data = (1 - weight) * distance.data + weight * (offsets[rows] + offsets[distance.indices])
    moved = sparse.csr_matrix((data, distance.indices, distance.indptr), shape=distance.shape)
    room = (max_distance - (1 - weight)) / weight
    if room <= 0:
        return moved
    order = np.argsort(offsets, kind="stable")
    reach = np.searchsorted(offsets[order], room - offsets, side="left")
    row = np.repeat(np.arange(len(offsets)), reach)
    column = order[np.arange(reach.sum()) - np.repeat(np.cumsum(reach) - reach, reach)]
    far = sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=distance.shape)
    present = sparse.csr_matrix((np.ones(distance.nnz), distance.indices, distance.indptr), shape=distance.shape)
    far = (far - far.multiply(present)).tocoo()
    far.eliminate_zeros()
    far.data = (1 - weight) + weight * (offsets[far.row] + offsets[far.col])
    return (moved + far.tocsr()).tocsr()
