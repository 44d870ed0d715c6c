"""Name colors as people do: the nearest of a few reference shades in CIELAB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.files import read_tables

Array = NDArray[np.float64]

# Ours rather than skimage.color.rgb2lab: it differs by 0.02 at most, which changes captions, and takes twice as long.
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])  # D65
_BYTES = np.arange(256) / 255
_LINEAR = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)

_SHADES: dict[str, list[list[int]]] = read_tables(Path(__file__).with_suffix(".yaml"))
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
