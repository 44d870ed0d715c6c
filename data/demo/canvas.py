"""Paint a picture shape by shape, and record which part is visible where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Color = Sequence[float]  # red, green and blue, 0 to 255
Floats = NDArray[np.float32]
Points = NDArray[np.float64]

OVERSAMPLING = 3  # canvas pixels per pixel of the picture, in each direction


def darken(color: Color, factor: float) -> Color:
    """Multiply red, green and blue by a factor below 1."""
    return tuple(factor * channel for channel in color)


@dataclass
class Shape:
    """What is filled at once: polygons [N, 2] and discs (x, y, radius), in canvas pixels."""

    polygons: list[Points] = field(default_factory=list)
    discs: list[tuple[float, float, float]] = field(default_factory=list)

    def bounds(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom."""
        discs = [np.array([[x - r, y - r], [x + r, y + r]]) for x, y, r in self.discs]
        points = np.concatenate([*self.polygons, *discs])
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return float(left), float(top), float(right), float(bottom)

    def mask(self, x0: int, y0: int, x1: int, y1: int) -> Image.Image:
        """Return a mask of the canvas between two corners: 255 inside the shape, 0 outside."""
        mask = Image.new("L", (x1 - x0, y1 - y0))
        draw = ImageDraw.Draw(mask)
        for polygon in self.polygons:
            draw.polygon((polygon - [x0, y0]).ravel().tolist(), fill=255)
        for x, y, r in self.discs:
            draw.ellipse((x - r - x0, y - r - y0, x + r - x0, y + r - y0), fill=255)
        return mask


@dataclass(frozen=True)
class Finish:
    """How the surface of a shape is shaded."""

    depth: float = 6.0  # width of the rounded edge, in canvas pixels
    relief: float = 0.35  # contrast between the light and the dark side; 0 is flat
    folds: float = 0.0  # contrast of the folds in cloth
    shadow: float = 0.3  # how dark a shadow it casts on the parts below it


ROUNDED, FLAT = Finish(), Finish(relief=0.0, shadow=0.0)


@dataclass(frozen=True)
class Stripes:
    """Horizontal stripes of two colors, one pair every `distance` canvas pixels."""

    first: Color
    second: Color
    distance: float


class Canvas:
    """A canvas that stores the topmost layer of every pixel and its brightness.

    Color and brightness are multiplied once, when the picture is finished: multiplying for every shape is slower.

    Args:
        width, height: in canvas pixels.
        light: direction of the light as (right, up), each from -1 to 1.
        rng: source of the folds in cloth.
    """

    def __init__(self, width: int, height: int, light: tuple[float, float], rng: np.random.Generator) -> None:
        self.width, self.height, self.light = width, height, light
        self._layers: list[tuple[Color, str]] = [((0, 0, 0), "none")]  # (color, part); the first is the background
        self._top = np.zeros((height, width), dtype=np.uint8)  # index in `_layers`, of which there are about fifty
        self._brightness = np.ones((height, width), dtype=np.float32)
        self._folds = _smooth_noise(rng, height, width)

    def paint(
        self, shape: Shape, color: Color | Stripes, part: str, finish: Finish = ROUNDED, *, only_on: str | None = None
    ) -> None:
        """Paint a shape over the canvas.

        Args:
            shape: the area.
            color: its color in even light.
            part: what it belongs to, such as "upper".
            finish: its shading.
            only_on: part to which painting is limited, as a print is to a shirt.
        """
        margin = int(finish.depth) + 2  # shadows end there
        left, top, right, bottom = shape.bounds()
        x0, x1 = max(0, int(left) - margin), min(self.width, int(right) + margin + 1)
        y0, y1 = max(0, int(top) - margin), min(self.height, int(bottom) + margin + 1)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        mask = shape.mask(x0 - 1, y0 - 1, x1 + 1, y1 + 1)  # one more pixel on every side, for the slopes
        inside = np.asarray(mask)[1:-1, 1:-1] > 127
        layers, brightness = self._top[y0:y1, x0:x1], self._brightness[y0:y1, x0:x1]
        if only_on is not None:
            inside &= np.array([part == only_on for _, part in self._layers])[layers]
        shade = np.ones_like(brightness)
        if finish.relief or finish.shadow:
            blurred = np.asarray(mask.filter(ImageFilter.GaussianBlur(finish.depth / 2)), dtype=np.float32) / 255
            inner = blurred[1:-1, 1:-1]
            brightness *= 1 - finish.shadow * inner  # on the background as well, where it does not show
            # a blurred edge has a slope of 0.8 / depth; scaled to about 1, it is the tilt of the surface
            along_x, along_y = (0.625 * finish.depth * direction for direction in self.light)
            slope_x, slope_y = blurred[1:-1, :-2] - blurred[1:-1, 2:], blurred[2:, 1:-1] - blurred[:-2, 1:-1]
            tilt = along_x * slope_x + along_y * slope_y
            shade += finish.relief * (tilt - 0.45 * np.minimum(1 - inner, 0.5))
        if finish.folds:
            shade *= 1 + finish.folds * self._folds[y0:y1, x0:x1]
        np.copyto(brightness, shade, where=inside)
        self._fill(layers, inside, color.first if isinstance(color, Stripes) else color, part)
        if isinstance(color, Stripes):
            rows = (np.arange(y0, y1) / color.distance) % 1 < 0.42
            self._fill(layers, inside & rows[:, None], color.second, part)

    def print_on(self, part: str, where: NDArray[np.bool_], color: Color) -> None:
        """Give a part another color in a region, [H, W] of the canvas; its shading stays, as on printed cloth."""
        of_part = np.array([painted == part for _, painted in self._layers])[self._top]
        self._fill(self._top, where & of_part, color, part)

    def extent(self, part: str) -> tuple[int, int, int, int] | None:
        """Return left, top, right and bottom of what is visible of a part, in canvas pixels, or None if nothing is."""
        rows, columns = np.nonzero(np.array([painted == part for _, painted in self._layers])[self._top])
        if not len(rows):
            return None
        return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())

    def _fill(self, layers: NDArray[np.uint8], where: NDArray[np.bool_], color: Color, part: str) -> None:
        np.copyto(layers, len(self._layers), where=where)
        self._layers.append((color, part))

    def visible_areas(self) -> dict[str, float]:
        """Return how many pixels of the finished picture show each part that was painted."""
        areas: Counter[str] = Counter()
        for layer, count in enumerate(np.bincount(self._top.ravel()).tolist()):
            areas[self._layers[layer][1]] += count
        return {part: area / OVERSAMPLING**2 for part, area in areas.items()}

    def compose(self, background: Floats) -> Floats:
        """Return the finished picture [h, w, 3] in front of a background of the same size, in 0 to 255."""
        colors = np.array([color for color, _ in self._layers], dtype=np.float32)
        layers = self._top.astype(np.intp)  # the fastest type to index with
        channels = [_downsample(np.clip(channel[layers] * self._brightness, 0, 255)) for channel in colors.T]
        free = _downsample((layers == 0).astype(np.float32))
        return np.stack(channels, -1) + free[..., None] * background


def _downsample(plane: Floats) -> Floats:
    """Average [H, W] canvas pixels to [h, w] pixels of the picture."""
    return np.asarray(Image.fromarray(plane).reduce(OVERSAMPLING))


def _smooth_noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return folds [H, W]: noise that is finer across than down, about -1 to 1."""
    coarse = rng.normal(0, 1, (height // 14 + 2, width // 9 + 2)).astype(np.float32)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), -2, 2) / 2
