"""Loops of clustering over single numbers: as steps of NumPy they would go through memory again and again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utils.jit import cached_njit

_GROUP = 64  # cells that are looked at together first
_DIGITS = 1e12  # means over k2 points make distances such as 1/2 common: rounding must not decide who is within eps
# Sums in whatever order is fast; it is always the same, so that a distance is the same in both directions.
_FREE = {"reassoc", "contract", "nsz", "nnan"}


@cached_njit(fastmath=_FREE)
def squared_distance(one: NDArray, other: NDArray) -> float:
    """Squared Euclidean distance of two points [D], summed in float64."""
    total = 0.0
    for place in range(one.shape[0]):
        difference = np.float64(one[place]) - np.float64(other[place])
        total += difference * difference
    return total


@cached_njit()
def pair_distances(points: NDArray, rows: NDArray, columns: NDArray, result: NDArray) -> None:
    """Squared distances [M] of the pairs of points [N, D] that `rows` and `columns` [M] name, into `result`."""
    for pair in range(rows.shape[0]):
        result[pair] = squared_distance(points[rows[pair]], points[columns[pair]])


@cached_njit(fastmath=_FREE)
def scan(
    cells: NDArray,
    first_row: int,
    first_column: int,
    points: NDArray,
    order: NDArray,
    norms: NDArray,
    error: NDArray,
    rest: NDArray,
    nearest: NDArray,
    distance: NDArray,
    farthest: NDArray,
) -> None:
    """Go over a tile of bounds, measure what they leave open, and better what is known of the rows.

    Args:
        cells: [R, C] float32: a lower bound of each squared distance, less `norms` of the row, give or take `error`.
        first_row, first_column: places of the points of the first row and the first column.
        points: [N, D]; `order` [N] has their numbers, by which equal distances rank.
        norms, error: [N] float64, as said of `cells`.
        rest: [N] float64: a squared distance is at most its lower bound and 4 times the product of two of these.
        nearest, distance: [R, k]: places of the nearest points so far, by rising squared distance; the point itself is
            at -1.
        farthest: [R]: the largest squared distance so far.
    """
    most_rest = 0.0
    for column in range(cells.shape[1]):
        most_rest = max(most_rest, rest[first_column + column])
    for row in range(cells.shape[0]):
        point, line = first_row + row, cells[row]
        off, reach = norms[point] + error[point], norms[point] - error[point]
        near = np.float32(distance[row, -1] - reach)
        far = np.float32(farthest[row] - off - 4 * rest[point] * most_rest)
        for start in range(0, line.shape[0], _GROUP):
            group = line[start : start + _GROUP]
            hits = 0
            for place in range(group.shape[0]):
                hits |= (group[place] <= near) | (group[place] >= far)
            if not hits:
                continue
            for place in range(group.shape[0]):
                bound, other = np.float64(group[place]), first_column + start + place
                close = bound + reach <= distance[row, -1]
                if not close and bound + off + 4 * rest[point] * rest[other] < farthest[row]:
                    continue
                squared = squared_distance(points[point], points[other])
                farthest[row] = max(farthest[row], squared)
                if close:
                    _insert(nearest[row], distance[row], other, -1.0 if other == point else squared, order)
            near = np.float32(distance[row, -1] - reach)
            far = np.float32(farthest[row] - off - 4 * rest[point] * most_rest)


@cached_njit()
def _insert(nearest: NDArray, distance: NDArray, point: int, squared: float, order: NDArray) -> None:
    """Put a point where it belongs among the nearest [k], unless it is farther than all of them."""
    place, last = nearest.shape[0], nearest.shape[0] - 1
    while place > 0:
        before = distance[place - 1]
        if squared > before or (squared == before and order[point] > order[nearest[place - 1]]):
            break
        place -= 1
        if place < last:
            nearest[place + 1], distance[place + 1] = nearest[place], distance[place]
    if place <= last:
        nearest[place], distance[place] = point, squared


@cached_njit()
def overlaps(
    start: int,
    stop: int,
    rows: tuple[NDArray, NDArray, NDArray],
    columns: tuple[NDArray, NDArray, NDArray],
    begin: NDArray,
    least: float,
    found: NDArray,
    place: NDArray,
    index: NDArray,
    data: NDArray,
) -> None:
    """Jaccard distances of the rows from `start` to `stop` with later rows: counted, or written where there is room.

    Args:
        rows, columns: V [N, N] by rows and by columns: pointers, indices, values.
        begin: of each entry of `rows`, what follows it in its column.
        least: pairs whose overlap is no larger do not count.
        found: [N]: how many pairs each row has, which is counted where `index` is empty.
        place: [N]: where the pairs of each row go.
        index, data: the later rows, rising, and their distances.
    """
    count = rows[0].shape[0] - 1
    eights = (count + 7) // 8
    total = np.zeros(8 * eights)
    met = np.zeros(8 * eights, np.uint8)  # read eight at a time, so that the pairs come out in order without sorting
    words = met.view(np.uint64)
    for row in range(start, stop):
        for entry in range(rows[0][row], rows[0][row + 1]):
            weight = rows[2][entry]
            for shared in range(begin[entry], columns[0][rows[1][entry] + 1]):
                other = columns[1][shared]
                met[other] = 1
                total[other] += min(weight, columns[2][shared])
        number = 0
        for word in range((row + 1) // 8, eights):
            if not words[word]:
                continue
            words[word] = 0
            for other in range(8 * word, 8 * word + 8):
                overlap = total[other]
                total[other] = 0.0
                if overlap > least:
                    if index.shape[0]:
                        distance = np.rint((1 - overlap / (2 - overlap)) * _DIGITS) / _DIGITS
                        index[place[row] + number] = other
                        data[place[row] + number] = min(max(distance, 0.0), 1.0)
                    number += 1
        found[row] = number
