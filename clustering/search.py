"""Exact search: the nearest points of every point, and how far the farthest is, from one pass over all distances.

Float32 products of blocks of points give every distance but for an error that is bounded. What the bound leaves open is
measured again, as a sum of squared differences in float64: the result is that of a float64 search, ties by index.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray

_GROUP = 32  # columns whose least distance is kept: the k nearest lie in the k groups of least minima
_TILE = 4096  # columns whose distances stay in the processor's cache while their groups are made
_CELLS = 2**25  # distances held at once, 128 MiB
_AT_ONCE = 2**18  # numbers that are subtracted at once: they stay in the cache
_SPARE = 8  # candidates beyond k, so that nearly tied ones seldom need a second look
_ROWS = 2**14  # points that are turned at once
_ROUNDING = 2.0**-24  # of float32

Extreme = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Points:
    """Points laid out for searching: centred, turned onto their principal axes, and cut where little is left.

    The distances of the first coordinates, with the whole norms, are the squared distances but for
    `2 r_i . r_j`, where r is what was cut off: at most `2 |r_i| max |r|`. Features of trained models keep nearly all
    their variance in a few directions, so that a tenth of the products finds the few pairs that must be measured.

    Attributes:
        given: [N, D], float32 or float64: what exact distances are computed from.
        base: [N, p + 1] float32: p coordinates, and the squared norm of all D.
        error: [N] float32: how far off a squared distance from `base` may be in each row.
        spare: candidates beyond k that the search looks at in every row.
    """

    given: torch.Tensor
    base: torch.Tensor
    error: torch.Tensor
    spare: int

    @classmethod
    def of(cls, features: NDArray, device: torch.device | str = "cpu", *, k: int, cut: int | None = None) -> Points:
        """Lay out `features` [N, D], finite, N and D at least 1, for the search of k neighbours.

        Args:
            features: [N, D].
            device: where to search.
            k: neighbours that will be searched for.
            cut: coordinates to keep; None chooses by what a sample of the points would cost.
        """
        kind = np.float32 if features.dtype.itemsize <= 4 else np.float64
        given = torch.from_numpy(np.ascontiguousarray(features, dtype=kind)).to(device)
        turned = _turned(given)
        square = torch.cat([part.square().sum(1, dtype=torch.float64) for part in turned.split(_ROWS)])
        choices = [cut] if cut else [*(2**power for power in range(3, 14) if 2**power <= turned.shape[1] // 2), None]
        best = min((_trial(turned, square, k, choice) for choice in choices), key=lambda trial: trial[0])
        return cls(given, *best[1:])

    def __len__(self) -> int:
        return len(self.given)

    def squared_distances(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Squared distances [R, k] of the points `rows` [R] to the points `columns` [R, k], in float64."""
        distance = torch.empty(columns.shape, dtype=torch.float64, device=columns.device)
        at_once = _AT_ONCE if columns.device.type == "cpu" else 2**8 * _AT_ONCE
        step = max(1, at_once // max(1, columns.shape[1] * self.given.shape[1]))
        for start in range(0, len(rows), step):
            part = columns[start : start + step]
            difference = self.given.index_select(0, part.reshape(-1)).reshape(*part.shape, -1).double()
            difference -= self.given.index_select(0, rows[start : start + step])[:, None]
            distance[start : start + step] = difference.square_().sum(-1)
        return distance


def _turned(given: torch.Tensor) -> torch.Tensor:
    """Centred points [N, D] float32 along their principal axes, by falling variance."""
    centre = given.mean(0, dtype=torch.float64)
    scatter = torch.zeros(given.shape[1], given.shape[1], device=given.device)
    for part in given.split(_ROWS):
        near = (part - centre).float()
        scatter += near.T @ near
    axes = torch.linalg.eigh(scatter.double())[1].flip(1)  # in float64, they keep distances
    return torch.cat([((part - centre) @ axes).float() for part in given.split(_ROWS)])


def _trial(
    turned: torch.Tensor, square: torch.Tensor, k: int, cut: int | None
) -> tuple[float, torch.Tensor, torch.Tensor, int]:
    """What a search with `cut` coordinates would cost for a row, with its base, errors and spare candidates."""
    count, size = turned.shape
    length, kept = square.sqrt(), cut or size
    base = torch.cat([turned[:, :kept], square.float()[:, None]], 1)
    # Every product is rounded, and so is their sum, the coordinates, and the norm.
    error = (kept + 16) * _ROUNDING * (length + length.max()).square()
    if cut:
        rest = torch.cat([part.square().sum(1, dtype=torch.float64) for part in turned[:, kept:].split(_ROWS)]).sqrt()
        error += 2 * rest * rest.max()
    rows = torch.linspace(0, count - 1, min(count, 64), device=turned.device).long()
    value = base[rows, -1:].new_ones(len(rows), 1) * base[:, -1] - 2 * base[rows, :kept] @ base[:, :kept].T
    slack = 2 * error[rows].float()
    limit = value.kthvalue(min(k, count)).values + slack
    near = int((value <= limit[:, None]).sum(1).max())
    far = int((value >= (value.amax(1) - slack)[:, None]).sum(1).max())
    spare = max(_SPARE, near - k + _SPARE, 2 * far)
    # A number that is measured again costs about eighty products; going over a cell about sixteen.
    cost = count * (kept + 16.0) + 80.0 * size * 1.5 * spare
    return cost, base, error.float(), min(spare, 8 * k)  # among a great many ties, cells are looked through instead


def nearest_and_farthest(
    points: Points, k: int, start: int = 0, stop: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Search for the points from `start` to `stop` among all.

    Args:
        points: N of them.
        k: neighbours, the point itself included; at most N.

    Returns:
        Indices [stop - start, k] by rising distance, each point itself first, ties by index; and the squared distance
        [stop - start] of the point that is farthest from each.
    """
    count, stop = len(points), len(points) if stop is None else stop
    tile = _TILE if count > _TILE else -(-count // _GROUP) * _GROUP
    width = -(-count // tile) * tile
    device = points.given.device
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    block = max(1, min(1024, -(-(stop - start) // workers), _CELLS // width // workers))
    nearest = torch.empty((stop - start, k), dtype=torch.int64, device=device)
    farthest = torch.empty(stop - start, dtype=torch.float64, device=device)
    held: SimpleQueue[torch.Tensor] = SimpleQueue()
    for _ in range(workers):
        held.put(torch.full((block, width), torch.inf, device=device))

    def search(first: int) -> None:
        rows = torch.arange(first, min(stop, first + block), device=device)
        part = slice(first - start, first - start + len(rows))
        cells = held.get()
        try:
            grid = _Grid(points, rows, cells[: len(rows)], tile)
            nearest[part], farthest[part] = grid.nearest(k), grid.farthest()
        finally:
            held.put(cells)

    # A block to a thread: threads within each product would wait for one another after every step.
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(search, range(start, stop, block)))
    finally:
        if device.type == "cpu":
            torch.set_num_threads(workers)
    return nearest.cpu().numpy(), farthest.cpu().numpy()


class _Grid:
    """Distances of some rows to all points, but for |x|^2 of the row, with the extremes of groups of columns."""

    def __init__(self, points: Points, rows: torch.Tensor, cells: torch.Tensor, tile: int) -> None:
        self.points, self.rows, self.cells, self.tile = points, rows, cells, tile
        self.slack = 2 * points.error[rows]
        count, left = len(points), -2 * points.base[rows[0] : rows[-1] + 1]
        left[:, -1] = 1
        least, most = [], []
        for start in range(0, cells.shape[1], tile):
            part, stop = cells[:, start : start + tile], min(start + tile, count)
            torch.mm(left, points.base[start:stop].T, out=part[:, : stop - start])
            least.append(_extremes(part, torch.minimum))
            part[:, stop - start :] = -torch.inf  # what is beyond the last point is neither near nor far
            most.append(_extremes(part, torch.maximum))
            part[:, stop - start :] = torch.inf
        self.least, self.most = torch.cat(least, 1), torch.cat(most, 1)

    def nearest(self, k: int) -> torch.Tensor:
        """The k nearest points [R, k] of every row."""
        column, value, beyond = self._best(self.least, k + self.points.spare, largest=False)
        limit = value[:, k - 1] + self.slack
        column = column.sort(1).values
        distance = self.points.squared_distances(self.rows, column)
        distance[column == self.rows[:, None]] = -1  # first, whatever it ties with
        nearest = column.gather(1, distance.sort(stable=True, dim=1).indices[:, :k])
        for part in self._in_doubt(beyond <= limit):
            row, column = (self.cells[part, : len(self.points)] <= limit[part, None]).nonzero(as_tuple=True)
            distance = self.points.squared_distances(self.rows[part][row], column[:, None])[:, 0]
            distance[column == self.rows[part][row]] = -1
            order = distance.sort(stable=True).indices
            order = order[row[order].sort(stable=True).indices]
            found = torch.bincount(row, minlength=len(part))
            nearest[part] = column[order][(found.cumsum(0) - found)[:, None] + torch.arange(k, device=row.device)]
        return nearest

    def farthest(self) -> torch.Tensor:
        """The largest squared distance [R] of every row."""
        column, value, beyond = self._best(self.most, self.points.spare // 2, largest=True)
        limit = value[:, 0] - self.slack
        farthest = self.points.squared_distances(self.rows, column).amax(1)
        for part in self._in_doubt(beyond >= limit):
            row, column = (self.cells[part, : len(self.points)] >= limit[part, None]).nonzero(as_tuple=True)
            distance = self.points.squared_distances(self.rows[part][row], column[:, None])[:, 0]
            farthest[part] = farthest[part].scatter_reduce(0, row, distance, "amax")
        return farthest

    def _best(
        self, extremes: torch.Tensor, wanted: int, *, largest: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Columns and values [R, wanted] of the extreme cells, best first, and what the best of the others may be."""
        wanted = min(wanted, len(self.points))
        bound, group = extremes.topk(min(wanted, extremes.shape[1]), largest=largest)
        stride = self.tile // _GROUP
        members = stride * torch.arange(_GROUP, device=group.device)
        column = (group // stride * self.tile + group % stride)[:, :, None] + members
        column = column.reshape(len(group), -1)
        value = self.cells.gather(1, column)
        if largest:
            value[column >= len(self.points)] = -torch.inf
        value, place = value.topk(wanted, largest=largest)
        never = torch.full_like(value[:, 0], -torch.inf if largest else torch.inf)
        others = value[:, -1] if wanted < len(self.points) else never
        if group.shape[1] < extremes.shape[1]:
            others = (torch.maximum if largest else torch.minimum)(others, bound[:, -1])
        return column.gather(1, place), value, others

    def _in_doubt(self, doubt: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows, few at a time, whose candidates may not be all: their cells are looked through one by one."""
        rows = doubt.nonzero()[:, 0]
        return rows.split(max(1, 2**22 // len(self.points))) if len(rows) else ()


def _extremes(cells: torch.Tensor, extreme: Extreme) -> torch.Tensor:
    """[R, C] -> [R, C / _GROUP]: the extreme of every _GROUP columns, which lie C / _GROUP apart."""
    groups = cells.shape[1] // _GROUP
    while (half := cells.shape[1] // 2) >= groups:
        cells = extreme(cells[:, :half], cells[:, half:])
    return cells
