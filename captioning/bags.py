"""Bags: patches of one colour that end on all sides, unlike the clothes under them and the ground beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, label, uniform_filter

from captioning.colours import Colour, name_region
from captioning.silhouette import Body

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SCALE = np.array([0.7, 1.0, 1.0])  # of CIELAB: a fold's shadow is no other cloth
_REACHES = (11.0, 17.0)  # colours up to here are one patch: the second for bags that are lit unevenly
BACK, HIP = 0.38, 0.52  # heights where the back ends for a bag's middle, and where the hip ends
_FIRST, _LAST = 0.18, 0.72  # rows of the body where bags hang, as `Body.height` counts; hair is above, bare legs below
_SMALLEST = 30  # pixels of area
_THINNEST = 4  # pixels: straps, open jackets and the edges of sleeves are thinner
_TALLEST, _WIDEST = 23, 15  # pixels; the whole of a garment is larger
_FULLEST = 0.5  # share of its box that a patch fills at least: arms and stripes are oblique or bent
_ASIDE = 0.16  # of the body's height is the farthest from its middle that anything is carried
_ASIDE_BACK = 0.12  # the same on the back, where what is farther out is an arm or somebody else
_MOST_SKIN = 0.3
_RIM = 4  # columns at either side, in pixels, that show the ground
_OVER = 6  # rows above and below a patch in which the ground must not have its colour either

# How far a bag's colour is at least from those around it, in CIELAB after `_SCALE`.
_FROM_UPPER, _FROM_LOWER, _FROM_GROUND, _FROM_RING = 15.0, 5.5, 13.0, 12.5

_WITHIN_A_COLOUR = np.zeros((3, 3, 3), bool)  # neighbours in [colour, row, column]
_WITHIN_A_COLOUR[1] = [[False, True, False], [True, True, True], [False, True, False]]


@dataclass(frozen=True)
class Bag:
    """Something carried.

    Attributes:
        colour: of its whole area.
        height: of its middle, as `Body.height` counts: 0.3 is between the shoulders, 0.6 beside the hand.
    """

    colour: Colour | None
    height: float


@dataclass(frozen=True)
class _Patch:
    """A connected patch of one colour: the box around it, and which pixels of the box belong to it."""

    rows: slice
    columns: slice
    own: Mask


def find_bag(lab: Array, body: Body, skin: Array, upper: Array, lower: Array) -> Bag | None:
    """Find the clearest bag of a picture [H, W, 3] in CIELAB, if there is any.

    Args:
        lab: the picture.
        body: the person in it.
        skin: how much each pixel looks like skin [H, W].
        upper, lower: weight of each pixel in either garment [H, W].
    """
    scaled = lab * _SCALE
    height = body.height()
    garments = [_middle(scaled, weight) for weight in (upper, lower)]
    best, clearest = None, 1.0
    for patch in _patches(scaled, body, garments[0]):
        clear = _clearness(scaled, body, skin, garments, height, patch)
        if clear > clearest:
            best, clearest = patch, clear
    if best is None:
        return None
    pixels = lab[best.rows, best.columns][best.own]
    return Bag(name_region(pixels, np.ones(len(pixels))), float(height[(best.rows.start + best.rows.stop) // 2]))


def _middle(scaled: Array, weight: Array) -> Array | None:
    seen = weight > 0.3
    return np.median(scaled[seen], axis=0) if seen.sum() > 3 else None


def _patches(scaled: Array, body: Body, upper: Array | None) -> Iterator[_Patch]:
    """Patches of a bag's size, none of which touches the top or the bottom of where bags hang."""
    height = body.height()
    rows = np.flatnonzero((height >= _FIRST) & (height <= _LAST))
    first, last = int(rows[0]), int(rows[-1]) + 1
    smooth = (0.5 * scaled + 0.5 * uniform_filter(scaled, (3, 3, 1), mode="nearest"))[first:last]
    colours = _colours(scaled, body.words)
    if upper is not None:  # most of a crop's colours are of the garment and of the ground
        colours = colours[np.linalg.norm(colours - upper, axis=1) > _FROM_UPPER - 4]
    if not len(colours):
        return
    squares = (smooth**2).sum(-1) + (colours**2).sum(1)[:, None, None] - 2 * np.tensordot(colours, smooth, (1, 2))
    for reach in _REACHES:
        labels, _ = label(squares < reach**2, _WITHIN_A_COLOUR)
        areas = np.bincount(labels.ravel())
        boxes = find_objects(labels)
        for number in np.flatnonzero(areas[1:] >= _SMALLEST) + 1:
            box = boxes[number - 1]
            tall, wide = (side.stop - side.start for side in box[1:])
            if areas[number] < _FULLEST * tall * wide or min(tall, wide) < _THINNEST:
                continue
            if tall > _TALLEST or wide > _WIDEST:
                continue
            if box[1].start > 0 and box[1].stop < last - first:
                yield _Patch(slice(first + box[1].start, first + box[1].stop), box[2], labels[box][0] == number)


def _colours(scaled: Array, words: NDArray[np.int64]) -> Array:
    """Mean colour [K, 3] of each of the picture's colours that is not but a speck."""
    counts = np.bincount(words.ravel())
    sums = np.stack([np.bincount(words.ravel(), scaled[..., axis].ravel()) for axis in range(3)], 1)
    return sums[counts >= 8] / counts[counts >= 8, None]


def _clearness(
    scaled: Array, body: Body, skin: Array, garments: Sequence[Array | None], height: Array, patch: _Patch
) -> float:
    """How far a patch's colour is from all around it: from 1 up it is a bag."""
    row = (patch.rows.start + patch.rows.stop) // 2
    aside = abs((patch.columns.start + patch.columns.stop) / 2 - body.axis[row])
    box = patch.rows, patch.columns
    reach = _ASIDE_BACK if height[row] < BACK else _ASIDE
    if aside > reach * (body.bottom - body.top) or skin[box][patch.own].mean() > _MOST_SKIN:
        return 0.0
    colour = scaled[box][patch.own].mean(0)
    upper, lower = garments
    clear = [
        _far(_ground(scaled, patch), colour, 0.05) / _FROM_GROUND,
        _far(_ring(scaled, patch), colour, 0.2) / _FROM_RING,
    ]
    if upper is not None:
        clear.append(float(np.linalg.norm(colour - upper)) / _FROM_UPPER)
    if lower is not None and height[row] > BACK:  # a backpack may well have the colour of the trousers
        clear.append(float(np.linalg.norm(colour - lower)) / _FROM_LOWER)
    return min(clear)


def _far(pixels: Array, colour: Array, share: float) -> float:
    """How far pixels [N, 3] are from a colour [3], but for the nearest `share` of them."""
    away = np.sort(((pixels - colour) ** 2).sum(1))
    return float(np.sqrt(away[int(share * len(away))]))


def _ground(scaled: Array, patch: _Patch) -> Array:
    """Pixels [N, 3] of the rim beside a patch, on the sides that it does not reach."""
    rows = scaled[max(patch.rows.start - _OVER, 0) : patch.rows.stop + _OVER]
    left, right = rows[:, :_RIM].reshape(-1, 3), rows[:, -_RIM:].reshape(-1, 3)
    if patch.columns.start <= _RIM:
        return right
    return left if patch.columns.stop >= scaled.shape[1] - _RIM else np.concatenate([left, right])


def _ring(scaled: Array, patch: _Patch) -> Array:
    """Pixels [N, 3] around a patch, two or three steps from it."""
    rows, columns = patch.rows, patch.columns
    above, before = min(3, rows.start), min(3, columns.start)
    near = scaled[rows.start - above : rows.stop + 3, columns.start - before : columns.stop + 3]
    own = np.zeros(near.shape[:2], bool)
    own[above : above + patch.own.shape[0], before : before + patch.own.shape[1]] = patch.own
    beside = binary_dilation(own)
    return near[binary_dilation(beside, iterations=2) & ~beside]
