"""Cameras: the background and the obstacles in front of each, and how it records a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data.demo.canvas import OVERSAMPLING, Canvas, Color, Finish, Floats, Shape
from utils.files import read_tables

Rng = np.random.Generator
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Camera:
    """A camera and its surroundings; scene.yaml explains each field."""

    place: str
    gain: float
    cast: Sequence[float]
    blur: float
    noise: float
    pitch: float
    light: tuple[float, float]
    obstacle: str
    obstacle_share: float
    quality: int
    saturation: float = 1.0


CAMERAS = [Camera(**fields) for fields in read_tables(Path(__file__).with_suffix(".yaml"))]


def paint_background(camera: Camera, width: int, height: int, rng: Rng) -> Floats:
    """Return what a camera sees behind the person, [h, w, 3] pixels of the picture in 0 to 255; each call differs.

    Args:
        camera: which one.
        width, height: of the canvas, in canvas pixels.
        rng: source of the differences.
    """
    image = Image.new("RGB", (width, height))
    horizon = int(height * rng.uniform(0.3, 0.5))
    _BACKGROUNDS[camera.place](_Backdrop(ImageDraw.Draw(image), width, height, horizon, rng))
    image = image.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(0.9))  # people are in focus
    grain = rng.normal(0, 1, (height // 6 + 1, width // 6 + 1)).astype(np.float32)
    texture = np.asarray(Image.fromarray(grain).resize(image.size, Image.Resampling.BILINEAR))
    pixels = np.asarray(image, dtype=np.float32) + 3.5 * texture[..., None]
    down = np.linspace(1.05, 0.93, image.height, dtype=np.float32)[:, None, None]
    return np.clip(pixels * down, 0, 255)


def cast_shadow(pixels: Floats, x: float, y: float, height: float, light: tuple[float, float]) -> None:
    """Darken the ground in a background [h, w, 3] around the feet, away from the light.

    Args:
        pixels: the background, which is changed.
        x, y: position of the feet, in canvas pixels.
        height: of the person, in canvas pixels.
        light: direction of the light as (right, up).
    """
    x, y, scale = x / OVERSAMPLING, y / OVERSAMPLING, height / OVERSAMPLING
    mask = Image.new("L", (pixels.shape[1], pixels.shape[0]))
    reach, shift = 0.2 * scale, -0.12 * scale * light[0]
    box = (x - reach + min(shift, 0), y - 0.03 * scale, x + reach + max(shift, 0), y + 0.035 * scale)
    ImageDraw.Draw(mask).ellipse(box, fill=95)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.02 * scale)), dtype=np.float32)
    pixels *= (1 - soft / 255 * 0.75)[..., None]


def paint_obstacle(canvas: Canvas, camera: Camera, rng: Rng) -> None:
    """Paint the camera's obstacle in front of the person."""
    width, height, kind = canvas.width, canvas.height, camera.obstacle

    def paint(shape: Shape, color: Color, relief: float = 0.3, depth: float = 6.0) -> None:
        canvas.paint(shape, color, "none", Finish(depth, relief, folds=0.1, shadow=0.0))

    low, side = rng.uniform(0.76, 0.9) * height, 1 if rng.random() < 0.5 else -1
    if kind == "planter":
        left = rng.uniform(-0.3, 0.5) * width
        paint(_block(left, low, left + 0.8 * width, height + 9), (134, 128, 120))
        for _ in range(14):
            leaf = (rng.uniform(left, left + 0.8 * width), low - rng.uniform(-2, 22), rng.uniform(7, 15))
            paint(Shape(discs=[leaf]), (58, 96 + rng.uniform(-14, 24), 52))
    elif kind == "bench":
        paint(_block(-9, low, width + 9, low + 0.03 * height), (112, 80, 54))
        paint(_block(-9, low + 0.05 * height, width + 9, low + 0.08 * height), (104, 74, 50))
    elif kind == "car":
        far = width * rng.uniform(0.45, 0.8)
        left, right = (-9.0, far) if side > 0 else (width - far, width + 9.0)
        color = ((150, 32, 36), (70, 82, 98), (196, 198, 200), (34, 36, 42))[int(rng.integers(4))]
        paint(_block(left, low, right, height + 9), color, relief=0.5, depth=12)
        light = right - 14 if side > 0 else left + 14
        paint(Shape(discs=[(light, low + 18, 8)]), (236, 228, 190))
    elif kind == "gate":
        at = width * (0.5 + side * rng.uniform(0.22, 0.42))
        paint(_block(at - 16, 0.55 * height, at + 16, height + 9), (168, 172, 176), relief=0.5)
        paint(_block(at - 16, 0.55 * height, at + 16, 0.575 * height), (190, 60, 52))
    else:
        at = width * (0.5 + side * rng.uniform(0.1, 0.42))
        paint(_block(at - 8, -9, at + 8, height + 9), (88, 92, 98), relief=0.6)


def record(pixels: Floats, camera: Camera, rng: Rng) -> bytes:
    """Return the JPEG file that a camera makes of a picture [h, w, 3] in 0 to 255."""
    image = Image.fromarray(pixels.astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(camera.blur * rng.uniform(0.6, 1.5)))
    levels = np.asarray(image, dtype=np.float32)
    if camera.saturation != 1:
        gray = levels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        levels = gray[..., None] + camera.saturation * (levels - gray[..., None])
    levels = levels * np.asarray(camera.cast, dtype=np.float32) * (camera.gain * rng.uniform(0.93, 1.07))
    levels = levels + rng.normal(0, camera.noise, levels.shape).astype(np.float32)
    file = BytesIO()
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=camera.quality)
    return file.getvalue()


def _block(left: float, top: float, right: float, bottom: float) -> Shape:
    return Shape(polygons=[np.array([[left, top], [right, top], [right, bottom], [left, bottom]])])


@dataclass(frozen=True)
class _Backdrop:
    """The background while it is drawn: a wall down to the horizon, and the ground below it."""

    draw: ImageDraw.ImageDraw
    width: int
    height: int
    horizon: int
    rng: Rng

    def vary(self, color: Rgb, spread: int = 8) -> Rgb:
        """Change the lightness of a color at random, by up to `spread` levels."""
        lighter = int(self.rng.integers(-spread, spread + 1))
        red, green, blue = (min(255, max(0, channel + lighter)) for channel in color)
        return red, green, blue

    def choose(self, *colors: Rgb) -> Rgb:
        return colors[int(self.rng.integers(len(colors)))]

    def columns(self, start: int, distance: int) -> range:
        """Return columns at a regular distance, from a random one between `start` and 0."""
        return range(int(self.rng.integers(start, 0)), self.width, distance)

    def wall(self, color: Rgb) -> None:
        self.draw.rectangle((0, 0, self.width, self.horizon), fill=self.vary(color))

    def ground(self, color: Rgb) -> None:
        self.draw.rectangle((0, self.horizon, self.width, self.height), fill=self.vary(color))

    def joints(self, color: Rgb) -> None:
        """Draw the joints of paving in perspective."""
        vanishing = self.width * self.rng.uniform(0.2, 0.8)
        for step in range(-8, 9):
            end = (vanishing + step * self.width * 0.42, self.height)
            self.draw.line((vanishing, self.horizon - 40, *end), fill=color, width=2)
        y, gap = float(self.horizon), 6.0
        while y < self.height:
            self.draw.line((0, y, self.width, y), fill=color, width=2)
            y, gap = y + gap, gap * 1.45


def _plaza(on: _Backdrop) -> None:
    on.wall((176, 168, 156))
    for x in on.columns(-60, 92):
        on.draw.rectangle((x, -20, x + 52, on.horizon - 26), fill=on.vary((104, 118, 128), 14))
        on.draw.line((x + 26, 0, x + 26, on.horizon - 26), fill=(150, 150, 146), width=4)
    on.ground((190, 184, 172))
    on.joints((168, 162, 150))


def _lawn(on: _Backdrop) -> None:
    width, height, horizon = on.width, on.height, on.horizon
    on.wall((168, 190, 200))
    for _ in range(16):
        x, y, r = on.rng.uniform(0, width), on.rng.uniform(0, horizon), on.rng.uniform(22, 58)
        on.draw.ellipse((x - r, y - r, x + r, y + r), fill=on.vary((74, 108, 62), 16))
    on.ground((112, 146, 82))
    left = on.rng.uniform(-0.4, 0.4) * width
    path = [(left + 0.3 * width, horizon), (left + 0.55 * width, horizon), (left + 1.2 * width, height), (left, height)]
    on.draw.polygon(path, fill=on.vary((188, 174, 146)))


def _street(on: _Backdrop) -> None:
    width, height, horizon = on.width, on.height, on.horizon
    on.wall((146, 122, 106))
    for x in on.columns(-50, 70):
        on.draw.rectangle((x, 20, x + 34, horizon - 60), fill=on.vary((92, 98, 108), 12))
    color = on.choose((148, 36, 40), (56, 74, 110), (200, 200, 198), (40, 42, 46))
    left = on.rng.uniform(-0.5, 0.7) * width
    on.draw.rounded_rectangle((left, horizon - 56, left + 0.9 * width, horizon + 12), 16, fill=color)
    on.draw.rounded_rectangle((left + 26, horizon - 82, left + 0.7 * width, horizon - 40), 12, fill=(60, 70, 80))
    on.ground((112, 114, 118))
    curb = horizon + on.rng.uniform(0.1, 0.3) * height
    on.draw.rectangle((0, curb, width, height), fill=on.vary((160, 158, 154)))
    on.draw.rectangle((0, curb, width, curb + 7), fill=(188, 186, 180))


def _mall(on: _Backdrop) -> None:
    on.wall((214, 218, 222))
    for x in on.columns(-80, 118):
        poster = on.choose((206, 120, 96), (120, 168, 178), (226, 196, 112), (150, 132, 170))
        on.draw.rectangle((x, 30, x + 88, on.horizon - 8), fill=on.vary((232, 234, 236)))
        on.draw.rectangle((x + 12, 62, x + 46, on.horizon - 24), fill=poster)
        on.draw.rectangle((x + 58, 84, x + 78, on.horizon - 24), fill=on.vary((128, 120, 112), 20))
        on.draw.rectangle((x, 10, x + 88, 32), fill=on.vary((96, 84, 76)))
    on.ground((198, 202, 206))
    on.joints((182, 186, 192))


def _corridor(on: _Backdrop) -> None:
    width, height, horizon = on.width, on.height, on.horizon
    on.wall((150, 162, 160))
    on.draw.rectangle((0, int(horizon * 0.72), width, horizon), fill=on.vary((86, 112, 116)))
    left = on.rng.uniform(-0.3, 0.8) * width
    poster = on.choose((206, 92, 66), (70, 110, 168), (222, 190, 84))
    on.draw.rectangle((left, 26, left + 62, 0.56 * horizon), fill=poster, outline=(224, 226, 226), width=7)
    on.ground((132, 136, 134))
    lane = [(0.3 * width, horizon), (0.42 * width, horizon), (0.2 * width, height), (-0.2 * width, height)]
    on.draw.polygon(lane, fill=(196, 176, 92))
    on.joints((120, 124, 122))


def _crossing(on: _Backdrop) -> None:
    on.wall((138, 146, 156))
    for x in on.columns(-60, 84):
        on.draw.rectangle((x, int(on.rng.integers(0, 60)), x + 66, on.horizon), fill=on.vary((116, 112, 112), 22))
    on.ground((92, 94, 98))
    y, thick, right = on.horizon + on.rng.uniform(4, 30), 10.0, on.width + 20
    while y < on.height:
        stripe = [(-20, y + 8), (right, y - 8), (right, y - 8 + thick), (-20, y + 8 + thick)]
        on.draw.polygon(stripe, fill=on.vary((206, 206, 202), 6))
        y, thick = y + 2.3 * thick, thick * 1.35


_BACKGROUNDS: dict[str, Callable[[_Backdrop], None]] = {
    **{"plaza": _plaza, "lawn": _lawn, "street": _street},
    **{"mall": _mall, "corridor": _corridor, "crossing": _crossing},
}
