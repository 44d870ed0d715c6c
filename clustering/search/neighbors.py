"""Nearest neighbors of every point: on a GPU if there is one, and shared among the processes of a group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.search.cpu import search_cpu
from clustering.search.gpu import search_gpu
from clustering.search.index import SearchIndex, squared_distances
from clustering.search.ivf import MIN_POINTS, search_ivf
from utils import distributed
from utils.errors import UserError

_ROWS = 512  # points compared with another set at once
_CANDIDATES = 9  # products in float32 may confuse near ties: the distances of the first few are computed exactly
_SMALLEST = 1e-17  # features all below this, or any above its reciprocal, have squares that float32 cannot hold


@dataclass(frozen=True)
class Neighbors:
    """The nearest neighbors of each of N points.

    Attributes:
        nearest: [N, k] int64, by rising distance, each point itself first, ties by number.
        farthest: [N], squared Euclidean distance to the farthest point.
        features: [N, D], on the device that was used for the search.
    """

    nearest: NDArray[np.int64]
    farthest: NDArray[np.float64]
    features: torch.Tensor

    def squared_distances(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Compute the squared Euclidean distances [M] of M pairs of points."""
        row, column = (torch.from_numpy(numbers).to(self.features.device).long() for numbers in (rows, columns))
        return squared_distances(self.features, row, column).cpu().numpy()


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
    of them get the whole result.

    Args:
        features: [N, D], as `check_features` returns them, N at least 1.
        k: neighbors, the point itself included; at most N.
        method: "exact"; or "ivf", which from 200,000 points on uses an inverted file. It misses a few of the nearest
            points and seeks the farthest one only among those that are farthest from the mean.
        device: where to search; None takes the first GPU if there is one.
    """
    count = len(features)
    with _full_precision():
        index = SearchIndex(features, device or _default_device(), k=k)
        exact = search_cpu if index.features.device.type == "cpu" else search_gpu
        search = search_ivf if method == "ivf" and count >= MIN_POINTS else exact
        found = search(index, k, distributed.shard(count))
    order = index.order.cpu().numpy()
    nearest, farthest = (_unsort(distributed.gather_shards(part, count), order) for part in found)
    return Neighbors(nearest, farthest, index.features)


def nearest_distances(
    features: NDArray[Any], others: NDArray[Any], *, device: torch.device | str | None = None
) -> NDArray[np.float64]:
    """Squared Euclidean distance [N] of each point of `features` [N, D] to the nearest of `others` [M, D]."""
    device = device or _default_device()
    right = torch.from_numpy(np.ascontiguousarray(others, dtype=np.float64)).to(device)
    mean = right.mean(0)
    deviation = (right - mean).float()
    squared_norms, nearest = deviation.square().sum(1), []
    with _full_precision():
        for start in range(0, len(features), _ROWS):
            left = torch.from_numpy(features[start : start + _ROWS].astype(np.float64)).to(device)
            value = torch.addmm(squared_norms, (left - mean).float(), deviation.T, alpha=-2)
            candidates = value.topk(min(len(others), _CANDIDATES), largest=False).indices
            nearest.append((right[candidates] - left[:, None]).square_().sum(-1).amin(1).cpu().numpy())
    return np.concatenate(nearest) if nearest else np.empty(0)


def _default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Multiply matrices in full float32, whatever the program allows elsewhere: the error bounds rely on it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _unsort(values: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """Return values [N, ...] that are in the order of an index in the original order of the points."""
    result = np.empty_like(values)
    result[order] = values
    return result
