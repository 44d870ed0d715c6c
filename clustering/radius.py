"""The published rule for DBSCAN's eps: the mean of the smallest 1 % of all distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_ZERO = 1e-6  # a distance below this counts as zero, and zeros do not count


def automatic_eps(
    distance: sparse.csr_matrix, *, offsets: NDArray[np.float64], weight: float, share: float = 0.01
) -> float:
    """Mean of the smallest `share` of the non-zero entries above the diagonal of D (as published), without D itself.

    Args:
        distance: all pairs with an overlap, [N, N]; the absent ones are `(1 - w) + w (a_i + a_j)` apart.
        offsets: a [N], zeros where there is no source set.
        weight: w.

    Returns:
        eps; 1.0 where there is no pair at all.
    """
    count = distance.shape[0]
    upper = sparse.triu(distance, k=1).tocoo()
    nonzero = np.sort(upper.data[upper.data >= _ZERO])
    absent = count * (count - 1) // 2 - upper.nnz
    wanted = round(share * (len(nonzero) + absent))
    if wanted == 0:
        return float(nonzero[0]) if len(nonzero) else 1.0
    if not weight or not absent:
        inside = nonzero[:wanted]
        return float((inside.sum() + (wanted - len(inside))) / wanted)
    return _smallest_sum(nonzero, upper, offsets, weight, wanted) / wanted


def _smallest_sum(
    nonzero: NDArray[np.float64],
    upper: sparse.coo_matrix,
    offsets: NDArray[np.float64],
    weight: float,
    wanted: int,
) -> float:
    """Sum of the `wanted` smallest distances, counting absent pairs by their offsets alone, by bisection on a bound."""
    ordered = np.sort(offsets)
    prefix = np.concatenate([[0.0], np.cumsum(ordered)])
    present = np.sort(offsets[upper.row] + offsets[upper.col])
    present_prefix = np.concatenate([[0.0], np.cumsum(present)])

    def below(bound: float) -> tuple[int, float]:
        """How many distances are at most `bound`, and their sum."""
        room = (bound - (1 - weight)) / weight
        reach = np.searchsorted(ordered, room - ordered, side="right")
        pairs, total = int(reach.sum()), float((prefix[reach] + reach * ordered).sum())
        own = ordered[2 * ordered <= room]  # each point with itself, counted once; every pair, counted twice
        pairs, total = (pairs - len(own)) // 2, (total - 2 * own.sum()) / 2
        taken = int(np.searchsorted(present, room, side="right"))
        pairs, total = pairs - taken, total - float(present_prefix[taken])
        stored = int(np.searchsorted(nonzero, bound, side="right"))
        return stored + pairs, float(nonzero[:stored].sum()) + (1 - weight) * pairs + weight * total

    low, high = 0.0, 1.0 + weight
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if below(middle)[0] >= wanted else (middle, high)
    counted, total = below(high)
    return total - (counted - wanted) * high
