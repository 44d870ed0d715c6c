"""Points prepared for search: projected onto few coordinates that bound all distances, and sorted by proximity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from utils import distributed
from utils.jit import cached_njit

TILE = 1024  # consecutive points that are compared with a block of queries at once
# The compiler may reorder sums, always in the same way, so that a distance is the same in both directions.
FAST_SUMS = {"reassoc", "contract", "nsz", "nnan"}
_ROWS = 2**14  # points that are projected at once
_DIFFERENCES = 2**26  # coordinates that are subtracted at once on a GPU
_SAMPLE = 64  # points whose distances to all others show how many coordinates to keep
_SORTED_AXES = 8  # principal axes along which points are sorted into tiles
_ROUNDOFF = 2.0**-24  # of float32


class SearchIndex:
    """N points on their principal axes, with all coordinates but the first p replaced by their norm.

    With x = (u, r), where u are the first p coordinates and r is the norm of the others, the squared distance of two
    points lies between `b = |u - u'|^2 + (r - r')^2` and `b + 4 r r'`. Features of trained models have nearly all of
    their variance in a few directions, so a tenth of the coordinates suffices to rule out nearly all pairs.

    Args:
        features: [N, D], finite, N and D at least 1.
        device: where to search.
        k: neighbors that will be searched.
        coordinates: p, at most D; None chooses the fastest for a sample of the points.

    Attributes:
        features: [N, D] float32 or float64, in their original order; exact distances are computed from them.
        order: [N], the original numbers of the points, sorted by proximity. All attributes below are in this order.
        reduced: [N, p + 2] float32: u, r and |x|^2.
        squared_norms: [N] float64: |x|^2.
        residuals: [N] float64: r.
        errors: [N] float64: bound on the rounding error of b between the point and any other.
        extra_candidates: candidates beyond k that suffice for nearly all points when they are ranked by b.
    """

    def __init__(
        self, features: NDArray[Any], device: torch.device | str = "cpu", *, k: int, coordinates: int | None = None
    ) -> None:
        dtype = np.float32 if features.dtype.itemsize <= 4 else np.float64
        self.features = torch.from_numpy(np.ascontiguousarray(features, dtype=dtype)).to(device)
        points = _project(self.features)
        # The ranks of a group must share one order, but their machines may round differently.
        self.order = distributed.broadcast(_sort_by_proximity(points[:, :_SORTED_AXES].cpu().numpy())).to(device)
        points = points[self.order]
        self.squared_norms = _squared_norms(points)
        size = points.shape[1]
        choices = [*(2**power for power in range(2, 14) if 2**power <= size // 2), size]
        kept, self.extra_candidates = _choose_coordinates(
            points, self.squared_norms, k, [coordinates] if coordinates else choices
        )
        dropped = _squared_norms(points[:, kept:]) if kept < size else torch.zeros_like(self.squared_norms)
        self.residuals = dropped.sqrt()
        self.reduced = torch.cat(
            [points[:, :kept], self.residuals.float()[:, None], self.squared_norms.float()[:, None]], 1
        )
        self.errors = _rounding_errors(self.squared_norms, kept)

    def __len__(self) -> int:
        return len(self.features)

    def queries(self, rows: slice) -> torch.Tensor:
        """Return factors [R, p + 2] whose products with `reduced` are b less the `squared_norms` of the rows."""
        factors = -2 * self.reduced[rows]
        factors[:, -1] = 1
        return factors


def squared_distances(features: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Compute the squared Euclidean distances [M] of the pairs (rows[m], columns[m]) of points [N, D] in float64."""
    distances = torch.empty(len(rows), dtype=torch.float64, device=features.device)
    if features.device.type == "cpu":
        _pair_distances(*(values.numpy() for values in (features, rows, columns, distances)))
        return distances
    step = max(1, _DIFFERENCES // features.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        difference = features[rows[part]].double() - features[columns[part]]
        distances[part] = difference.square_().sum(1)
    return distances


@cached_njit(fastmath=FAST_SUMS)
def squared_distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the squared Euclidean distance of two points [D], summed in float64."""
    total = 0.0
    for axis in range(one.shape[0]):
        difference = np.float64(one[axis]) - np.float64(other[axis])
        total += difference * difference
    return total


@cached_njit()
def _pair_distances(points: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], distances: NDArray[Any]) -> None:
    for pair in range(rows.shape[0]):
        distances[pair] = squared_distance(points[rows[pair]], points[columns[pair]])


def _project(points: torch.Tensor) -> torch.Tensor:
    """Subtract the mean of points [N, D] and rotate them onto their principal axes, by falling variance, in float32."""
    mean = points.mean(0, dtype=torch.float64)
    scatter = torch.zeros(points.shape[1], points.shape[1], device=points.device)
    for part in points.split(_ROWS):
        deviation = (part - mean).float()
        scatter += deviation.T @ deviation
    axes = torch.linalg.eigh(scatter.double())[1].flip(1)  # orthonormal in float64, so that they keep distances
    return torch.cat([((part - mean) @ axes).float() for part in points.split(_ROWS)])


def _sort_by_proximity(points: NDArray[np.float32]) -> torch.Tensor:
    """Return an order [N] of points [N, axes] in which each TILE of them fills a box.

    The points are halved along their widest axis until a part fits in one tile (a k-d tree).
    """
    tiles, parts = [], [np.arange(len(points))]
    while parts:
        part = parts.pop()
        count = -(-len(part) // TILE)
        if count == 1:
            tiles.append(part)
            continue
        inside = points[part]
        axis = int(np.argmax(np.ptp(inside, axis=0)))
        half = count // 2 * TILE
        place = np.argpartition(inside[:, axis], half)
        parts += [part[place[half:]], part[place[:half]]]
    return torch.from_numpy(np.concatenate(tiles))


def _squared_norms(points: torch.Tensor) -> torch.Tensor:
    """Squared norms [N] in float64."""
    return torch.cat([part.square().sum(1, dtype=torch.float64) for part in points.split(_ROWS)])


def _rounding_errors(squared_norms: torch.Tensor, coordinates: int) -> torch.Tensor:
    """Bound the rounding [N] of products, their sum, coordinates, norms, and the thresholds they are compared with."""
    length = squared_norms.sqrt()
    return (coordinates + 24) * _ROUNDOFF * (length + length.max()).square()


def _choose_coordinates(
    projected: torch.Tensor, squared_norms: torch.Tensor, k: int, choices: list[int]
) -> tuple[int, int]:
    """Return the number of coordinates that makes a search fastest, and the extra candidates that it needs."""
    count, size = projected.shape
    sample = torch.linspace(0, count - 1, min(count, _SAMPLE), device=projected.device).long()
    norms = squared_norms.float()
    exact = norms[sample, None] + norms - 2 * projected[sample] @ projected.T
    limit = exact.kthvalue(min(k, count)).values + 2 * _rounding_errors(squared_norms, size)[sample].float()
    best: tuple[float, int, int] | None = None
    for kept in choices:
        head = projected[:, :kept]
        residual = (norms - head.square().sum(1)).clamp(min=0).sqrt()
        bound = norms[sample, None] + norms - 2 * (head[sample] @ head.T + residual[sample, None] * residual)
        candidates = (bound <= limit[:, None]).sum(1)
        # In nanoseconds, on one core of 2020: the product and the comparison of each pair, and each exact distance.
        cost = count * (0.8 + 0.015 * kept) + float(candidates.float().mean()) * (50 + 0.25 * size)
        if best is None or cost < best[0]:
            best = (cost, kept, max(8, int(candidates.max()) - k + 8))
    assert best is not None
    return best[1:]
