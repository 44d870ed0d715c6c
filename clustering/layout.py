"""Points laid out for searching: turned so that few coordinates tell most of a distance, near points side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from utils import distributed

TILE = 1024  # points that are compared with a block of others at once
_ROWS = 2**14  # points that are turned at once
_SAMPLE = 64  # points whose distances to all tell how many coordinates to keep
_AXES = 8  # directions along which points are parted into boxes
_ROUNDING = 2.0**-24  # of float32


@dataclass(frozen=True)
class Points:
    """N points, centred, turned onto their principal axes, with all but the first p coordinates put into one number.

    With x = (u, r), u the first p coordinates and r the norm of the others, the squared distance of two points lies
    between `b = |u - u'|^2 + (r - r')^2` and `b + 4 r r'`. Features of trained models keep nearly all of their variance
    in a few directions, so that a tenth of the products tells which few pairs have to be measured.

    Attributes:
        given: [N, D], float32 or float64, in the order in which they were given: what distances are measured with.
        order: [N], numbers of the points, near ones next to each other. All that follows is in this order.
        base: [N, p + 2] float32: u, r, and |x|^2.
        norms: [N] float64: |x|^2.
        rest: [N] float64: r.
        error: [N] float64: how far rounding may put b of the point and any other.
        spare: neighbours beyond k that b may let in wrongly, for nearly all points.
    """

    given: torch.Tensor
    order: torch.Tensor
    base: torch.Tensor
    norms: torch.Tensor
    rest: torch.Tensor
    error: torch.Tensor
    spare: int

    @classmethod
    def of(cls, features: NDArray, device: torch.device | str = "cpu", *, k: int, cut: int | None = None) -> Points:
        """Lay out `features` [N, D], finite, N and D at least 1, for the search of k neighbours on a device.

        Args:
            features: [N, D].
            device: where to search.
            k: neighbours that will be searched for.
            cut: p, at most D; None chooses by what a sample of the points would cost.
        """
        kind = np.float32 if features.dtype.itemsize <= 4 else np.float64
        given = torch.from_numpy(np.ascontiguousarray(features, dtype=kind)).to(device)
        turned = _turned(given)
        # Processes that share the points must agree on it, however their machines round.
        order = distributed.broadcast(_near_together(turned[:, :_AXES].cpu().numpy())).to(device)
        turned = turned[order]
        norms = _square(turned)
        size = turned.shape[1]
        choices = [cut] if cut else [*(2**power for power in range(2, 14) if 2**power <= size // 2), size]
        kept, spare = _cheapest(turned, norms, k, choices)
        rest = (_square(turned[:, kept:]) if kept < size else torch.zeros_like(norms)).sqrt()
        base = torch.cat([turned[:, :kept], rest.float()[:, None], norms.float()[:, None]], 1)
        return cls(given, order, base, norms, rest, _error(norms, kept), spare)

    def __len__(self) -> int:
        return len(self.given)


def _turned(given: torch.Tensor) -> torch.Tensor:
    """Centred points [N, D] float32 along their principal axes, by falling variance."""
    centre = given.mean(0, dtype=torch.float64)
    scatter = torch.zeros(given.shape[1], given.shape[1], device=given.device)
    for part in given.split(_ROWS):
        near = (part - centre).float()
        scatter += near.T @ near
    axes = torch.linalg.eigh(scatter.double())[1].flip(1)  # in float64, they keep distances
    return torch.cat([((part - centre) @ axes).float() for part in given.split(_ROWS)])


def _near_together(points: NDArray[np.float32]) -> torch.Tensor:
    """An order [N] of points [N, axes] in which every TILE of them fill a box: halved along their widest axis again and
    again."""
    boxes, parts = [], [np.arange(len(points))]
    while parts:
        part = parts.pop()
        tiles = -(-len(part) // TILE)
        if tiles == 1:
            boxes.append(part)
            continue
        inside = points[part]
        axis = int(np.argmax(np.ptp(inside, axis=0)))
        half = tiles // 2 * TILE
        place = np.argpartition(inside[:, axis], half)
        parts += [part[place[half:]], part[place[:half]]]
    return torch.from_numpy(np.concatenate(boxes))


def _square(points: torch.Tensor) -> torch.Tensor:
    """Squared norms [N] in float64."""
    return torch.cat([part.square().sum(1, dtype=torch.float64) for part in points.split(_ROWS)])


def _error(norms: torch.Tensor, kept: int) -> torch.Tensor:
    """Products, their sum, the coordinates, the norms, and bounds that are compared with them are rounded."""
    length = norms.sqrt()
    return (kept + 24) * _ROUNDING * (length + length.max()).square()


def _cheapest(turned: torch.Tensor, norms: torch.Tensor, k: int, choices: list[int]) -> tuple[int, int]:
    """That of the choices with which a search takes the least time, and the spare candidates that it needs."""
    count, size = turned.shape
    sample = torch.linspace(0, count - 1, min(count, _SAMPLE), device=turned.device).long()
    length = norms.float()
    whole = length[sample, None] + length - 2 * turned[sample] @ turned.T
    limit = whole.kthvalue(min(k, count)).values + 2 * _error(norms, size)[sample].float()
    best: tuple[float, int, int] | None = None
    for kept in choices:
        head = turned[:, :kept]
        rest = (length - head.square().sum(1)).clamp(min=0).sqrt()
        bound = length[sample, None] + length - 2 * (head[sample] @ head.T + rest[sample, None] * rest)
        near = (bound <= limit[:, None]).sum(1)
        # In nanoseconds, on one core of 2020: a product, going over a cell, and measuring a pair.
        cost = count * (0.8 + 0.015 * kept) + float(near.float().mean()) * (50 + 0.25 * size)
        if best is None or cost < best[0]:
            best = (cost, kept, max(8, int(near.max()) - k + 8))
    assert best is not None
    return best[1:]
