"""Exact search: the nearest points of every point, and how far the farthest is, from one pass over all distances.

Products in float32 bound every distance. A pair whose bound leaves open whether it counts is measured, as a sum of
squared differences in float64: the result is that of a float64 search over everything, ties by index.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clustering import kernels
from clustering.layout import TILE, Points

_BLOCK = 256  # points that are searched for at once
_AXES = 8  # of the boxes around tiles


def nearest_and_farthest(
    points: Points, k: int, start: int = 0, stop: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Search among all points for those from `start` to `stop` in `points.order`.

    Args:
        points: N of them, in the processor's memory.
        k: neighbours, the point itself included; at most N.

    Returns:
        Numbers [stop - start, k] by rising distance, each point itself first, ties by number; and the squared distance
        [stop - start] of the point that is farthest from each.
    """
    count, stop = len(points), len(points) if stop is None else stop
    order = points.order.numpy()
    given = points.given[points.order].numpy()  # near points lie next to each other in memory
    norms, error, rest = (values.numpy() for values in (points.norms, points.error, points.rest))
    boxes = _Boxes.of(points)
    left = -2 * points.base
    left[:, -1] = 1
    nearest = np.zeros((stop - start, k), np.int64)
    distance = np.full((stop - start, k), np.inf)
    farthest = np.full(stop - start, -np.inf)
    threads = torch.get_num_threads()
    block = min(_BLOCK, -(-(stop - start) // threads))

    def search(first: int) -> None:
        last = min(first + block, stop)
        found = slice(first - start, last - start)
        cells = torch.empty((last - first) * min(TILE, count))
        for tile in boxes.of_interest(slice(first, last), distance[found], farthest[found]):
            part = slice(tile * TILE, min((tile + 1) * TILE, count))
            bounds = cells[: (last - first) * (part.stop - part.start)].view(last - first, -1)
            torch.mm(left[first:last], points.base[part].T, out=bounds)
            given_points = (given, order, norms, error, rest)
            results = (nearest[found], distance[found], farthest[found])
            kernels.scan(bounds.numpy(), first, part.start, *given_points, *results)

    # A block to a thread: threads within each product would wait for one another after every step.
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(search, range(start, stop, block)))
    finally:
        torch.set_num_threads(threads)
    return order[nearest], farthest


@dataclass(frozen=True)
class _Boxes:
    """Boxes around tiles of points, along the first axes, and how far points lie outside these axes."""

    points: NDArray[np.float32]
    rest: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    reach: NDArray[np.float64]
    error: float

    @classmethod
    def of(cls, points: Points) -> _Boxes:
        axes = points.base[:, : min(_AXES, points.base.shape[1] - 2)].numpy()
        rest = np.sqrt(np.maximum(points.norms.numpy() - np.square(axes, dtype=np.float64).sum(1), 0))
        starts = np.arange(0, len(points), TILE)
        low, high = (edge.reduceat(axes, starts).astype(np.float64) for edge in (np.minimum, np.maximum))
        return cls(axes, rest, low, high, np.maximum.reduceat(rest, starts), float(points.error.max()))

    def of_interest(self, block: slice, distance: NDArray[np.float64], farthest: NDArray[np.float64]) -> Iterator[int]:
        """Tiles that may hold a point nearer or farther than what is known of a block by then, the nearest first."""
        low, high = self.points[block].min(0), self.points[block].max(0)
        nearest = np.square(np.maximum(0, np.maximum(self.low - high, low - self.high))).sum(1)
        most = np.square(np.maximum(self.high - low, high - self.low)).sum(1)
        most += np.square(self.reach + self.rest[block].max())
        around, away = np.argsort(nearest, kind="stable").tolist(), int(most.argmax())
        for tile in dict.fromkeys([*around[:2], away, *around]):
            near = nearest[tile] - self.error <= distance[:, -1].max()
            if near or most[tile] + self.error >= farthest.min():
                yield tile
