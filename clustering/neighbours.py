"""Nearest neighbours, in a fixed order: searched on a GPU where there is one, and by all processes of a group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.device_search import measured, nearest_and_farthest_on_device
from clustering.inverted import FROM, approximate_neighbours
from clustering.layout import Points
from clustering.search import nearest_and_farthest
from utils import distributed
from utils.errors import UserError

Method = Literal["exact", "ivf"]
_ROWS = 512  # points compared with another set at once
_NEAR = 9
_SMALLEST = 1e-17  # of the largest number of features


@dataclass(frozen=True)
class Neighbours:
    """What is near each of N points.

    Attributes:
        nearest: [N, k] int64, by rising distance, each point itself first, ties by index.
        farthest: [N], squared Euclidean distance of the point that is farthest from each.
        points: [N, D], on the device where they were searched.
    """

    nearest: NDArray[np.int64]
    farthest: NDArray[np.float64]
    points: torch.Tensor

    def squared_distances(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Squared Euclidean distances [M] of M pairs, summed in float64."""
        row, column = (torch.from_numpy(numbers).to(self.points.device).long() for numbers in (rows, columns))
        return measured(self.points, row, column).cpu().numpy()


def as_features(features: NDArray, name: str) -> NDArray:
    """Check that `features` is a finite [N, D] matrix of floats, whose squared distances float32 can hold.

    Raises:
        UserError: it is not; rows that are not finite are named.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise UserError(f"{name} must be a matrix [N, D] of floats, not {features.dtype} of shape {features.shape}")
    if len(features) and not features.shape[1]:
        raise UserError(f"{name} must have columns: their shape is {features.shape}")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UserError(f"{name} are not finite in rows {', '.join(map(str, bad[:8]))}{', ...' * (len(bad) > 8)}")
    largest = float(np.abs(features).max(initial=0.0))
    if largest > 1 / _SMALLEST or 0 < largest < _SMALLEST:
        raise UserError(f"{name} are as large as {largest:.0e}, whose squares float32 does not hold: scale them to 1")
    return features


def find_neighbours(
    features: NDArray, k: int, *, method: Method = "exact", device: torch.device | str | None = None
) -> Neighbours:
    """Find the k nearest points of every point, and the distance to the farthest.

    In a group of processes, each searches for its share of the points, and all of
    them get the whole.

    Args:
        features: [N, D], N at least 1.
        k: neighbours, the point itself included; at most N.
        method: "exact"; or "ivf": from 200,000 points on, an inverted file, which misses a few of the nearest and
            takes for the farthest point one among those that are farthest from the centre.
        device: where to search; None takes the first GPU where there is one.

    Raises:
        UserError: an unknown method.
    """
    if method not in ("exact", "ivf"):
        raise UserError(f"knn must be 'exact' or 'ivf', not {method!r}")
    with _full_precision():
        points = Points.of(features, device or default_device(), k=k)
        exact = nearest_and_farthest if points.given.device.type == "cpu" else nearest_and_farthest_on_device
        search = approximate_neighbours if method == "ivf" and len(features) >= FROM else exact
        mine = distributed.shard(len(features))
        found = search(points, k, mine.start, mine.stop)
    nearest, farthest = (_in_given_order(distributed.gather_shards(part, len(features)), points) for part in found)
    return Neighbours(nearest, farthest, points.given)


def nearest_neighbours(features: NDArray, k: int) -> NDArray[np.int64]:
    """Indices [N, k] of the k nearest points of every point, as in `find_neighbours`."""
    return find_neighbours(features, k).nearest


def nearest_other(
    features: NDArray, others: NDArray, *, device: torch.device | str | None = None
) -> NDArray[np.float64]:
    """Squared Euclidean distance [N] of each point of `features` [N, D] to the nearest of `others` [M, D]."""
    device = device or default_device()
    given = torch.from_numpy(np.ascontiguousarray(others, dtype=np.float64)).to(device)
    centre = given.mean(0)
    right = (given - centre).float()
    norms, nearest = right.square().sum(1), []
    with _full_precision():
        for start in range(0, len(features), _ROWS):
            part = torch.from_numpy(features[start : start + _ROWS].astype(np.float64)).to(device)
            value = torch.addmm(norms, (part - centre).float(), right.T, alpha=-2)
            # Products in float32 may confuse what is nearly tied: the first few are measured again.
            near = value.topk(min(len(others), _NEAR), largest=False).indices
            nearest.append((given[near] - part[:, None]).square_().sum(-1).amin(1).cpu().numpy())
    return np.concatenate(nearest) if nearest else np.empty(0)


def default_device() -> torch.device:
    """The first GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products of matrices in whole float32, whatever the program allows elsewhere: error bounds count on it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _in_given_order(values: NDArray, points: Points) -> NDArray:
    """What was found for the points in their order of searching [N, ...], in the order in which they were given."""
    result = np.empty_like(values)
    result[points.order.cpu().numpy()] = values
    return result
