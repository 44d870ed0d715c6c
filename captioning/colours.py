"""Colours as people name them: pixels in CIELAB, and the nearest of a few remembered shades for each name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])  # D65

# (L*, a*, b*) as garments come out in photographs: duller and darker than the same names on a paint chart.
_SHADES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((6, 0, 0), (14, 1, -1), (22, 1, -1)),
    "gray": ((36, 0, -1), (46, 0, -1), (56, 0, -1)),
    "white": ((70, 1, -1), (80, 1, -2), (92, 0, -2), (100, 0, 0)),
    "red": ((20, 18, 6), (30, 28, 12), (40, 45, 22), (45, 60, 40), (50, 38, 12)),
    "orange": ((55, 40, 50), (62, 30, 40), (68, 25, 60)),
    "yellow": ((60, 0, 35), (70, 2, 55), (85, -8, 70), (55, 2, 28)),
    "green": ((25, -14, 8), (40, -22, 12), (50, -35, 25), (60, -30, 40), (60, -16, 10), (40, -18, -2), (80, -30, 40)),
    "blue": ((22, 3, -16), (32, 4, -24), (40, 12, -45), (50, -6, -28), (65, -8, -22), (60, -16, -16), (38, 0, -12)),
    "purple": ((20, 12, -12), (32, 22, -20), (45, 28, -28), (60, 16, -16), (30, 18, -6)),
    "pink": ((60, 30, 2), (72, 20, 4), (55, 45, 0), (50, 40, -6)),
    "brown": ((26, 7, 10), (36, 10, 16), (46, 9, 16), (34, 16, 22)),
}
NAMES = tuple(_SHADES)
_POINTS = np.array([shade for shades in _SHADES.values() for shade in shades], dtype=float)
_OWNER = np.array([place for place, shades in enumerate(_SHADES.values()) for _ in shades])
_SCALE = np.array([0.7, 1.0, 1.0])


@dataclass(frozen=True)
class Colour:
    """The name of a region's colour.

    Attributes:
        name: one of `NAMES`.
        share: how much of the region has that name, from 0 to 1.
        second: the name that comes next, and its share.
    """

    name: str
    share: float
    second: tuple[str, float]


def to_lab(rgb: NDArray[np.uint8]) -> Array:
    """sRGB bytes [..., 3] -> CIELAB [..., 3] (L* from 0 to 100)."""
    linear = _LINEAR[rgb]
    xyz = linear @ (_TO_XYZ / _WHITE[:, None]).T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


_BYTES = np.arange(256) / 255
_LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)


def even_light(lab: Array) -> Array:
    """Bring the brightest parts of a picture [H, W, 3] to a usual brightness, and take half of a colour cast away."""
    bright = np.percentile(lab[..., 0], 95)
    gain = np.clip(78 / max(bright, 1.0), 0.9, 1.25)
    return lab * gain


def name_region(lab: Array, weight: Array) -> Colour | None:
    """Name the colour of pixels [N, 3] that belong to a region with `weight` [N]; None if the region is empty."""
    if weight.sum() < 3:
        return None
    distance = (((lab[:, None] - _POINTS) * _SCALE) ** 2).sum(-1)
    share = np.bincount(_OWNER[distance.argmin(1)], weight, len(NAMES)) / weight.sum()
    first, second = np.argsort(-share, kind="stable")[:2]
    return Colour(NAMES[first], float(share[first]), (NAMES[second], float(share[second])))
