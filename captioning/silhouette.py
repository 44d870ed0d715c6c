"""Where the person stands in a crop: colours of the middle told from those of the rim, and the body cut into parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

Array = NDArray[np.float64]

WIDTH, HEIGHT = 48, 112  # the working size; a person is then some 20 pixels wide
_PALETTE = 14  # colours that a crop is reduced to: about two for each part of the person and a few for the background
_ROUNDS = 4

# Half of a walking person's width, as a share of the crop's width, at eleven heights from the top of a usual crop.
_OUTLINE = (0.06, 0.15, 0.22, 0.27, 0.27, 0.26, 0.23, 0.21, 0.20, 0.20, 0.17)


@dataclass(frozen=True)
class Body:
    """A person found in a crop of H x W pixels.

    Attributes:
        mask: probability of each pixel to be the person [H, W].
        axis: column of the body's middle for each row [H], in pixels.
        top, waist, bottom: rows of the crown, of the waist and of the soles, in pixels.
        words: which of the few colours that the crop is reduced to each pixel has [H, W].
    """

    mask: Array
    axis: Array
    top: float
    waist: float
    bottom: float
    words: NDArray[np.int64]

    def height(self) -> Array:
        """How far down the body each row lies [H]: 0 at the crown, 0.5 at the waist, 1 at the soles."""
        rows = np.arange(len(self.axis), dtype=float)
        return np.interp(rows, [self.top, self.waist, self.bottom], [0.0, 0.5, 1.0], left=-1.0, right=2.0)


def find_body(lab: Array) -> Body:
    """Find the one person that a crop [H, W, 3] in CIELAB was cut around."""
    height, width = lab.shape[:2]
    prior = _prior(height, width)
    words = _quantise(lab)
    mask = prior
    for _ in range(_ROUNDS):
        inside = np.bincount(words.ravel(), mask.ravel(), _PALETTE) + 2.0
        outside = np.bincount(words.ravel(), (1 - mask).ravel(), _PALETTE) + 2.0
        evidence = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
        odds = gaussian_filter(evidence[words], 0.8) + np.log(prior / (1 - prior))
        mask = 1 / (1 + np.exp(-np.clip(1.2 * odds, -12, 12)))
    axis = _axis(mask, width)
    top, bottom = _ends(mask, axis)
    return Body(mask, axis, top, _waist(lab, mask, axis, top, bottom), bottom, words)


def _prior(height: int, width: int) -> Array:
    rows = np.linspace(0, 1, height)[:, None]
    half = np.interp(rows, np.linspace(0.0, 1.0, len(_OUTLINE)), _OUTLINE)
    aside = np.abs(np.linspace(-0.5, 0.5, width))[None]
    inside = 1 / (1 + np.exp((aside - half) / 0.055))
    return np.clip(inside, 0.02, 0.93)


def _quantise(lab: Array) -> NDArray[np.int64]:
    """Index of the nearest of `_PALETTE` colours for each pixel [H, W]: k-means, begun at the farthest colours."""
    pixels = lab.reshape(-1, 3) * (0.8, 1.4, 1.4)  # a hue tells person from pavement better than a shadow does
    sample = pixels[::3]
    centres = np.empty((_PALETTE, 3))
    centres[0] = sample.mean(0)
    far = np.full(len(sample), np.inf)
    for k in range(1, _PALETTE):
        far = np.minimum(far, ((sample - centres[k - 1]) ** 2).sum(1))
        centres[k] = sample[far.argmax()]
    for _ in range(6):
        nearest = _nearest(sample, centres)
        counts = np.bincount(nearest, minlength=_PALETTE)
        sums = np.stack([np.bincount(nearest, sample[:, axis], _PALETTE) for axis in range(3)], 1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return _nearest(pixels, centres).reshape(lab.shape[:2])


def _nearest(points: Array, centres: Array) -> NDArray[np.int64]:
    return ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)


def _axis(mask: Array, width: int) -> Array:
    columns = np.arange(width, dtype=float)
    weight = mask**2 + 1e-3  # the faint rest pulls towards the middle of the crop where no person was found
    weight = gaussian_filter1d(weight, 4, axis=0)
    return gaussian_filter1d((weight * columns).sum(1) / weight.sum(1), 4)


def _ends(mask: Array, axis: Array) -> tuple[float, float]:
    height, width = mask.shape
    near = np.abs(np.arange(width)[None] - axis[:, None]) < 0.16 * width
    filled = gaussian_filter1d((mask * near).sum(1) / near.sum(1), 1.0)
    rows = np.flatnonzero(filled > 0.35)
    if not len(rows):
        return 0.04 * height, 0.96 * height
    # a crop is cut closely: what was found may be short of the head or the feet, never by much
    top = min(max(float(rows[0]), 0.0), 0.14 * height)
    return top, max(float(rows[-1]), 0.86 * height)


def _waist(lab: Array, mask: Array, axis: Array, top: float, bottom: float) -> float:
    """The row at which the colours above and below differ most, near the middle of the body."""
    width = mask.shape[1]
    near = mask * (np.abs(np.arange(width)[None] - axis[:, None]) < 0.13 * width)
    weight = near.sum(1) + 1e-6
    total = (lab * near[..., None]).sum(1)
    span = bottom - top
    best, waist = -np.inf, top + 0.5 * span
    for row in range(round(top + 0.4 * span), round(top + 0.62 * span)):
        reach = round(0.13 * span)
        above = total[row - reach : row].sum(0) / weight[row - reach : row].sum()
        below = total[row : row + reach].sum(0) / weight[row : row + reach].sum()
        score = float(np.linalg.norm(above - below)) - 60 * abs((row - top) / span - 0.5)
        if score > best:
            best, waist = score, float(row)
    return waist
