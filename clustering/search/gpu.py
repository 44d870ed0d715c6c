"""Exact search on a GPU: whole rows of bounds are computed and ranked at once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.search.index import SearchIndex, squared_distances

_BOUNDS = 2**28  # bounds held at once, 1 GiB
_RECHECKED = 2**22  # bounds that are compared with a threshold at once
_FARTHEST_CANDIDATES = 8


def search_gpu(index: SearchIndex, k: int, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Search as `search_cpu` does, on the device of the index, which may be any."""
    device, size = index.features.device, rows.stop - rows.start
    residuals = index.residuals.float()
    nearest = torch.empty(size, k, dtype=torch.int64, device=device)
    farthest = torch.empty(size, dtype=torch.float64, device=device)
    step = max(1, _BOUNDS // len(index))
    for first in range(rows.start, rows.stop, step):
        block = slice(first, min(rows.stop, first + step))
        found = slice(block.start - rows.start, block.stop - rows.start)
        bounds = index.queries(block) @ index.reduced.T
        nearest[found] = _nearest(index, block, bounds, k)
        bounds.addcmul_(residuals[block, None], residuals[None], value=4)  # upper bounds from here on
        farthest[found] = _farthest(index, block, bounds)
    return nearest.cpu().numpy(), farthest.cpu().numpy()


def _nearest(index: SearchIndex, block: slice, bounds: torch.Tensor, k: int) -> torch.Tensor:
    """Find the nearest points [R, k] of a block, given lower bounds [R, N] less its squared norms."""
    candidates = min(k + index.extra_candidates, len(index))
    bound, place = bounds.topk(candidates, largest=False)
    row = torch.arange(len(bounds), device=bounds.device)[:, None].expand_as(place)
    numbers, distances = _rank(index, block, row.reshape(-1), place.reshape(-1))
    numbers, distances = numbers.view(-1, candidates)[:, :k].clone(), distances.view(-1, candidates)
    if candidates == len(index):
        return numbers
    # No other point has a lower bound than the last candidate: where even that one may be among the k, look again.
    limit = distances[:, k - 1] - index.squared_norms[block] + index.errors[block]
    for rows in _split(bound[:, -1] <= limit, len(index)):
        row, place = (bounds[rows] <= limit[rows, None]).nonzero(as_tuple=True)
        count = torch.bincount(row, minlength=len(rows))
        ranked, _ = _rank(index, block, rows[row], place)
        numbers[rows] = ranked[(count.cumsum(0) - count)[:, None] + torch.arange(k, device=row.device)]
    return numbers


def _farthest(index: SearchIndex, block: slice, bounds: torch.Tensor) -> torch.Tensor:
    """Find the largest squared distances [R] of a block, given upper bounds [R, N] less its squared norms."""
    candidates = min(_FARTHEST_CANDIDATES, len(index))
    bound, place = bounds.topk(candidates)
    numbers = index.order[block]
    distances = squared_distances(index.features, numbers.repeat_interleave(candidates), index.order[place.reshape(-1)])
    farthest = distances.view(-1, candidates).amax(1)
    if candidates == len(index):
        return farthest
    limit = farthest - index.squared_norms[block] - index.errors[block]
    for rows in _split(bound[:, -1] >= limit, len(index)):
        row, place = (bounds[rows] >= limit[rows, None]).nonzero(as_tuple=True)
        distances = squared_distances(index.features, numbers[rows[row]], index.order[place])
        farthest[rows] = farthest[rows].scatter_reduce(0, row, distances, "amax")
    return farthest


def _rank(
    index: SearchIndex, block: slice, row: torch.Tensor, place: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort candidates [M] by row, exact squared distance and number; each point itself is at -1.

    Returns:
        Original numbers and squared distances, [M] each.
    """
    own, other = index.order[block][row], index.order[place]
    distances = squared_distances(index.features, own, other)
    distances[own == other] = -1
    # Stable sorts by the least significant key first.
    turn = other.argsort(stable=True)
    turn = turn[distances[turn].argsort(stable=True)]
    turn = turn[row[turn].argsort(stable=True)]
    return other[turn], distances[turn]


def _split(selected: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Split the selected rows [R], so that comparing `count` bounds of each row in a part fits in memory."""
    rows = selected.nonzero()[:, 0]
    return rows.split(max(1, _RECHECKED // count)) if len(rows) else ()
