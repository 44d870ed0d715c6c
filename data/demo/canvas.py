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
    """What is painted over a background: which layer is on top at every pixel, and how bright it is there.

    Colour and brightness are multiplied once, when the picture is finished, not in three channels for every shape.

    Args:
        width, height: of the canvas, in painted pixels.
        light: where light comes from, as (right, up) between -1 and 1.
        rng: the source of folds in cloth.
    """

    def __init__(self, width: int, height: int, light: tuple[float, float], rng: np.random.Generator) -> None:
        self.width, self.height, self.light = width, height, light
        self._layers: list[tuple[Sequence[float], str]] = [((0, 0, 0), "none")]  # (colour, part); first: nothing
        self._top = np.zeros((height, width), dtype=np.uint8)  # a place in `_layers`, which are some fifty at most
        self._bright = np.ones((height, width), dtype=np.float32)
        self._folds = _smooth_noise(rng, height, width)

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
        margin = int(depth) + 2  # beyond it, shadows are too faint to see
        left, top, right, bottom = shape.bounds()
        x0, x1 = max(0, int(left) - margin), min(self.width, int(right) + margin + 1)
        y0, y1 = max(0, int(top) - margin), min(self.height, int(bottom) + margin + 1)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        mask = _fill(shape, x0 - 1, y0 - 1, x1 + 1, y1 + 1)  # a pixel more on every side, for the slopes
        inside = np.asarray(mask)[1:-1, 1:-1] > 127
        places, bright = self._top[y0:y1, x0:x1], self._bright[y0:y1, x0:x1]
        if lies_on is not None:
            inside &= np.array([part == lies_on for _, part in self._layers])[places]
        shade = np.ones_like(bright)
        if relief or shadow:
            wide = np.asarray(mask.filter(ImageFilter.GaussianBlur(depth / 2)), dtype=np.float32) / 255
            soft = wide[1:-1, 1:-1]
            bright *= 1 - shadow * soft  # also where nothing is painted, which does not show
            # the blurred edge of a shape is as steep as 0.8 / depth: brought to about 1, it is the normal's tilt
            along_x, along_y = (0.625 * depth * part for part in self.light)
            tilt = along_x * (wide[1:-1, :-2] - wide[1:-1, 2:]) + along_y * (wide[2:, 1:-1] - wide[:-2, 1:-1])
            shade += relief * (tilt - 0.45 * np.minimum(1 - soft, 0.5))
        if folds:
            shade *= 1 + folds * self._folds[y0:y1, x0:x1]
        np.copyto(bright, shade, where=inside)
        np.copyto(places, len(self._layers), where=inside)
        self._layers.append((colour, part))
        if stripes is not None:
            second, distance = stripes
            rows = (np.arange(y0, y1) / distance) % 1 < 0.42
            np.copyto(places, len(self._layers), where=inside & rows[:, None])
            self._layers.append((second, part))

    def cover(self, shape: Shape, colour: Sequence[float], *, relief: float = 0.3, depth: float = 6.0) -> None:
        """Paint what stands before the person: nothing of the person is seen there."""
        self.paint(shape, colour, "none", relief=relief, depth=depth, folds=0.1, shadow=0.0)

    def seen(self) -> dict[str, float]:
        """How many pixels of the finished picture show each part."""
        painted = dict.fromkeys(PARTS, 0)
        for place, count in enumerate(np.bincount(self._top.ravel()).tolist()):
            painted[self._layers[place][1]] += count
        return {part: count / OVERSAMPLING**2 for part, count in painted.items()}

    def before(self, background: Floats) -> Floats:
        """The finished picture [h, w, 3] of what is painted, before a background of the same size, in 0 to 255."""
        colours = np.array([colour for colour, _ in self._layers], dtype=np.float32)
        places = self._top.astype(np.intp)  # the type that indexing is fast with
        figure = [_reduced(np.clip(channel[places] * self._bright, 0, 255)) for channel in colours.T]
        free = _reduced((places == 0).astype(np.float32))
        return np.stack(figure, -1) + free[..., None] * background


def _fill(shape: Shape, x0: int, y0: int, x1: int, y1: int) -> Image.Image:
    mask = Image.new("L", (x1 - x0, y1 - y0))
    draw = ImageDraw.Draw(mask)
    for polygon in shape.polygons:
        if len(polygon) > 2:
            draw.polygon((polygon - [x0, y0]).ravel().tolist(), fill=255)
    for x, y, r in shape.discs:
        draw.ellipse((x - r - x0, y - r - y0, x + r - x0, y + r - y0), fill=255)
    return mask


def _reduced(plane: Floats) -> Floats:
    """[H, W] painted pixels -> [h, w] finished ones, their means."""
    return np.asarray(Image.fromarray(plane).reduce(OVERSAMPLING))


def _smooth_noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Creases: noise that is finer across than along a slanted direction, about -1 to 1."""
    coarse = rng.normal(0, 1, (height // 14 + 2, width // 9 + 2)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), -2, 2) / 2
