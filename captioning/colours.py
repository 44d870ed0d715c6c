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
    "white": ((62, 3, 4), (70, 1, -1), (80, 1, -2), (92, 0, -2), (100, 0, 0)),
    "red": ((20, 18, 6), (30, 28, 12), (40, 45, 22), (45, 60, 40), (50, 38, 12), (50, 48, 10)),
    "orange": ((55, 40, 50), (62, 30, 40), (68, 25, 60)),
    "yellow": ((60, 0, 35), (70, 2, 55), (85, -8, 70), (55, 2, 28), (62, -14, 34), (52, -10, 24)),
    "green": (
        (24, -8, 4),
        (25, -14, 8),
        (40, -22, 12),
        (50, -35, 25),
        (60, -30, 40),
        (60, -16, 10),
        (40, -18, -2),
        (80, -30, 40),
    ),
    "blue": (
        (22, 3, -16),
        (32, 4, -24),
        (40, 12, -45),
        (50, -6, -28),
        (65, -8, -22),
        (60, -16, -16),
        (38, 0, -12),
        (46, -2, -9),
        (20, 0, -9),
    ),
    "purple": ((20, 12, -12), (32, 22, -20), (45, 28, -28), (60, 16, -16), (30, 18, -6)),
    "pink": ((60, 30, 2), (72, 20, 4), (56, 44, -8), (50, 40, -6)),
    "brown": ((26, 7, 10), (36, 10, 16), (46, 9, 16), (34, 16, 22)),
    "beige": ((76, 3, 19), (66, 4, 16)),
}
NAMES = tuple(_SHADES)
_OWNER = np.array([place for place, shades in enumerate(_SHADES.values()) for _ in shades])
_SCALE = np.array([0.7, 1.0, 1.0])  # light falls unevenly: a difference of lightness tells less than one of hue
_POINTS = np.array([shade for shades in _SHADES.values() for shade in shades]) * _SCALE
_POINTS_SQUARED = (_POINTS**2).sum(1)


@dataclass(frozen=True)
class Colour:
    """The name of a region's colour.

    Attributes:
        name: as people say it, the shade included where it has a name of its own ("dark blue").
        share: how much of the region has that name in any shade, from 0 to 1.
        basic: the name without the shade, one of `NAMES`.
    """

    name: str
    share: float
    basic: str


def to_lab(rgb: NDArray[np.uint8]) -> Array:
    """sRGB bytes [..., 3] -> CIELAB [..., 3] (L* from 0 to 100)."""
    linear = _LINEAR[rgb]
    xyz = linear @ (_TO_XYZ / _WHITE[:, None]).T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


_BYTES = np.arange(256) / 255
_LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)


def even_light(lab: Array) -> Array:
    """Bring the brightest parts of a picture [H, W, 3] to a usual brightness, as far as a camera may be off."""
    bright = np.percentile(lab[..., 0], 95)
    return lab * np.clip(78 / max(bright, 1.0), 0.9, 1.25)


def name_region(lab: Array, weight: Array) -> Colour | None:
    """Name the colour of pixels [N, 3] that belong to a region with `weight` [N]; None if the region is empty."""
    if weight.sum() < 3:
        return None
    owner = _OWNER[(_POINTS_SQUARED - 2 * (lab * _SCALE) @ _POINTS.T).argmin(1)]
    share = np.bincount(owner, weight, len(NAMES)) / weight.sum()
    first = int(share.argmax())
    own = owner == first
    return Colour(
        _shade(NAMES[first], np.average(lab[own], axis=0, weights=weight[own])), float(share[first]), NAMES[first]
    )


def _shade(name: str, mean: Array) -> str:
    """The name with its shade; of all colours, blue alone is commonly told apart into shades."""
    if name == "blue" and mean[0] > 62:
        return "light blue"
    # dull and dark is denim, which is called blue
    return "dark blue" if name == "blue" and mean[0] < 28 and mean[2] < -10 else name
