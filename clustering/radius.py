"""The published rule for DBSCAN's eps: the mean of the smallest 1 % of all distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_ZERO = 1e-6  # a distance below this counts as zero, and zeros do not count


def automatic_eps(
    pairs: sparse.csr_matrix, *, offsets: NDArray[np.float64], weight: float, share: float = 0.01
) -> float:
    """Mean of the smallest `share` of the non-zero entries above the diagonal of D (as published), without D itself.

    Args:
        pairs: D of all pairs i < j with an overlap, [N, N]; the absent ones are `(1 - w) + w (a_i + a_j)` apart.
        offsets: a [N], zeros where there is no source set.
        weight: w.

    Returns:
        eps; 1.0 where there is no pair at all.
    """
    count = pairs.shape[0]
    zeros = np.count_nonzero(pairs.data < _ZERO)
    nonzero = pairs.data[pairs.data >= _ZERO] if zeros else pairs.data
    absent = count * (count - 1) // 2 - pairs.nnz
    wanted = round(share * (len(nonzero) + absent))
    if wanted == 0:
        return float(nonzero.min(initial=1.0))
    if not weight or not absent:
        inside = min(wanted, len(nonzero))
        return float((_sum_of_smallest(nonzero, inside) + (wanted - inside)) / wanted)
    return _smallest_sum(np.sort(nonzero), pairs.tocoo(), offsets, weight, wanted) / wanted


def _sum_of_smallest(values: NDArray[np.float64], wanted: int) -> float:
    """Sum of the `wanted` smallest values; a sample tells most of the others apart, so that few are copied."""
    if wanted == len(values):
        return float(values.sum())
    sample = np.sort(values[:: max(1, len(values) // 100_000)])
    bound = sample[min(len(sample) - 1, int(len(sample) * (1.1 * wanted / len(values) + 0.01)))]
    few = values[values <= bound]
    return float(np.partition(few if len(few) >= wanted else values, wanted - 1)[:wanted].sum())


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
