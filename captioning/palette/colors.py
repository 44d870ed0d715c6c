"""Name colors as people do: the nearest of a few reference shades in CIELAB."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Ours rather than skimage.color.rgb2lab: it differs by 0.02 at most, which changes captions, and takes twice as long.
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])  # D65
_BYTES = np.arange(256) / 255
_LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)

# (L*, a*, b*) of garments in photographs: duller and darker than the same names on a color chart.
_SHADES: dict[str, list[tuple[int, int, int]]] = {
    "black": [(6, 0, 0), (14, 1, -1), (22, 1, -1)],
    "gray": [(36, 0, -1), (46, 0, -1), (56, 0, -1)],
    "white": [(62, 3, 4), (70, 1, -1), (80, 1, -2), (92, 0, -2), (100, 0, 0)],
    "red": [(20, 18, 6), (30, 28, 12), (40, 45, 22), (45, 60, 40), (50, 38, 12), (50, 48, 10)],
    "orange": [(55, 40, 50), (62, 30, 40), (68, 25, 60)],
    "yellow": [(60, 0, 35), (70, 2, 55), (85, -8, 70), (55, 2, 28), (62, -14, 34), (52, -10, 24)],
    "green": [
        *[(24, -8, 4), (25, -14, 8), (40, -22, 12), (50, -35, 25)],
        *[(60, -30, 40), (60, -16, 10), (40, -18, -2), (80, -30, 40)],
    ],
    "blue": [
        *[(22, 3, -16), (32, 4, -24), (40, 12, -45), (50, -6, -28), (65, -8, -22)],
        *[(60, -16, -16), (38, 0, -12), (46, -2, -9), (20, 0, -9)],
    ],
    "purple": [(20, 12, -12), (32, 22, -20), (45, 28, -28), (60, 16, -16), (30, 18, -6)],
    "pink": [(60, 30, 2), (72, 20, 4), (56, 44, -8), (50, 40, -6)],
    "brown": [(26, 7, 10), (36, 10, 16), (46, 9, 16), (34, 16, 22)],
    "beige": [(76, 3, 19), (66, 4, 16)],
}
COLOR_NAMES = tuple(_SHADES)
LAB_SCALE = np.array([0.7, 1.0, 1.0])  # light is uneven: a difference in lightness means less than one in hue
_SHADE_POINTS = np.array([shade for shades in _SHADES.values() for shade in shades]) * LAB_SCALE
_SHADE_NAMES = np.array([index for index, shades in enumerate(_SHADES.values()) for _ in shades])


@dataclass(frozen=True)
class Color:
    """The color of a region."""

    name: str  # with the shade, where that has a common name ("dark blue")
    share: float  # share of the region that has this color in any shade, from 0 to 1
    basic: str  # the name without the shade, one of `COLOR_NAMES`


def rgb_to_lab(rgb: NDArray[np.uint8]) -> Array:
    """Convert sRGB bytes [..., 3] to CIELAB [..., 3] (L* from 0 to 100)."""
    xyz = _LINEAR[rgb] @ (_RGB_TO_XYZ / _WHITE[:, None]).T
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def normalize_brightness(lab: Array) -> Array:
    """Scale a picture [H, W, 3] so that its brightest parts have a typical brightness, within an exposure error."""
    bright = np.percentile(lab[..., 0], 95)
    return lab * np.clip(78 / max(bright, 1.0), 0.9, 1.25)


def name_color(lab: Array, weight: Array) -> Color | None:
    """Name the color of a region's pixels [N, 3], each with a `weight` [N]; None if the region is empty."""
    if weight.sum() < 3:
        return None
    distances = (_SHADE_POINTS**2).sum(1) - 2 * (lab * LAB_SCALE) @ _SHADE_POINTS.T
    names = _SHADE_NAMES[distances.argmin(1)]
    shares = np.bincount(names, weight, len(COLOR_NAMES)) / weight.sum()
    most = int(shares.argmax())
    own = names == most
    mean = np.average(lab[own], axis=0, weights=weight[own])
    return Color(_with_shade(COLOR_NAMES[most], mean), float(shares[most]), COLOR_NAMES[most])


def _with_shade(name: str, mean: Array) -> str:
    """Add the shade to the name; only shades of blue are commonly distinguished."""
    if name == "blue" and mean[0] > 62:
        return "light blue"
    # dull dark blue is denim, which is called blue
    return "dark blue" if name == "blue" and mean[0] < 28 and mean[2] < -10 else name
