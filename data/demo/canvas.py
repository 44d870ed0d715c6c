"""A picture that is painted part by part, each part rounded by light, and a map of which part is seen where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

OVERSAMPLING = 3  # painted pixels a side for one pixel of the finished picture
PARTS = ("none", "skin", "hair", "upper", "lower", "shoes", "bag", "hat", "strap", "arm", "leg", "under", "face")


@dataclass
class Shape:
    """What is filled at once: polygons [N, 2] and discs (x, y, radius), in painted pixels."""

    polygons: list[Points] = field(default_factory=list)
    discs: list[tuple[float, float, float]] = field(default_factory=list)

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all that it holds."""
        corners = [polygon for polygon in self.polygons if len(polygon)]
        corners += [np.array([[x - r, y - r], [x + r, y + r]]) for x, y, r in self.discs]
        every = np.concatenate(corners)
        (left, top), (right, bottom) = every.min(0), every.max(0)
        return float(left), float(top), float(right), float(bottom)


class Canvas:
    """The picture [H, W, 3] in 0 to 255, and the part seen at every pixel [H, W] as a place in `PARTS`.

    Args:
        background: the picture before anybody walks into it.
        light: where light comes from, as (right, up) between -1 and 1.
        rng: the source of folds in cloth.
    """

    def __init__(self, background: Floats, light: tuple[float, float], rng: np.random.Generator) -> None:
        self.pixels = background.copy()
        self.height, self.width = background.shape[:2]
        self.parts = np.zeros((self.height, self.width), dtype=np.uint8)
        self.light = light
        self._folds = _smooth_noise(rng, self.height, self.width)

    def paint(
        self,
        shape: Shape,
        colour: Sequence[float],
        part: str,
        *,
        depth: float = 6.0,
        relief: float = 0.35,
        folds: float = 0.0,
        stripes: tuple[Sequence[float], float] | None = None,
        lies_on: str | None = None,
        shadow: float = 0.3,
    ) -> None:
        """Paint a shape over what is there.

        Args:
            shape: what is covered.
            colour: its colour in even light.
            part: the name, of `PARTS`, of what it is.
            depth: how far from its edge the shape curves, in painted pixels.
            relief: how strongly light and shade differ; 0 is flat.
            folds: how strongly cloth is creased.
            stripes: a second colour and the distance of level stripes of it, in painted pixels.
            lies_on: the part that it does not leave, as print does not leave a shirt.
            shadow: how dark a shadow it throws on the parts below it.
        """
        margin = int(depth * 2) + 2
        left, top, right, bottom = shape.bounds()
        x0, x1 = max(0, int(left) - margin), min(self.width, int(right) + margin + 1)
        y0, y1 = max(0, int(top) - margin), min(self.height, int(bottom) + margin + 1)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        mask_image = _fill(shape, x0, y0, x1, y1)
        inside = np.asarray(mask_image) > 127
        below = self.parts[y0:y1, x0:x1]
        if lies_on is not None:
            inside = inside & (below == PARTS.index(lies_on))
        soft = np.asarray(mask_image.filter(ImageFilter.GaussianBlur(depth / 2)), dtype=np.float32) / 255
        window = self.pixels[y0:y1, x0:x1]
        if shadow:
            thrown = (below > 0) & ~inside
            window[thrown] *= (1 - shadow * soft[thrown])[:, None]
        slope_y, slope_x = np.gradient(soft)
        # the blurred edge of a shape is as steep as 0.8 / depth: brought to about 1, it is the normal's tilt
        tilt = (-slope_x * self.light[0] + slope_y * self.light[1]) * depth * 1.25
        shade = 1 + relief * (tilt - 0.45 * np.clip(1 - soft, 0, 0.5))
        if folds:
            shade = shade * (1 + folds * self._folds[y0:y1, x0:x1])
        paint = np.broadcast_to(np.asarray(colour, dtype=np.float32), (*inside.shape, 3))
        if stripes is not None:
            second, distance = stripes
            rows = (np.arange(y0, y1) / distance) % 1 < 0.42
            paint = np.where(rows[:, None, None], np.asarray(second, dtype=np.float32), paint)
        window[inside] = np.clip(paint[inside] * shade[inside, None], 0, 255)
        below[inside] = PARTS.index(part)

    def cover(self, shape: Shape, colour: Sequence[float], *, relief: float = 0.3, depth: float = 6.0) -> None:
        """Paint what stands before the person: nothing of the person is seen there."""
        self.paint(shape, colour, "none", relief=relief, depth=depth, folds=0.1, shadow=0.0)

    def seen(self, rows: slice, columns: slice) -> dict[str, int]:
        """How many painted pixels of each part are in a window."""
        counts = np.bincount(self.parts[rows, columns].ravel(), minlength=len(PARTS))
        return {name: int(count) for name, count in zip(PARTS, counts, strict=True)}


def _fill(shape: Shape, x0: int, y0: int, x1: int, y1: int) -> Image.Image:
    mask = Image.new("L", (x1 - x0, y1 - y0))
    draw = ImageDraw.Draw(mask)
    for polygon in shape.polygons:
        if len(polygon) > 2:
            draw.polygon([(x - x0, y - y0) for x, y in polygon.tolist()], fill=255)
    for x, y, r in shape.discs:
        draw.ellipse((x - r - x0, y - r - y0, x + r - x0, y + r - y0), fill=255)
    return mask


def _smooth_noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Creases: noise that is finer across than along a slanted direction, about -1 to 1."""
    coarse = rng.normal(0, 1, (height // 14 + 2, width // 9 + 2)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), -2, 2) / 2
