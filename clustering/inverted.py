"""Approximate search, where N^2 distances are too many: an inverted file of faiss, whose lists hold near points."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.device_search import measured
from clustering.layout import Points

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
        points, k, start, stop: as there, on any device.
        probed: lists looked into, of `4 sqrt(N)`: time grows with it, and so does recall. A point for which they hold
            too few is searched for in all of them.
    """
    import faiss  # it takes 100 MB, which the exact search does not need

    count, stop = len(points), len(points) if stop is None else stop
    lists = max(1, min(round(4 * count**0.5), count // 39))  # faiss wants 39 points a list to learn from
    base = points.given[points.order].float().cpu().numpy()
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
        part = slice(first - start, first - start + len(rows))
        nearest[part] = _nearest(points, index, base[rows.cpu()], rows, k)
        value = points.base[edge, -1] - 2 * points.base[rows, :-1] @ points.base[edge, :-1].T
        far = points.order[edge[value.argmax(1)]]
        farthest[part] = measured(points.given, points.order[rows], far).cpu().numpy()
    return nearest, farthest


def _nearest(points: Points, index: Any, base: NDArray, rows: torch.Tensor, k: int) -> NDArray[np.int64]:
    """Numbers [R, k] of the nearest points that an index finds for some rows, each point itself first."""
    wanted = min(len(points), k + _SPARE)
    found = index.search(base, wanted)[1]
    short = np.flatnonzero((found < 0).any(1))
    if len(short):
        probed, index.nprobe = index.nprobe, index.nlist
        found[short] = index.search(base[short], wanted)[1]
        index.nprobe = probed
    place = torch.from_numpy(found).to(rows.device)
    lost = (place != rows[:, None]).all(1)
    place[lost, -1] = rows[lost]
    number = points.order[place].sort(1).values
    own = points.order[rows][:, None].expand_as(number)
    distance = measured(points.given, own.reshape(-1), number.reshape(-1)).view_as(number)
    distance[number == own] = -1
    return number.gather(1, distance.sort(stable=True, dim=1).indices[:, :k]).cpu().numpy()
