"""DBSCAN's eps where none is given: the published rule, and the radius whose clusters are clearest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

RADII = tuple(step / 20 for step in range(4, 17))  # 0.2 to 0.8, beyond which next to everything is one cluster
_SAMPLE = 2000  # points whose silhouettes are computed
_AT_ONCE = 2**18  # values that are sifted at once
_BINS = 2**16
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
    nonzero = pairs.nnz - sum(np.count_nonzero(part < _ZERO) for part in _parts(pairs.data))
    absent = count * (count - 1) // 2 - pairs.nnz
    wanted = round(share * (nonzero + absent))
    if wanted == 0:
        return float(pairs.data.min(initial=1.0, where=pairs.data >= _ZERO))
    if not weight or not absent:
        inside = min(wanted, nonzero)
        return float((_sum_of_smallest(pairs.data, inside) + (wanted - inside)) / wanted)
    return _smallest_sum(np.sort(pairs.data[pairs.data >= _ZERO]), pairs.tocoo(), offsets, weight, wanted) / wanted


def _parts(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Views of a part each: whatever is made of one of them is small."""
    return [values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]


def _sum_of_smallest(values: NDArray[np.float64], wanted: int) -> float:
    """Sum of the `wanted` smallest of the values in [0, 1] that count as non-zero; they are counted in bins first."""
    if wanted == 0:
        return 0.0
    counts = np.zeros(_BINS + 1, np.int64)
    for part in _parts(values):
        counts += np.bincount((part[part >= _ZERO] * _BINS).astype(np.int32), minlength=_BINS + 1)
    # The last of them is in this bin.
    bin_ = int(np.searchsorted(np.cumsum(counts), wanted))
    before = int(counts[:bin_].sum())
    total, inside = 0.0, []
    for part in _parts(values):
        place = part * _BINS
        total += float(part.sum(where=(part >= _ZERO) & (place < bin_)))
        inside.append(part[(part >= _ZERO) & (place >= bin_) & (place < bin_ + 1)])
    return total + float(np.sort(np.concatenate(inside))[: wanted - before].sum())


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


def silhouette_eps(
    pairs: sparse.csr_matrix, labels_at: Callable[[float], NDArray[np.int64]], *, sample: int = _SAMPLE
) -> tuple[float, NDArray[np.int64]]:
    """The radius of `RADII` whose clusters have the highest mean silhouette, and its labels [N], by no person ids.

    The silhouette (Rousseeuw 1987) of a point is taken over Jaccard distances, to all points and exactly; noise and
    clusters of one count as 0, so that leaving out the hard points does not pay. The smallest of equal radii is taken.

    Args:
        pairs: Jaccard distances of all pairs i < j that are not 1, [N, N].
        labels_at: the labels at a radius.
        sample: points, evenly spaced, whose silhouettes are averaged.
    """
    count = pairs.shape[0]
    chosen = np.unique(np.linspace(0, max(0, count - 1), min(count, sample)).astype(np.int64))
    similarity = _rows_of(pairs, chosen)
    best: tuple[float, float, NDArray[np.int64]] | None = None
    for eps in RADII:
        labels = labels_at(eps)
        score = _mean_silhouette(similarity, labels, labels[chosen])
        if best is None or score > best[0]:
            best = (score, eps, labels)
    assert best is not None
    return best[1], best[2]


def _rows_of(pairs: sparse.csr_matrix, chosen: NDArray[np.int64]) -> sparse.csr_matrix:
    """Similarities `1 - J` [S, N] of the chosen points to all others."""
    place = np.full(pairs.shape[0], -1)
    place[chosen] = np.arange(len(chosen))
    column = np.flatnonzero(place[pairs.indices] >= 0)
    row = np.searchsorted(pairs.indptr, column, side="right") - 1
    shape = (len(chosen), pairs.shape[0])
    below = sparse.csr_matrix((1 - pairs.data[column], (place[pairs.indices[column]], row)), shape=shape)
    above = pairs[chosen]
    return below + sparse.csr_matrix((1 - above.data, above.indices, above.indptr), shape=shape)


def _mean_silhouette(similarity: sparse.csr_matrix, labels: NDArray[np.int64], own: NDArray[np.int64]) -> float:
    """Of the points [S] whose labels are `own`, given their similarities to all N; 0 below two clusters."""
    inside = np.flatnonzero(labels >= 0)
    sizes = np.bincount(labels[inside])
    if len(sizes) < 2:
        return 0.0
    of_cluster = sparse.csr_matrix((np.ones(len(inside)), (inside, labels[inside])), shape=(len(labels), len(sizes)))
    sums = (similarity @ of_cluster).tocoo()
    at_home = sums.col == own[sums.row]
    inner, outer = np.zeros(len(own)), np.zeros(len(own))
    inner[sums.row[at_home]] = sums.data[at_home]
    np.maximum.at(outer, sums.row[~at_home], sums.data[~at_home] / sizes[sums.col[~at_home]])
    size = np.where(own >= 0, sizes[own], 0)
    near, far = 1 - inner / np.maximum(size - 1, 1), 1 - outer
    larger = np.maximum(near, far)
    value = np.divide(far - near, larger, out=np.zeros_like(larger), where=larger > 0)
    return float(value[size > 1].sum() / len(own))
