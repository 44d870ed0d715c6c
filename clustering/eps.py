"""Choose DBSCAN's eps: by the published rule, or by the silhouette."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

RADII = tuple(step / 20 for step in range(4, 17))  # 0.2 to 0.8, beyond which nearly all points are one cluster
_MARGIN = 0.05  # share of the highest silhouette that a smaller radius may fall short of
_SAMPLE = 2000  # points whose silhouettes are averaged
_CHUNK = 2**18  # distances that are filtered at once
_BINS = 2**16
_ZERO = 1e-6  # smaller distances count as zero and are left out


def automatic_eps(
    pairs: sparse.csr_matrix, *, offsets: NDArray[np.float64], weight: float, share: float = 0.01
) -> float:
    """Mean of the smallest `share` of the non-zero entries above the diagonal of D (as published), without D itself.

    Args:
        pairs: D of all pairs i < j with an overlap, [N, N]; the absent ones are `(1 - w) + w (a_i + a_j)` apart.
        offsets: a [N], zeros without a source set.
        weight: w.

    Returns:
        eps; 1.0 if there is no pair at all.
    """
    count = pairs.shape[0]
    nonzero = pairs.nnz - sum(np.count_nonzero(chunk < _ZERO) for chunk in _chunks(pairs.data))
    absent = count * (count - 1) // 2 - pairs.nnz
    wanted = round(share * (nonzero + absent))
    if wanted == 0:
        return float(pairs.data.min(initial=1.0, where=pairs.data >= _ZERO))
    if not weight or not absent:
        stored = min(wanted, nonzero)
        return float((_sum_of_smallest(pairs.data, stored) + (wanted - stored)) / wanted)
    return _sum_of_smallest_with_source(pairs, offsets, weight, wanted) / wanted


def _chunks(values: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Views of parts of the values, so that temporary arrays are small."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _sum_of_smallest(values: NDArray[np.float64], wanted: int) -> float:
    """Sum of the `wanted` smallest non-zero values in [0, 1]; a histogram saves sorting all of them."""
    if wanted == 0:
        return 0.0
    counts = np.zeros(_BINS + 1, np.int64)
    for chunk in _chunks(values):
        counts += np.bincount((chunk[chunk >= _ZERO] * _BINS).astype(np.int32), minlength=_BINS + 1)
    last_bin = int(np.searchsorted(np.cumsum(counts), wanted))  # which holds the largest of the wanted values
    before = int(counts[:last_bin].sum())
    total, inside = 0.0, []
    for chunk in _chunks(values):
        place = chunk * _BINS
        total += float(chunk.sum(where=(chunk >= _ZERO) & (place < last_bin)))
        inside.append(chunk[(chunk >= _ZERO) & (place >= last_bin) & (place < last_bin + 1)])
    return total + float(np.sort(np.concatenate(inside))[: wanted - before].sum())


def _sum_of_smallest_with_source(
    pairs: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, wanted: int
) -> float:
    """Sum of the `wanted` smallest non-zero distances, absent pairs included, by bisection on an upper bound.

    The distances of absent pairs depend on their offsets alone, so sorted offsets give their number and sum.
    """
    stored = np.sort(pairs.data[pairs.data >= _ZERO])
    ordered = np.sort(offsets)
    prefix = np.concatenate([[0.0], np.cumsum(ordered)])
    upper = pairs.tocoo()
    present = np.sort(offsets[upper.row] + offsets[upper.col])
    present_prefix = np.concatenate([[0.0], np.cumsum(present)])

    def up_to(bound: float) -> tuple[int, float]:
        """Number and sum of the distances that are at most `bound`."""
        max_sum = (bound - (1 - weight)) / weight  # of the offsets of an absent pair
        reach = np.searchsorted(ordered, max_sum - ordered, side="right")
        absent, total = int(reach.sum()), float((prefix[reach] + reach * ordered).sum())
        own = ordered[2 * ordered <= max_sum]  # each point with itself was counted once, and every pair twice
        absent, total = (absent - len(own)) // 2, (total - 2 * own.sum()) / 2
        excluded = int(np.searchsorted(present, max_sum, side="right"))
        absent, total = absent - excluded, total - float(present_prefix[excluded])
        count = int(np.searchsorted(stored, bound, side="right"))
        return count + absent, float(stored[:count].sum()) + (1 - weight) * absent + weight * total

    low, high = 0.0, 1.0 + weight
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if up_to(middle)[0] >= wanted else (middle, high)
    count, total = up_to(high)
    return total - (count - wanted) * high


def silhouette_eps(
    pairs: sparse.csr_matrix, labels_at: Callable[[float], NDArray[np.int64]], *, sample: int = _SAMPLE
) -> tuple[float, NDArray[np.int64]]:
    """Return the smallest of `RADII` whose mean silhouette is within 5 % of the highest, and its labels [N].

    Around the highest silhouette the curve is flat, while larger radii merge people: the smaller clusters are purer.

    The silhouette (Rousseeuw 1987) of a point is exact, over its Jaccard distances to all points. Noise and clusters of
    one point count as 0, so that leaving out hard points is not rewarded.

    Args:
        pairs: Jaccard distances of all pairs i < j that are not 1, [N, N].
        labels_at: the labels at a radius.
        sample: points, evenly spaced, whose silhouettes are averaged.
    """
    count = pairs.shape[0]
    chosen = np.unique(np.linspace(0, max(0, count - 1), min(count, sample)).astype(np.int64))
    similarity = _similarity_rows(pairs, chosen)
    found = [labels_at(eps) for eps in RADII]
    scores = np.array([_mean_silhouette(similarity, labels, labels[chosen]) for labels in found])
    place = int(np.argmax(scores >= scores.max() - _MARGIN * abs(scores.max())))
    return RADII[place], found[place]


def _similarity_rows(pairs: sparse.csr_matrix, chosen: NDArray[np.int64]) -> sparse.csr_matrix:
    """Similarities `1 - J` [S, N] of the chosen points to all others."""
    right, left = pairs[chosen], pairs[:, chosen].T.tocsr()  # of the pairs i < j a point is in either place
    for part in (right, left):
        part.data = 1 - part.data
    return left + right


def _mean_silhouette(similarity: sparse.csr_matrix, labels: NDArray[np.int64], own: NDArray[np.int64]) -> float:
    """Mean over the points [S] with labels `own`, given their similarities [S, N]; 0 below two clusters."""
    inside = np.flatnonzero(labels >= 0)
    sizes = np.bincount(labels[inside])
    if len(sizes) < 2:
        return 0.0
    membership = sparse.csr_matrix((np.ones(len(inside)), (inside, labels[inside])), shape=(len(labels), len(sizes)))
    sums = (similarity @ membership).tocoo()
    is_own = sums.col == own[sums.row]
    inner, outer = np.zeros(len(own)), np.zeros(len(own))
    inner[sums.row[is_own]] = sums.data[is_own]
    np.maximum.at(outer, sums.row[~is_own], sums.data[~is_own] / sizes[sums.col[~is_own]])
    size = np.where(own >= 0, sizes[own], 0)
    near, far = 1 - inner / np.maximum(size - 1, 1), 1 - outer
    larger = np.maximum(near, far)
    value = np.divide(far - near, larger, out=np.zeros_like(larger), where=larger > 0)
    return float(value[size > 1].sum() / len(own))
