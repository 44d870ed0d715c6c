"""Approximate search, where N^2 distances are too many: an inverted file of faiss, whose lists hold near points."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.search import Points, nearest_and_farthest

FROM = 200_000  # points; for fewer the exact search takes minutes at most
_PROBED = 64  # lists looked into for each point; docs/clustering.md has the recall
_FAR = 4096  # points farthest from the centre, among which the farthest is sought
_SPARE = 8  # faiss ranks in float32
_ROWS = 2**12


def approximate_neighbours(
    points: Points, k: int, start: int = 0, stop: int | None = None, *, probed: int = _PROBED
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `nearest_and_farthest`, but neighbours in lists that are not looked into are missed.

    The distance to the farthest point is that to the farthest of the points farthest from the centre.

    Args:
        points, k, start, stop: as in `nearest_and_farthest`.
        probed: lists looked into, of `4 sqrt(N)`: time grows with it, and so does recall.
    """
    import faiss  # it takes 100 MB, which the exact search does not need

    count, stop = len(points), len(points) if stop is None else stop
    lists = max(1, min(round(4 * count**0.5), count // 39))  # faiss wants 39 points a list to learn from
    base = np.ascontiguousarray(points.base[:, :-1].cpu().numpy())
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(base.shape[1]), base.shape[1], lists)
    index.cp.seed = 0
    index.train(base[:: max(1, count // (64 * lists))])
    index.add(base)
    index.nprobe = min(probed, lists)
    nearest = np.empty((stop - start, k), np.int64)
    farthest = np.empty(stop - start)
    edge = points.base[:, -1].topk(min(_FAR, count)).indices
    for first in range(start, stop, _ROWS):
        rows = torch.arange(first, min(stop, first + _ROWS), device=edge.device)
        found = index.search(base[first : first + len(rows)], min(count, k + _SPARE))[1]
        part = slice(first - start, first - start + len(rows))
        nearest[part] = _ranked(points, rows, torch.from_numpy(found).to(edge.device), k)
        value = points.base[edge, -1] - 2 * points.base[rows, :-1] @ points.base[edge, :-1].T
        farthest[part] = points.squared_distances(rows, edge[value.argmax(1)][:, None])[:, 0].cpu().numpy()
    return nearest, farthest


def _ranked(points: Points, rows: torch.Tensor, found: torch.Tensor, k: int) -> NDArray[np.int64]:
    """The k nearest of the points found, itself first; rows for which too few were found are searched exactly."""
    own = rows[:, None]
    lost = (found != own).all(1)
    found[lost, -1] = rows[lost]
    found = found.sort(1).values
    distance = points.squared_distances(rows, found.clamp(min=0))
    distance[found < 0] = torch.inf
    distance[found == own] = -1
    nearest = found.gather(1, distance.sort(stable=True, dim=1).indices[:, :k])
    for row in (nearest < 0).any(1).nonzero()[:, 0].tolist():
        first = int(rows[row])
        nearest[row] = torch.from_numpy(nearest_and_farthest(points, k, first, first + 1)[0][0])
    return nearest.cpu().numpy()
