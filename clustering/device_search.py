"""The exact search on a GPU, where whole rows of bounds are sorted out at once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clustering import kernels
from clustering.layout import Points

_CELLS = 2**28  # bounds held at once, 1 GiB
_AT_ONCE = 2**26  # numbers that are subtracted at once


def nearest_and_farthest_on_device(
    points: Points, k: int, start: int = 0, stop: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `nearest_and_farthest`, for points that lie on any device."""
    count, stop = len(points), len(points) if stop is None else stop
    device = points.given.device
    rest = points.rest.float()
    nearest = torch.empty(stop - start, k, dtype=torch.int64, device=device)
    farthest = torch.empty(stop - start, dtype=torch.float64, device=device)
    for first in range(start, stop, max(1, _CELLS // count)):
        block = slice(first, min(stop, first + max(1, _CELLS // count)))
        left = -2 * points.base[block]
        left[:, -1] = 1
        least = left @ points.base.T
        found = slice(block.start - start, block.stop - start)
        nearest[found] = _nearest(points, block, least, k)
        most = least.addcmul_(rest[block, None], rest[None], value=4)
        farthest[found] = _farthest(points, block, most)
    return nearest.cpu().numpy(), farthest.cpu().numpy()


def measured(given: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Squared distances [M] of the pairs of points [N, D] that `rows` and `columns` [M] name, in float64."""
    distance = torch.empty(len(rows), dtype=torch.float64, device=given.device)
    if given.device.type == "cpu":
        kernels.pair_distances(*(values.numpy() for values in (given, rows, columns, distance)))
        return distance
    step = max(1, _AT_ONCE // given.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = given[rows[part]].double() - given[columns[part]]
        distance[part] = difference.square_().sum(1)
    return distance


def _nearest(points: Points, block: slice, bounds: torch.Tensor, k: int) -> torch.Tensor:
    """Numbers [R, k] of the nearest points of a block, given lower bounds [R, N] less the norms of the block."""
    wanted = min(k + points.spare, len(points))
    bound, place = bounds.topk(wanted, largest=False)
    row = torch.arange(len(bounds), device=bounds.device)[:, None].expand_as(place)
    number, distance = _ranked(points, block, row.reshape(-1), place.reshape(-1))
    number, distance = number.view(-1, wanted)[:, :k].clone(), distance.view(-1, wanted)
    # What is not among the candidates is no nearer than the last of them.
    limit = distance[:, k - 1] - points.norms[block] + points.error[block]
    for doubt in _few(bound[:, -1] <= limit, len(points)) if wanted < len(points) else ():
        row, place = (bounds[doubt] <= limit[doubt, None]).nonzero(as_tuple=True)
        found = torch.bincount(row, minlength=len(doubt))
        ranked, _ = _ranked(points, block, doubt[row], place)
        number[doubt] = ranked[(found.cumsum(0) - found)[:, None] + torch.arange(k, device=row.device)]
    return number


def _farthest(points: Points, block: slice, bounds: torch.Tensor) -> torch.Tensor:
    """The largest squared distance [R] from a block, given upper bounds [R, N] less the norms of the block."""
    wanted = min(8, len(points))
    bound, place = bounds.topk(wanted)
    row = points.order[block]
    farthest = measured(points.given, row.repeat_interleave(wanted), points.order[place.reshape(-1)])
    farthest = farthest.view(-1, wanted).amax(1)
    limit = farthest - points.norms[block] - points.error[block]
    for doubt in _few(bound[:, -1] >= limit, len(points)) if wanted < len(points) else ():
        at, place = (bounds[doubt] >= limit[doubt, None]).nonzero(as_tuple=True)
        distance = measured(points.given, row[doubt[at]], points.order[place])
        farthest[doubt] = farthest[doubt].scatter_reduce(0, at, distance, "amax")
    return farthest


def _ranked(points: Points, block: slice, row: torch.Tensor, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers and squared distances [M] of candidates, by row, distance and number; each point itself is at -1."""
    own, other = points.order[block][row], points.order[place]
    distance = measured(points.given, own, other)
    distance[own == other] = -1
    turn = other.argsort(stable=True)
    turn = turn[distance[turn].argsort(stable=True)]
    turn = turn[row[turn].argsort(stable=True)]
    return other[turn], distance[turn]


def _few(doubt: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Rows that are in doubt, so many at a time that looking through them fits in memory."""
    rows = doubt.nonzero()[:, 0]
    return rows.split(max(1, 2**22 // count)) if len(rows) else ()
