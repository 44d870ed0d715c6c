"""The nearest neighbors of every point, and the distance to its farthest point, searched by faiss.

faiss ranks in float32. Its candidates are ranked again in float64, and a bound on its rounding error shows where it may
have missed a point: there more candidates are taken. The exact search thus equals one over all distances in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from utils import distributed
from utils.errors import UserError
from utils.jit import cached_njit
from utils.logs import log

MIN_IVF_POINTS = 200_000  # for fewer points the exact search takes minutes at most
_PROBES = 64  # lists of the inverted file that are searched; docs/clustering.md has the recall
_OUTER_POINTS = 4096  # farthest from the mean: the inverted file seeks the farthest point among them
_MARGIN = 11  # candidates beyond the k neighbors; eight times as many where they may not suffice
_MAX_CANDIDATES = 2048  # faiss returns no more on a GPU; beyond, all distances are computed in float64
_ROWS = 4096  # queries that are searched at once
_CELLS = 2**22  # candidates that are ranked at once
_ROUNDOFF, _UNDERFLOW = 2.0**-24, float(np.finfo(np.float32).smallest_normal)
_SMALLEST = 1e-17  # features all below this, or any above its reciprocal, have squares that float32 cannot hold


@dataclass(frozen=True)
class Neighbors:
    """The nearest neighbors of each of N points.

    Attributes:
        nearest: [N, k] int64, by rising distance, each point itself first, ties by number.
        farthest: [N], squared Euclidean distance to the farthest point.
        features: [N, D] float32 or float64.
    """

    nearest: NDArray[np.int64]
    farthest: NDArray[np.float64]
    features: NDArray[np.floating]

    def squared_distances(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Compute the squared Euclidean distances [M] of M pairs of points."""
        return squared_distances(self.features, rows, self.features, columns[:, None])[:, 0]


def check_features(features: NDArray[Any], name: str = "features") -> NDArray[Any]:
    """Check that `features` is a finite matrix [N, D] of floats, whose squared distances float32 can hold.

    Raises:
        UserError: it is not; the message begins with `name`, and lists rows that are not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise UserError(f"{name} must be a matrix [N, D] of floats, not {features.dtype} of shape {features.shape}")
    if len(features) and not features.shape[1]:
        raise UserError(f"{name} must have columns, but their shape is {features.shape}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UserError(f"{name} are not finite in rows {', '.join(map(str, bad[:8]))}{', ...' * (len(bad) > 8)}")
    largest = float(np.abs(features).max(initial=0.0))
    if largest > 1 / _SMALLEST or 0 < largest < _SMALLEST:
        raise UserError(f"{name} are as large as {largest:.0e}, whose squares float32 cannot hold: scale them to 1")
    return features


def check_source(source: NDArray[Any], features: NDArray[Any]) -> NDArray[Any]:
    """Check that `source` [M, D] is as `check_features` requires, has rows, and as many columns as `features` [N, D].

    Raises:
        UserError: it is not.
    """
    source = check_features(source, "source")
    if not len(source) or source.shape[1] != features.shape[1]:
        raise UserError(f"source must be [M, {features.shape[1]}] as the features are, not {source.shape}")
    return source


def find_neighbors(
    features: NDArray[Any],
    k: int,
    *,
    method: Literal["exact", "ivf"] = "exact",
    device: torch.device | str | None = None,
) -> Neighbors:
    """Find the k nearest points of every point, and the distance to the farthest.

    In a process group every rank must call this with the same features; each searches its shard of the points, and all
    of them get the complete result.

    Args:
        features: [N, D], as `check_features` returns them, N at least 1.
        k: neighbors, the point itself included; at most N.
        method: "exact"; or "ivf", which from 200,000 points on uses an inverted file, unless a GPU searches. It misses
            a few of the nearest points and seeks the farthest one only among those that are farthest from the mean.
        device: where to search; None takes the first GPU if there is one.
    """
    features = _as_float(features)
    rows = np.arange(len(features))[distributed.shard(len(features))]
    if method == "ivf" and len(features) >= MIN_IVF_POINTS and gpu_number(device) is None:
        found = search_ivf(features, rows, k)
    else:
        index = ExactIndex(features, device)
        found = index.search(features, rows, k, self_first=True)[0], index.search(features, rows, 1, farthest=True)[1]
    nearest, farthest = (distributed.gather_shards(part, len(features)) for part in found)
    return Neighbors(nearest, farthest[:, 0], features)


def nearest_distances(
    features: NDArray[Any], others: NDArray[Any], *, device: torch.device | str | None = None
) -> NDArray[np.float64]:
    """Squared Euclidean distance [N] of each point of `features` [N, D] to the nearest of `others` [M, D]."""
    features, others = _as_float(features), _as_float(others)
    nearest, _ = ExactIndex(others, device).search(features, np.arange(len(features)), 1)
    difference = torch.from_numpy(features).double() - torch.from_numpy(others[nearest[:, 0]]).double()
    return difference.square_().sum(1).numpy()


def gpu_number(device: torch.device | str | None) -> int | None:
    """Return the number of the GPU on which faiss searches for this device; None if it searches on the CPU."""
    import faiss  # after torch: both bring an OpenMP runtime

    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type != "cuda" or faiss.get_num_gpus() == 0:
        return None
    return torch.cuda.current_device() if device.index is None else device.index


class ExactIndex:
    """N points in a faiss index, searched for those nearest to a query or farthest from it.

    Of x and y relative to the mean of the points, the inner product of (2x, -1) and (y, |y|^2) is `|x|^2 - |x - y|^2`:
    it is the larger the nearer y is. In float32 it errs by at most `(D + 24) 2^-24 (|x| + |y|)^2`, centering included.

    Args:
        features: [N, D] float32 or float64, finite, N and D at least 1.
        device: None takes the first GPU if there is one; faiss without support of GPUs searches on the CPU.
    """

    def __init__(self, features: NDArray[np.floating], device: torch.device | str | None = None) -> None:
        self.features, self.mean = features, features.mean(axis=0, dtype=np.float64)
        self.largest_norm = 0.0
        number = gpu_number(device)
        try:
            self.index: Any = self._build(number)
        except RuntimeError as error:  # of the GPU: it has too little free memory, or is none that faiss supports
            if number is None:
                raise
            reason = " ".join(str(error).split())[-200:]
            log.warning(f"faiss cannot use the GPU ({reason}): neighbors are searched on the CPU, which takes longer")
            self.index = self._build(None)

    def _build(self, gpu: int | None) -> Any:
        """Return the index, on a GPU or on the CPU."""
        import faiss

        index: Any = faiss.IndexFlatIP(self.features.shape[1] + 1)
        if gpu is not None:
            torch.cuda.empty_cache()  # faiss cannot use what torch's allocator keeps of a finished epoch
            index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), gpu, index)
        for rows in _split(np.arange(len(self.features))):
            centered, squared_norms = _center(self.features[rows], self.mean)
            index.add(np.column_stack([centered, squared_norms.astype(np.float32)]))
            self.largest_norm = max(self.largest_norm, float(squared_norms.max()) ** 0.5)
        return index

    def search(
        self,
        queries: NDArray[np.floating],
        rows: NDArray[np.int64],
        k: int,
        *,
        farthest: bool = False,
        self_first: bool = False,
        margin: int = _MARGIN,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the k points nearest to, or farthest from, the queries at `rows` [R].

        Args:
            queries: [Q, D] float32 or float64.
            k: at most N.
            farthest: find the farthest points rather than the nearest.
            self_first: the queries are the points, and each is its own nearest.
            margin: candidates of faiss beyond k; more are taken for queries for which they may not suffice.

        Returns:
            Numbers and squared distances, [R, k] each, the nearest (farthest) first, ties by number.
        """
        count, dimensions = self.features.shape
        size = k + margin if k + margin <= min(_MAX_CANDIDATES, count) else count
        sign = -1 if farthest else 1
        numbers, distances = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
        for part in _split(np.arange(len(rows)), size):
            centered, squared_norms = _center(queries[rows[part]], self.mean)
            if size < count:
                factors = np.column_stack([2 * centered, np.full(len(part), -1, np.float32)])
                products, candidates = self.index.search(sign * factors, size)
                last = squared_norms - sign * products[:, -1]
            else:
                candidates, last = np.tile(np.arange(count), (len(part), 1)), np.full(len(part), sign * np.inf)
            found = _rank(queries, rows[part], self.features, candidates, farthest=farthest, self_first=self_first)
            numbers[part], distances[part] = (values[:, :k] for values in found)
            limit = np.maximum(distances[part, -1], 0)
            # No other point is nearer, by float32, than the last candidate. One within the limit is at most
            # |x| + sqrt(limit) from the mean, which bounds its error.
            norm = np.sqrt(squared_norms)
            other_norm = self.largest_norm if farthest else norm + np.sqrt(limit)
            error = (dimensions + 24) * (_ROUNDOFF * (norm + other_norm) ** 2 + _UNDERFLOW)
            unproven = part[sign * (last - limit) <= error]
            if len(unproven):
                numbers[unproven], distances[unproven] = self.search(
                    queries, rows[unproven], k, farthest=farthest, self_first=self_first, margin=8 * margin
                )
        return numbers, distances


def search_ivf(
    features: NDArray[np.floating], rows: NDArray[np.int64], k: int, *, probes: int = _PROBES
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the neighbors of the points at `rows` [R] by an inverted file, for sets where N^2 distances are too many.

    Args:
        features: [N, D] float32 or float64.
        probes: lists to search, of `4 sqrt(N)`: more take longer and miss fewer neighbors. A point for which they hold
            too few points is searched in all lists.

    Returns:
        Nearest points [R, k], of which those in other lists are missed, and the squared distance [R, 1] to the farthest
        of the points that are farthest from the mean.
    """
    import faiss

    count, dimensions = features.shape
    lists = max(1, min(round(4 * count**0.5), count // 39))  # faiss expects 39 training points per list
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimensions), dimensions, lists)
    index.cp.seed = 0
    mean, squared_norms = features.mean(axis=0, dtype=np.float64), np.empty(count)
    index.train(_center(features[:: max(1, count // (64 * lists))], mean)[0])
    for part in _split(np.arange(count)):
        centered, squared_norms[part] = _center(features[part], mean)
        index.add(centered)
    nearest, size = np.empty((len(rows), k), np.int64), min(count, k + _MARGIN)
    for part in _split(np.arange(len(rows)), size):
        queries, own = _center(features[rows[part]], mean)[0], rows[part][:, None]
        index.nprobe = min(probes, lists)
        candidates = index.search(queries, size)[1]
        incomplete = (candidates < 0).any(axis=1)
        if incomplete.any():
            index.nprobe = lists
            candidates[incomplete] = index.search(queries[incomplete], size)[1]
        has_self = (candidates == own).any(axis=1)
        candidates[~has_self, -1] = rows[part][~has_self]
        nearest[part] = _rank(features, rows[part], features, candidates, self_first=True)[0][:, :k]
    outer = ExactIndex(features[np.argsort(squared_norms)[-_OUTER_POINTS:]], "cpu")
    return nearest, outer.search(features, rows, 1, farthest=True)[1]


def _as_float(features: NDArray[Any]) -> NDArray[np.floating]:
    """Return features in float32 or float64, contiguous, without loss of precision."""
    return np.ascontiguousarray(features, dtype=np.float32 if features.dtype.itemsize <= 4 else np.float64)


def _split(rows: NDArray[np.int64], size: int = 1) -> Iterator[NDArray[np.int64]]:
    """Split numbers [R] into parts of which `size` values each fit in memory."""
    step = max(1, min(_ROWS, _CELLS // size))
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _center(features: NDArray[Any], mean: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return points [R, D] relative to the mean, where they are small enough for float32, and squared norms [R]."""
    centered = (features - mean).astype(np.float32)
    return centered, np.square(centered, dtype=np.float64).sum(axis=1)


def _rank(
    queries: NDArray[np.floating],
    rows: NDArray[np.int64],
    points: NDArray[np.floating],
    candidates: NDArray[np.int64],
    *,
    farthest: bool = False,
    self_first: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sort the candidates [R, C] of the queries at `rows` [R] by distance in float64, ties by number.

    Returns:
        Numbers and squared distances, [R, C] each; with `self_first` a point is at -1 from itself.
    """
    distances = squared_distances(queries, rows, points, candidates)
    if self_first:
        distances[candidates == rows[:, None]] = -1
    order = np.lexsort((candidates, -distances if farthest else distances), axis=1)
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(distances, order, axis=1)


# The compiler may reorder sums, always in the same way, so that a distance is the same in both directions.
@cached_njit(fastmath={"reassoc", "contract", "nsz", "nnan"})
def squared_distances(
    points: NDArray[Any], rows: NDArray[Any], others: NDArray[Any], columns: NDArray[Any]
) -> NDArray[np.float64]:
    """Compute the squared distances [R, C] in float64 of `points[rows]` [R, D] to `others[columns]` [R, C, D]."""
    distances = np.empty(columns.shape)
    for row in range(columns.shape[0]):
        point = points[rows[row]]
        for place in range(columns.shape[1]):
            other, total = others[columns[row, place]], 0.0
            for axis in range(other.shape[0]):
                difference = np.float64(point[axis]) - np.float64(other[axis])
                total += difference * difference
            distances[row, place] = total
    return distances
