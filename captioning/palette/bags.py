"""Find bags: patches of one color that end on all sides, unlike the clothes below them and the background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, label, uniform_filter

from captioning.palette.body import LOWER, UPPER, Crop
from captioning.palette.colors import LAB_SCALE, Array, Color, name_color

Mask = NDArray[np.bool_]

_BACK, _HIP = 0.38, 0.52  # relative heights down to which the center of a bag is on the back, and at the hip
_TOP, _BOTTOM = 0.18, 0.72  # relative heights between which bags hang: below the hair, above bare legs
_MERGE_DISTANCES = (11.0, 17.0)  # pixels this close to a color join its patch; the second is for unevenly lit bags
_MIN_AREA = 30  # pixels
_MIN_SIDE = 4  # pixels: straps, open jackets and the edges of sleeves are thinner
_MAX_HEIGHT, _MAX_WIDTH = 23, 15  # pixels: a whole garment is larger
_MIN_FILL = 0.5  # share of its box that a patch fills: arms and stripes are oblique or bent
_MAX_OFFSET = 0.16  # distance of a bag from the body's axis, as a share of the body's height
_MAX_OFFSET_BACK = 0.12  # the same on the back: what is farther out is an arm or another person
_MAX_SKIN = 0.3
_RIM = 4  # columns at either side, in pixels, that show the background
_MARGIN = 6  # rows above and below a patch whose background must differ in color as well

# Minimum distance of a bag's color from its surroundings, in scaled CIELAB.
_FROM_UPPER, _FROM_LOWER, _FROM_BACKGROUND, _FROM_RING = 15.0, 5.5, 13.0, 12.5

_NEIGHBORS = np.zeros((3, 3, 3), bool)  # in [color, row, column]: patches of different colors stay apart
_NEIGHBORS[1] = [[False, True, False], [True, True, True], [False, True, False]]


@dataclass(frozen=True)
class _Patch:
    """A connected patch of one color: its bounding box, and which pixels of the box belong to it."""

    rows: slice
    columns: slice
    own: Mask

    @property
    def row(self) -> int:
        return (self.rows.start + self.rows.stop) // 2

    def pixels(self, image: Array) -> Array:
        """Return the patch's pixels of an image [H, W, ...]."""
        return image[self.rows, self.columns][self.own]


def find_bag(crop: Crop) -> tuple[str, Color | None] | None:
    """Return noun and color of the most distinct bag in a crop, if there is any; the noun is by where it hangs."""
    scaled, height = crop.lab * LAB_SCALE, crop.relative_height()
    garments = [_median_color(scaled, crop.cloth_weights(part)) for part in (UPPER, LOWER)]
    best, highest = None, 1.0
    for patch in _patches(scaled, crop, garments[0]):
        on_back = bool(height[patch.row] < _BACK)
        if not _is_carried(patch, crop, on_back=on_back) or patch.pixels(crop.skin).mean() > _MAX_SKIN:
            continue
        score = _distinctness(scaled, patch, garments, on_back=on_back)
        if score > highest:
            best, highest = patch, score
    if best is None:
        return None
    pixels = best.pixels(crop.lab)
    noun = "backpack" if height[best.row] < _BACK else "shoulder bag" if height[best.row] < _HIP else "handbag"
    return noun, name_color(pixels, np.ones(len(pixels)))


def _median_color(scaled: Array, weight: Array) -> Array | None:
    visible = weight > 0.3
    return np.median(scaled[visible], axis=0) if visible.sum() > 3 else None


def _patches(scaled: Array, crop: Crop, upper: Array | None) -> Iterator[_Patch]:
    """Yield patches of a bag's size that end within the rows where bags hang."""
    height = crop.relative_height()
    rows = np.flatnonzero((height >= _TOP) & (height <= _BOTTOM))
    first, last = int(rows[0]), int(rows[-1]) + 1
    smooth = (0.5 * scaled + 0.5 * uniform_filter(scaled, (3, 3, 1), mode="nearest"))[first:last]
    colors = _cluster_means(scaled, crop.clusters)
    if upper is not None:  # saves time: most colors of a crop are those of the garment and of the background
        colors = colors[np.linalg.norm(colors - upper, axis=1) > _FROM_UPPER - 4]
    if not len(colors):
        return
    squares = (smooth**2).sum(-1) + (colors**2).sum(1)[:, None, None] - 2 * np.tensordot(colors, smooth, (1, 2))
    for distance in _MERGE_DISTANCES:
        labels, _ = label(squares < distance**2, _NEIGHBORS)
        areas = np.bincount(labels.ravel())
        boxes = find_objects(labels)
        for number in np.flatnonzero(areas[1:] >= _MIN_AREA) + 1:
            box = boxes[number - 1]
            tall, wide = (side.stop - side.start for side in box[1:])
            has_size = min(tall, wide) >= _MIN_SIDE and tall <= _MAX_HEIGHT and wide <= _MAX_WIDTH
            ends = box[1].start > 0 and box[1].stop < last - first
            if has_size and ends and areas[number] >= _MIN_FILL * tall * wide:
                yield _Patch(slice(first + box[1].start, first + box[1].stop), box[2], labels[box][0] == number)


def _cluster_means(scaled: Array, clusters: NDArray[np.int64]) -> Array:
    """Return the mean color of each color cluster with at least eight pixels [K, 3]."""
    counts = np.bincount(clusters.ravel())
    sums = np.stack([np.bincount(clusters.ravel(), scaled[..., channel].ravel()) for channel in range(3)], 1)
    return sums[counts >= 8] / counts[counts >= 8, None]


def _is_carried(patch: _Patch, crop: Crop, *, on_back: bool) -> bool:
    """Return whether a patch is close enough to the body's axis."""
    offset = abs((patch.columns.start + patch.columns.stop) / 2 - crop.axis[patch.row])
    return bool(offset <= (_MAX_OFFSET_BACK if on_back else _MAX_OFFSET) * (crop.bottom - crop.top))


def _distinctness(scaled: Array, patch: _Patch, garments: Sequence[Array | None], *, on_back: bool) -> float:
    """Return how far a patch's color is from all around it, relative to the minimum for a bag."""
    color = patch.pixels(scaled).mean(0)
    upper, lower = garments
    ratios = [
        _distance(_background(scaled, patch), color, 0.05) / _FROM_BACKGROUND,
        _distance(_ring(scaled, patch), color, 0.2) / _FROM_RING,
    ]
    if upper is not None:
        ratios.append(float(np.linalg.norm(color - upper)) / _FROM_UPPER)
    if lower is not None and not on_back:  # a backpack may well have the color of the trousers
        ratios.append(float(np.linalg.norm(color - lower)) / _FROM_LOWER)
    return min(ratios)


def _distance(pixels: Array, color: Array, share: float) -> float:
    """Return the distance of pixels [N, 3] to a color [3], ignoring the nearest `share` of them."""
    squares = np.sort(((pixels - color) ** 2).sum(1))
    return float(np.sqrt(squares[int(share * len(squares))]))


def _background(scaled: Array, patch: _Patch) -> Array:
    """Return the pixels [N, 3] at the rims of a patch's rows, except on a side that the patch reaches."""
    rows = scaled[max(patch.rows.start - _MARGIN, 0) : patch.rows.stop + _MARGIN]
    left, right = rows[:, :_RIM].reshape(-1, 3), rows[:, -_RIM:].reshape(-1, 3)
    if patch.columns.start <= _RIM:
        return right
    return left if patch.columns.stop >= scaled.shape[1] - _RIM else np.concatenate([left, right])


def _ring(scaled: Array, patch: _Patch) -> Array:
    """Return the pixels [N, 3] around a patch, two or three steps from it."""
    top, left = max(patch.rows.start - 3, 0), max(patch.columns.start - 3, 0)
    near = scaled[top : patch.rows.stop + 3, left : patch.columns.stop + 3]
    own = np.zeros(near.shape[:2], bool)
    height, width = patch.own.shape
    own[patch.rows.start - top :, patch.columns.start - left :][:height, :width] = patch.own
    adjacent = binary_dilation(own)
    return near[binary_dilation(adjacent, iterations=2) & ~adjacent]
