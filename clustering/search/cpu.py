"""Exact search on the CPU: the nearest points of every point, and the farthest distance, in one pass over all pairs.

Products in float32 bound every distance. Only pairs whose bounds leave open whether they count are computed exactly, as
a sum of squared differences in float64, so the result is that of a float64 search over all pairs, ties by number.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.search.index import FAST_SUMS, TILE, SearchIndex, squared_distance
from utils.jit import cached_njit

_BLOCK = 256  # queries that are searched together
_BOX_AXES = 8  # principal axes along which tiles have bounding boxes
_GROUP = 64  # bounds that are compared together before they are looked at one by one


class PointArrays(NamedTuple):
    """The arrays of a `SearchIndex` that `scan_tile` reads, all of them in the order of the index."""

    features: NDArray[np.floating]
    order: NDArray[np.int64]
    squared_norms: NDArray[np.float64]
    errors: NDArray[np.float64]
    residuals: NDArray[np.float64]


class SearchResults(NamedTuple):
    """What is known of R queries so far.

    Attributes:
        nearest: [R, k], positions in the index of the nearest points, by rising distance, then by original number.
        distances: [R, k], their squared distances; a point is at -1 from itself.
        farthest: [R], the largest squared distance.
    """

    nearest: NDArray[np.int64]
    distances: NDArray[np.float64]
    farthest: NDArray[np.float64]


def search_cpu(index: SearchIndex, k: int, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the nearest points, and the distance to the farthest, of R points of an index among all N.

    Args:
        index: N points, on the CPU.
        k: neighbors, the point itself included; at most N.
        rows: the R points, in the order of the index; `start` and `stop` are given.

    Returns:
        Original numbers [R, k] by rising distance, each point itself first, ties by number; and the squared distance
        [R] to the farthest point.
    """
    count, size = len(index), rows.stop - rows.start
    order = index.order.numpy()
    features = index.features[index.order].numpy()  # neighbors are next to each other in memory
    norms = (values.numpy() for values in (index.squared_norms, index.errors, index.residuals))
    points, boxes = PointArrays(features, order, *norms), _TileBoxes(index)
    results = SearchResults(np.zeros((size, k), np.int64), np.full((size, k), np.inf), np.full(size, -np.inf))
    threads = torch.get_num_threads()
    block = max(1, min(_BLOCK, -(-size // threads)))

    def search_block(first: int) -> None:
        last = min(first + block, rows.stop)
        part = slice(first - rows.start, last - rows.start)
        found = SearchResults(results.nearest[part], results.distances[part], results.farthest[part])
        queries = index.queries(slice(first, last))
        buffer = torch.empty((last - first) * min(TILE, count))
        for tile in boxes.relevant_tiles(slice(first, last), found):
            others = index.reduced[tile * TILE : (tile + 1) * TILE]
            products = buffer[: (last - first) * len(others)].view(last - first, -1)
            torch.mm(queries, others.T, out=products)
            scan_tile(products.numpy(), first, tile * TILE, points, found)

    # One thread per block: threads within each product would wait for one another after every step.
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(search_block, range(rows.start, rows.stop, block)))
    finally:
        torch.set_num_threads(threads)
    return order[results.nearest], results.farthest


class _TileBoxes:
    """Bounding boxes of T tiles along the first principal axes, and how far points lie outside these axes.

    Attributes:
        points: [N, axes], coordinates along these axes.
        residuals: [N], norm of all other coordinates; `tile_residuals` [T] is the largest of each tile.
        low, high: [T, axes], corners of the boxes.
        error: bound on the rounding error of any squared distance.
    """

    def __init__(self, index: SearchIndex) -> None:
        self.points = index.reduced[:, : min(_BOX_AXES, index.reduced.shape[1] - 2)].numpy()
        inside = np.square(self.points, dtype=np.float64).sum(1)
        self.residuals = np.sqrt(np.maximum(index.squared_norms.numpy() - inside, 0))
        starts = np.arange(0, len(index), TILE)
        self.tile_residuals = np.maximum.reduceat(self.residuals, starts)
        self.low, self.high = (
            extreme.reduceat(self.points, starts).astype(np.float64) for extreme in (np.minimum, np.maximum)
        )
        self.error = float(index.errors.max())

    def relevant_tiles(self, block: slice, found: SearchResults) -> Iterator[int]:
        """Yield the tiles that may improve what is found for a block of queries by then, nearest tiles first."""
        low, high = self.points[block].min(0), self.points[block].max(0)
        nearest = np.square(np.maximum(0, np.maximum(self.low - high, low - self.high))).sum(1)
        farthest = np.square(np.maximum(self.high - low, high - self.low)).sum(1)
        farthest += np.square(self.tile_residuals + self.residuals[block].max())
        by_distance = np.argsort(nearest, kind="stable").tolist()
        # After the two nearest tiles and the farthest one, most others can be ruled out.
        for tile in dict.fromkeys([*by_distance[:2], int(farthest.argmax()), *by_distance]):
            may_be_near = nearest[tile] - self.error <= found.distances[:, -1].max()
            if may_be_near or farthest[tile] + self.error >= found.farthest.min():
                yield tile


@cached_njit(fastmath=FAST_SUMS)
def scan_tile(
    products: NDArray[np.float32], first_row: int, first_column: int, points: PointArrays, found: SearchResults
) -> None:
    """Update what is found for R queries from a tile of C points, whose exact distances are computed where they count.

    Args:
        products: [R, C] float32: a lower bound of each squared distance, less the squared norm of the row's point, up
            to the error of that point. With 4 times the product of both residuals it is an upper bound.
        first_row, first_column: positions of the points of the first row and the first column.
    """
    distances, farthest = found.distances, found.farthest
    largest_residual = 0.0
    for column in range(products.shape[1]):
        largest_residual = max(largest_residual, points.residuals[first_column + column])
    for row in range(products.shape[0]):
        query, line = first_row + row, products[row]
        residual = 4 * points.residuals[query]
        # Added to a product they give an upper and a lower bound of the squared distance.
        upper = points.squared_norms[query] + points.errors[query]
        lower = points.squared_norms[query] - points.errors[query]
        near = np.float32(distances[row, -1] - lower)
        far = np.float32(farthest[row] - upper - residual * largest_residual)
        for start in range(0, line.shape[0], _GROUP):
            group = line[start : start + _GROUP]
            hits = 0
            for place in range(group.shape[0]):
                hits |= (group[place] <= near) | (group[place] >= far)
            if not hits:
                continue
            for place in range(group.shape[0]):
                product, other = np.float64(group[place]), first_column + start + place
                may_be_near = product + lower <= distances[row, -1]
                if not may_be_near and product + upper + residual * points.residuals[other] < farthest[row]:
                    continue
                distance = squared_distance(points.features[query], points.features[other])
                farthest[row] = max(farthest[row], distance)
                if may_be_near:
                    distance = -1.0 if other == query else distance
                    _insert(found.nearest[row], distances[row], other, distance, points.order)
            near = np.float32(distances[row, -1] - lower)
            far = np.float32(farthest[row] - upper - residual * largest_residual)


@cached_njit()
def _insert(nearest: NDArray[Any], distances: NDArray[Any], point: int, distance: float, order: NDArray[Any]) -> None:
    """Insert a point into the sorted nearest [k], unless it is farther than all of them."""
    place, last = nearest.shape[0], nearest.shape[0] - 1
    while place > 0:
        before = distances[place - 1]
        if distance > before or (distance == before and order[point] > order[nearest[place - 1]]):
            break
        place -= 1
        if place < last:
            nearest[place + 1], distances[place + 1] = nearest[place], distances[place]
    if place <= last:
        nearest[place], distances[place] = point, distance
