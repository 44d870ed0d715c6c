"""Approximate search for sets where N^2 distances are too many: an inverted file (IVF) of faiss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.search.index import SearchIndex, squared_distances

MIN_POINTS = 200_000  # for fewer points the exact search takes minutes at most
_PROBES = 64  # docs/clustering.md has the recall
_FARTHEST_CANDIDATES = 4096  # points farthest from the mean
_EXTRA_CANDIDATES = 8  # faiss ranks in float32
_ROWS = 2**12


def search_ivf(
    index: SearchIndex, k: int, rows: slice, *, probes: int = _PROBES
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Search as `search_cpu` does, but miss neighbors in lists that are not probed.

    The farthest point is sought among those that are farthest from the mean.

    Args:
        index, k, rows: as in `search_cpu`, on any device.
        probes: lists to search, of `4 sqrt(N)`: more take longer and miss fewer neighbors. A point for which they hold
            fewer than k points is searched in all lists.
    """
    import faiss  # takes 100 MB, which the exact search does not need

    count, size = len(index), rows.stop - rows.start
    lists = max(1, min(round(4 * count**0.5), count // 39))  # faiss asks for 39 training points per list
    features = index.features[index.order].float().cpu().numpy()
    inverted_file = faiss.IndexIVFFlat(faiss.IndexFlatL2(features.shape[1]), features.shape[1], lists)
    inverted_file.cp.seed = 0
    inverted_file.train(features[:: max(1, count // (64 * lists))])
    inverted_file.add(features)
    inverted_file.nprobe = min(probes, lists)
    nearest = np.empty((size, k), np.int64)
    farthest = np.empty(size)
    outer = index.reduced[:, -1].topk(min(_FARTHEST_CANDIDATES, count)).indices
    for first in range(rows.start, rows.stop, _ROWS):
        block = torch.arange(first, min(rows.stop, first + _ROWS), device=outer.device)
        part = slice(first - rows.start, first - rows.start + len(block))
        nearest[part] = _nearest(index, inverted_file, features[block.cpu()], block, k)
        bound = index.reduced[outer, -1] - 2 * index.reduced[block, :-1] @ index.reduced[outer, :-1].T
        other = index.order[outer[bound.argmax(1)]]
        farthest[part] = squared_distances(index.features, index.order[block], other).cpu().numpy()
    return nearest, farthest


def _nearest(
    index: SearchIndex, inverted_file: Any, queries: NDArray[np.float32], rows: torch.Tensor, k: int
) -> NDArray[np.int64]:
    """Find the nearest points [R, k] of the points at `rows` [R] of the index, each point itself first."""
    candidates = min(len(index), k + _EXTRA_CANDIDATES)
    found = inverted_file.search(queries, candidates)[1]
    incomplete = np.flatnonzero((found < 0).any(1))
    if len(incomplete):
        probes, inverted_file.nprobe = inverted_file.nprobe, inverted_file.nlist
        found[incomplete] = inverted_file.search(queries[incomplete], candidates)[1]
        inverted_file.nprobe = probes
    place = torch.from_numpy(found).to(rows.device)
    without_self = (place != rows[:, None]).all(1)
    place[without_self, -1] = rows[without_self]
    numbers = index.order[place].sort(1).values  # a stable sort by distance then breaks ties by number
    own = index.order[rows][:, None].expand_as(numbers)
    distances = squared_distances(index.features, own.reshape(-1), numbers.reshape(-1)).view_as(numbers)
    distances[numbers == own] = -1
    return numbers.gather(1, distances.sort(stable=True, dim=1).indices[:, :k]).cpu().numpy()
