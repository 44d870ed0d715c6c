"""Locate the person in a crop, and measure the colors and the bare skin of the parts of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from captioning.palette.colors import LAB_SCALE, Array, Color, name_color

WIDTH, HEIGHT = 48, 112  # working size of a crop in pixels; a person is then about 20 pixels wide
_CLUSTERS = 14  # colors that a crop is reduced to: about two for each part of the person and a few for the background
_MASK_ITERATIONS = 4

# Half-width of a walking person, as a share of the crop's width, at eleven heights from the top of a typical crop.
_OUTLINE = (0.06, 0.15, 0.22, 0.27, 0.27, 0.26, 0.23, 0.21, 0.20, 0.20, 0.17)

_SKIN_HUE = 48.0  # degrees in the a*b* plane: of all properties of skin, the hue varies least
_SKIN_DISCOUNT = 0.8  # weight that skin-like pixels of a garment lose: not all, since beige and brown cloth looks alike
_RIM = 7  # columns at either side, in pixels, that show the background rather than a foot or a head
_FEET = 0.9  # first row of the feet, as a share of the crop's rows: a crop ends at the soles
_SHOE_AREA = 30.0  # pixels of two shoes
_HEAD = 0.18  # last row of the head, as a share of the crop's rows
_CROWN_AREA = 40.0  # pixels of the hair above a face


@dataclass(frozen=True)
class BodyPart:
    """Where a part of the body is."""

    first: float  # relative height of its first row: 0 at the crown, 0.5 at the waist, 1 at the soles
    last: float  # the same of its last row
    reach: float  # half-width, as a share of the person's height


HAIR = BodyPart(0.0, 0.075, 0.055)
FACE = BodyPart(0.04, 0.16, 0.06)
UPPER = BodyPart(0.20, 0.44, 0.12)
_ARMS = BodyPart(0.24, 0.47, 0.22)  # without the hands, which no sleeve covers
LOWER = BodyPart(0.52, 0.64, 0.09)
_HEM = BodyPart(0.62, 0.68, 0.03)
SHINS = BodyPart(0.74, 0.90, 0.11)


@dataclass(frozen=True)
class Crop:
    """A crop of H x W pixels, and the person located in it."""

    lab: Array  # the picture in CIELAB [H, W, 3]
    skin: Array  # how much each pixel looks like skin [H, W], from 0 to 1
    mask: Array  # probability that each pixel belongs to the person [H, W]
    axis: Array  # column of the body's middle for each row [H]
    top: float  # row of the crown
    waist: float
    bottom: float  # row of the soles
    clusters: NDArray[np.int64]  # index of each pixel's color cluster [H, W]

    @classmethod
    def of(cls, lab: Array) -> Crop:
        """Locate the one person that a picture [H, W, 3] in CIELAB was cut around."""
        clusters = _cluster_colors(lab)
        mask = _person_mask(clusters)
        axis = _axis(mask)
        top, bottom = _ends(mask, axis)
        return cls(lab, _skin_likelihood(lab), mask, axis, top, _waist(lab, mask, axis, top, bottom), bottom, clusters)

    def relative_height(self) -> Array:
        """Return each row's position on the body [H]: 0 at the crown, 0.5 at the waist, 1 at the soles."""
        rows = np.arange(len(self.axis), dtype=float)
        return np.interp(rows, [self.top, self.waist, self.bottom], [0.0, 0.5, 1.0], left=-1.0, right=2.0)

    def box(self, part: BodyPart) -> NDArray[np.bool_]:
        """Return which pixels [H, W] lie in the rectangle around a part."""
        height = self.relative_height()[:, None]
        offset = np.abs(np.arange(self.mask.shape[1])[None] - self.axis[:, None]) / (self.bottom - self.top)
        return (height >= part.first) & (height <= part.last) & (offset <= part.reach)

    def weights(self, part: BodyPart) -> Array:
        """Return how much each pixel [H, W] belongs to a part."""
        return self.mask**2 * self.box(part)

    def cloth_weights(self, part: BodyPart) -> Array:
        """Return how much each pixel [H, W] belongs to a part of the body and does not look like skin."""
        return self.weights(part) * (1 - _SKIN_DISCOUNT * self.skin)

    def color(self, part: BodyPart) -> Color | None:
        """Name the color of a part of the body; None where it is not visible."""
        weight = self.cloth_weights(part)
        visible = weight > 0.05
        return name_color(self.lab[visible], weight[visible])

    def skin_share(self, part: BodyPart) -> float:
        """Return the share of a part of the body that looks like skin."""
        return float(_weighted_mean(self.skin, self.weights(part)))

    def bare_arms(self) -> float:
        """Return the skin-like area next to and in front of the trunk, in thousandths of the squared body height."""
        area = float((self.skin * np.sqrt(self.weights(_ARMS))).sum())
        return 1000 * area / (self.bottom - self.top) ** 2

    def leg_contrast(self) -> float:
        """Return the color difference between thighs and shins, in scaled CIELAB."""
        thighs, shins = (_weighted_mean(self.lab, self.weights(part)) for part in (LOWER, SHINS))
        return float(np.linalg.norm((shins - thighs) * LAB_SCALE))

    def hem_share(self) -> float:
        """Return the share of the lower thighs' middle, where shorts still cover them, in the color of the thighs."""
        visible = self.cloth_weights(LOWER) > 0.3
        if not visible.any():
            return 0.0
        median = np.median(self.lab[visible], axis=0)
        distance = np.linalg.norm((self.lab - median) * (0.6, 1.0, 1.0), axis=-1)
        middle = self.box(_HEM)
        return float((_ramp(-distance, -22, -12) * self.mask * middle).sum() / max(middle.sum(), 1))

    def shoe_color(self) -> Color | None:
        """Name the color of the lowest pixels that differ from the background and are not skin; None if few do."""
        rows = slice(round(_FEET * len(self.lab)), None)
        weight = self._contrast_weights(rows, 12, 18, reach=0.36) * (1 - self.skin[rows])
        below = weight.sum(1)[::-1].cumsum()[::-1]
        weight = weight * (below <= _SHOE_AREA)[:, None]  # higher rows show the hem of the trousers
        return _visible_color(self.lab[rows], weight, 0.2 * _SHOE_AREA)

    def crown_color(self) -> Color | None:
        """Name the color of the topmost pixels that differ from the background; None if few do.

        It is the color of the hair, also where the body was located too low.
        """
        rows = slice(round(_HEAD * len(self.lab)))
        weight = self._contrast_weights(rows, 13, 19, reach=0.125) * (1 - _SKIN_DISCOUNT * self.skin[rows])
        above = weight.sum(1).cumsum()
        weight = weight * (above <= _CROWN_AREA)[:, None]  # lower rows show the face or the collar
        return _visible_color(self.lab[rows], weight, 0.4 * _CROWN_AREA)

    def _contrast_weights(self, rows: slice, low: float, high: float, reach: float) -> Array:
        """Return how much each pixel of some rows [R, W] differs from the background and belongs to the person.

        Args:
            rows: which rows.
            low, high: distances from the background, in scaled CIELAB, that give 0 and 1.
            reach: half-width of the columns around the crop's middle that count, as a share of its width.
        """
        width = self.lab.shape[1]
        near_middle = np.abs(np.arange(width) - width / 2) < reach * width
        contrast = _ramp(_distance_from_background(self.lab[rows]), low, high)
        return contrast * (0.3 + 0.7 * self.mask[rows]) * near_middle


def _skin_likelihood(lab: Array) -> Array:
    """Return how much each pixel of a picture [H, W, 3] looks like skin [H, W], from 0 to 1."""
    lightness, red, yellow = lab[..., 0], lab[..., 1], lab[..., 2]
    chroma = np.hypot(red, yellow)
    hue_difference = np.abs(np.degrees(np.arctan2(yellow, red)) - _SKIN_HUE)
    neither_dark_nor_gray = _ramp(lightness, 20, 30) * _ramp(chroma, 6, 10)
    return neither_dark_nor_gray * _ramp(-chroma, -45, -36) * _ramp(-hue_difference, -32, -22)


def _person_mask(clusters: NDArray[np.int64]) -> Array:
    """Return the probability of each pixel [H, W] to show the person: colors of the middle, near the middle."""
    height, width = clusters.shape
    rows = np.linspace(0, 1, height)[:, None]
    half_width = np.interp(rows, np.linspace(0.0, 1.0, len(_OUTLINE)), _OUTLINE)
    offset = np.abs(np.linspace(-0.5, 0.5, width))[None]
    mask = prior = np.clip(1 / (1 + np.exp((offset - half_width) / 0.055)), 0.02, 0.93)
    for _ in range(_MASK_ITERATIONS):
        inside = np.bincount(clusters.ravel(), mask.ravel(), _CLUSTERS) + 2.0
        outside = np.bincount(clusters.ravel(), (1 - mask).ravel(), _CLUSTERS) + 2.0
        evidence = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
        log_odds = gaussian_filter(evidence[clusters], 0.8) + np.log(prior / (1 - prior))
        mask = 1 / (1 + np.exp(-np.clip(1.2 * log_odds, -12, 12)))
    return mask


def _cluster_colors(lab: Array) -> NDArray[np.int64]:
    """Return each pixel's cluster [H, W]: k-means, started from the colors farthest apart."""
    pixels = lab.reshape(-1, 3) * (0.8, 1.4, 1.4)  # hue separates a person from pavement better than lightness does
    sample = pixels[::3]
    centers = np.empty((_CLUSTERS, 3))
    centers[0] = sample.mean(0)
    distances = np.full(len(sample), np.inf)
    for k in range(1, _CLUSTERS):
        distances = np.minimum(distances, ((sample - centers[k - 1]) ** 2).sum(1))
        centers[k] = sample[distances.argmax()]
    for _ in range(6):
        nearest = _nearest(sample, centers)
        counts = np.bincount(nearest, minlength=_CLUSTERS)
        sums = np.stack([np.bincount(nearest, sample[:, channel], _CLUSTERS) for channel in range(3)], 1)
        centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers)
    return _nearest(pixels, centers).reshape(lab.shape[:2])


def _nearest(points: Array, centers: Array) -> NDArray[np.int64]:
    return ((centers**2).sum(1) - 2 * points @ centers.T).argmin(1)


def _axis(mask: Array) -> Array:
    """Return the column of the body's middle for each row [H]."""
    columns = np.arange(mask.shape[1], dtype=float)
    weight = mask**2 + 1e-3  # the constant draws the axis to the middle of the crop in rows without a person
    weight = gaussian_filter1d(weight, 4, axis=0)
    return gaussian_filter1d((weight * columns).sum(1) / weight.sum(1), 4)


def _ends(mask: Array, axis: Array) -> tuple[float, float]:
    """Return the rows of the crown and of the soles."""
    height, width = mask.shape
    near = np.abs(np.arange(width)[None] - axis[:, None]) < 0.16 * width
    filled = gaussian_filter1d((mask * near).sum(1) / near.sum(1), 1.0)
    rows = np.flatnonzero(filled > 0.35)
    if not len(rows):
        return 0.04 * height, 0.96 * height
    # a crop is cut tightly: the mask may miss the head or the feet, but never by much
    return min(max(float(rows[0]), 0.0), 0.14 * height), max(float(rows[-1]), 0.86 * height)


def _waist(lab: Array, mask: Array, axis: Array, top: float, bottom: float) -> float:
    """Return the row near the body's middle at which the colors above and below differ most."""
    width = mask.shape[1]
    near = mask * (np.abs(np.arange(width)[None] - axis[:, None]) < 0.13 * width)
    weight = near.sum(1) + 1e-6
    total = (lab * near[..., None]).sum(1)
    height = bottom - top
    reach = round(0.13 * height)
    best, waist = -np.inf, top + 0.5 * height
    for row in range(round(top + 0.4 * height), round(top + 0.62 * height)):
        above = total[row - reach : row].sum(0) / weight[row - reach : row].sum()
        below = total[row : row + reach].sum(0) / weight[row : row + reach].sum()
        score = float(np.linalg.norm(above - below)) - 60 * abs((row - top) / height - 0.5)
        if score > best:
            best, waist = score, float(row)
    return waist


def _visible_color(lab: Array, weight: Array, min_area: float) -> Color | None:
    """Name the color of the pixels that have some weight; None if they weigh less than `min_area` in all."""
    visible = weight > 0.1
    return name_color(lab[visible], weight[visible]) if weight[visible].sum() >= min_area else None


def _distance_from_background(rows: Array) -> Array:
    """Return how far each pixel of some rows [R, W, 3] is from the background at either side [R, W], in scaled CIELAB.

    The distance is the mean over the three nearest background pixels.
    """
    rim = np.concatenate([rows[:, :_RIM].reshape(-1, 3), rows[:, -_RIM:].reshape(-1, 3)])[::3]
    pixels, background = rows * LAB_SCALE, rim * LAB_SCALE
    squares = (pixels**2).sum(-1)[..., None] + (background**2).sum(1) - 2 * pixels @ background.T
    return np.sqrt(np.maximum(np.partition(squares, 2, -1)[..., :3], 0)).mean(-1)


def _ramp(value: Array, low: float, high: float) -> Array:
    """Return 0 below `low`, 1 above `high`, and interpolate in between."""
    return np.clip((value - low) / (high - low), 0, 1)


def _weighted_mean(values: Array, weight: Array) -> Array:
    """Return the weighted mean over the pixels of `values` [H, W] or [H, W, 3]."""
    return np.tensordot(weight, values, 2) / max(weight.sum(), 1e-6)
