"""The source term: points that look like nothing in another data set are moved away from everything."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from clustering.neighbours import as_features, nearest_other
from utils.errors import UserError

_MOST_PAIRS = 2 * 10**8  # of pairs without a common neighbour, each counted twice


def source_offsets(
    features: NDArray, source: NDArray, *, device: torch.device | str | None = None
) -> NDArray[np.float64]:
    """How far each point is from the source set, [N] in [0, 1], the farthest at 1 (as published)."""
    features, source = as_features(features, "features"), as_features(source, "source")
    if not len(source) or source.shape[1] != features.shape[1]:
        raise UserError(f"source must be [M, {features.shape[1]}] as the features are, not {source.shape}")
    offsets = -np.expm1(-nearest_other(features, source, device=device))
    return offsets / max(offsets.max(initial=0), np.finfo(float).tiny)


def add_source(
    pairs: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, max_distance: float
) -> sparse.csr_matrix:
    """`(1 - w) D + w (a_i + a_j)`, with the pairs that have no overlap where even those come below `max_distance`.

    Args:
        pairs: D of the pairs i < j, [N, N]; 1 where absent.
        offsets: a [N].
        weight: w; 0 leaves D as it is.
        max_distance: absent pairs below it are added.

    Raises:
        UserError: more of them than memory should hold.
    """
    if not weight:
        return pairs
    rows = np.repeat(np.arange(len(offsets)), np.diff(pairs.indptr))
    data = (1 - weight) * pairs.data + weight * (offsets[rows] + offsets[pairs.indices])
    moved = sparse.csr_matrix((data, pairs.indices, pairs.indptr), shape=pairs.shape)
    room = (max_distance - (1 - weight)) / weight
    if room <= 0:
        return moved
    order = np.argsort(offsets, kind="stable")
    reach = np.searchsorted(offsets[order], room - offsets, side="left")
    if reach.sum() > _MOST_PAIRS:
        raise UserError(
            f"a distance of {max_distance:.4f} takes in {reach.sum() // 2} pairs without a common neighbour, which are "
            f"at least {1 - weight:.4f} apart: choose a smaller eps"
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
