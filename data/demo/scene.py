"""Cameras: where each hangs, what it sees behind people, what stands in the way, and how it records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data.demo.canvas import OVERSAMPLING, Canvas, Floats, Shape

Rng = np.random.Generator


@dataclass(frozen=True)
class Camera:
    """One camera of a site.

    Attributes:
        place: what it looks at, a key of `_PLACES`.
        gain: exposure; 1 is even.
        cast: factors of red, green and blue.
        blur: of its lens, in pixels of the finished picture.
        noise: standard deviation, in levels of 255.
        pitch: degrees by which it looks down.
        light: where light comes from, as (right, up).
        obstacle: what stands in the way now and then, and how often.
        quality: of its JPEG files.
    """

    place: str
    gain: float
    cast: tuple[float, float, float]
    blur: float
    noise: float
    pitch: float
    light: tuple[float, float]
    obstacle: tuple[str, float]
    quality: int


CAMERAS = (
    Camera("plaza", 1.03, (1.02, 1.0, 0.98), 0.3, 2.0, 8, (0.7, 0.6), ("planter", 0.08), 92),
    Camera("lawn", 1.0, (0.99, 1.01, 0.98), 0.35, 2.5, 10, (-0.6, 0.7), ("bench", 0.1), 91),
    Camera("street", 0.96, (0.985, 1.0, 1.02), 0.4, 3.0, 6, (0.3, 0.8), ("car", 0.1), 90),
    Camera("mall", 1.05, (1.03, 1.0, 0.96), 0.35, 2.0, 14, (0.1, 0.9), ("planter", 0.08), 91),
    Camera("corridor", 0.92, (0.99, 1.015, 0.99), 0.45, 3.5, 12, (-0.2, 0.9), ("gate", 0.1), 88),
    Camera("crossing", 0.98, (1.0, 1.0, 1.0), 0.4, 2.5, 5, (-0.8, 0.5), ("post", 0.1), 90),
)


def background(camera: Camera, width: int, height: int, rng: Rng) -> Floats:
    """What a camera sees with nobody there, [h, w, 3] finished pixels in 0 to 255; each crop is of another spot.

    Args:
        camera: which one.
        width, height: of the canvas, in painted pixels.
        rng: the source of what varies.
    """
    image = Image.new("RGB", (width, height))
    horizon = int(height * rng.uniform(0.3, 0.5))
    _PLACES[camera.place](ImageDraw.Draw(image), width, height, horizon, rng)
    image = image.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(0.9))  # people are in focus, walls are not
    grain = rng.normal(0, 1, (height // 6 + 1, width // 6 + 1)).astype(np.float32)
    texture = np.asarray(Image.fromarray(grain).resize(image.size, Image.Resampling.BILINEAR))
    pixels = np.asarray(image, dtype=np.float32) + 3.5 * texture[..., None]
    down = np.linspace(1.05, 0.93, image.height, dtype=np.float32)[:, None, None]
    return np.clip(pixels * down, 0, 255)


def cast_shadow(pixels: Floats, x: float, y: float, scale: float, light: tuple[float, float]) -> None:
    """Darken the ground [h, w, 3] around feet at painted pixel (x, y), away from the light."""
    height, width = pixels.shape[:2]
    x, y, scale = x / OVERSAMPLING, y / OVERSAMPLING, scale / OVERSAMPLING
    mask = Image.new("L", (width, height))
    reach = 0.2 * scale
    shift = -0.12 * scale * light[0]
    ImageDraw.Draw(mask).ellipse(
        (x - reach + min(shift, 0), y - 0.03 * scale, x + reach + max(shift, 0), y + 0.035 * scale), fill=95
    )
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.02 * scale)), dtype=np.float32)
    pixels *= (1 - soft / 255 * 0.75)[..., None]


def stand_in_the_way(canvas: Canvas, camera: Camera, rng: Rng) -> None:
    """Put the camera's obstacle before the person."""
    width, height = canvas.width, canvas.height
    kind = camera.obstacle[0]
    low, side = rng.uniform(0.76, 0.9) * height, 1 if rng.random() < 0.5 else -1
    if kind == "planter":
        left = rng.uniform(-0.3, 0.5) * width
        canvas.cover(_block(left, low, left + 0.8 * width, height + 9), (134, 128, 120))
        for _ in range(14):
            leaf = (rng.uniform(left, left + 0.8 * width), low - rng.uniform(-2, 22), rng.uniform(7, 15))
            canvas.cover(Shape(discs=[leaf]), (58, 96 + rng.uniform(-14, 24), 52))
    elif kind == "bench":
        canvas.cover(_block(-9, low, width + 9, low + 0.03 * height), (112, 80, 54))
        canvas.cover(_block(-9, low + 0.05 * height, width + 9, low + 0.08 * height), (104, 74, 50))
    elif kind == "car":
        far = width * rng.uniform(0.45, 0.8)
        left, right = (-9.0, far) if side > 0 else (width - far, width + 9.0)
        shade = ((150, 32, 36), (70, 82, 98), (196, 198, 200), (34, 36, 42))[int(rng.integers(4))]
        canvas.cover(_block(left, low, right, height + 9), shade, relief=0.5, depth=12)
        light = right - 14 if side > 0 else left + 14
        canvas.cover(Shape(discs=[(light, low + 18, 8)]), (236, 228, 190))
    elif kind == "gate":
        at = width * (0.5 + side * rng.uniform(0.22, 0.42))
        canvas.cover(_block(at - 16, 0.55 * height, at + 16, height + 9), (168, 172, 176), relief=0.5)
        canvas.cover(_block(at - 16, 0.55 * height, at + 16, 0.575 * height), (190, 60, 52))
    else:
        at = width * (0.5 + side * rng.uniform(0.1, 0.42))
        canvas.cover(_block(at - 8, -9, at + 8, height + 9), (88, 92, 98), relief=0.6)


def record(pixels: Floats, camera: Camera, rng: Rng) -> bytes:
    """The JPEG file that a camera makes of what is before it, [h, w, 3] in 0 to 255."""
    image = Image.fromarray(pixels.astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(camera.blur * rng.uniform(0.6, 1.5)))
    levels = np.asarray(image, dtype=np.float32)
    levels = levels * np.asarray(camera.cast, dtype=np.float32) * (camera.gain * rng.uniform(0.93, 1.07))
    levels = levels + rng.normal(0, camera.noise, levels.shape).astype(np.float32)
    file = BytesIO()
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=camera.quality)
    return file.getvalue()


def _block(left: float, top: float, right: float, bottom: float) -> Shape:
    return Shape(polygons=[np.array([[left, top], [right, top], [right, bottom], [left, bottom]])])


def _varied(colour: tuple[int, int, int], rng: Rng, spread: int = 8) -> tuple[int, int, int]:
    lighter = int(rng.integers(-spread, spread + 1))
    red, green, blue = (min(255, max(0, part + lighter)) for part in colour)
    return red, green, blue


def _floor_lines(
    draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, colour: tuple[int, int, int], rng: Rng
) -> None:
    """Joints of paving in perspective."""
    vanishing = width * rng.uniform(0.2, 0.8)
    for step in range(-8, 9):
        draw.line((vanishing, horizon - 40, vanishing + step * width * 0.42, height), fill=colour, width=2)
    y = float(horizon)
    gap = 6.0
    while y < height:
        draw.line((0, y, width, y), fill=colour, width=2)
        y, gap = y + gap, gap * 1.45


def _plaza(draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, rng: Rng) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_varied((176, 168, 156), rng))
    for x in range(int(rng.integers(-60, 0)), width, 92):
        draw.rectangle((x, -20, x + 52, horizon - 26), fill=_varied((104, 118, 128), rng, 14))
        draw.line((x + 26, 0, x + 26, horizon - 26), fill=(150, 150, 146), width=4)
    draw.rectangle((0, horizon, width, height), fill=_varied((190, 184, 172), rng))
    _floor_lines(draw, width, height, horizon, (168, 162, 150), rng)


def _lawn(draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, rng: Rng) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_varied((168, 190, 200), rng))
    for _ in range(16):
        x, y, r = rng.uniform(0, width), rng.uniform(0, horizon), rng.uniform(22, 58)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_varied((74, 108, 62), rng, 16))
    draw.rectangle((0, horizon, width, height), fill=_varied((112, 146, 82), rng))
    left = rng.uniform(-0.4, 0.4) * width
    draw.polygon(
        [(left + 0.3 * width, horizon), (left + 0.55 * width, horizon), (left + 1.2 * width, height), (left, height)],
        fill=_varied((188, 174, 146), rng),
    )


def _street(draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, rng: Rng) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_varied((146, 122, 106), rng))
    for x in range(int(rng.integers(-50, 0)), width, 70):
        draw.rectangle((x, 20, x + 34, horizon - 60), fill=_varied((92, 98, 108), rng, 12))
    shade = ((148, 36, 40), (56, 74, 110), (200, 200, 198), (40, 42, 46))[int(rng.integers(4))]
    left = rng.uniform(-0.5, 0.7) * width
    draw.rounded_rectangle((left, horizon - 56, left + 0.9 * width, horizon + 12), 16, fill=shade)
    draw.rounded_rectangle((left + 26, horizon - 82, left + 0.7 * width, horizon - 40), 12, fill=(60, 70, 80))
    draw.rectangle((0, horizon, width, height), fill=_varied((112, 114, 118), rng))
    curb = horizon + rng.uniform(0.1, 0.3) * height
    draw.rectangle((0, curb, width, height), fill=_varied((160, 158, 154), rng))
    draw.rectangle((0, curb, width, curb + 7), fill=(188, 186, 180))


def _mall(draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, rng: Rng) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_varied((214, 218, 222), rng))
    for x in range(int(rng.integers(-80, 0)), width, 118):
        shade = ((206, 120, 96), (120, 168, 178), (226, 196, 112), (150, 132, 170))[int(rng.integers(4))]
        draw.rectangle((x, 30, x + 88, horizon - 8), fill=_varied((232, 234, 236), rng))
        draw.rectangle((x + 12, 62, x + 46, horizon - 24), fill=shade)
        draw.rectangle((x + 58, 84, x + 78, horizon - 24), fill=_varied((128, 120, 112), rng, 20))
        draw.rectangle((x, 10, x + 88, 32), fill=_varied((96, 84, 76), rng))
    draw.rectangle((0, horizon, width, height), fill=_varied((198, 202, 206), rng))
    _floor_lines(draw, width, height, horizon, (182, 186, 192), rng)


def _corridor(draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, rng: Rng) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_varied((150, 162, 160), rng))
    draw.rectangle((0, int(horizon * 0.72), width, horizon), fill=_varied((86, 112, 116), rng))
    left = rng.uniform(-0.3, 0.8) * width
    shade = ((206, 92, 66), (70, 110, 168), (222, 190, 84))[int(rng.integers(3))]
    draw.rectangle((left, 26, left + 62, 0.56 * horizon), fill=shade, outline=(224, 226, 226), width=7)
    draw.rectangle((0, horizon, width, height), fill=_varied((132, 136, 134), rng))
    draw.polygon(
        [(0.3 * width, horizon), (0.42 * width, horizon), (0.2 * width, height), (-0.2 * width, height)],
        fill=(196, 176, 92),
    )
    _floor_lines(draw, width, height, horizon, (120, 124, 122), rng)


def _crossing(draw: ImageDraw.ImageDraw, width: int, height: int, horizon: int, rng: Rng) -> None:
    draw.rectangle((0, 0, width, horizon), fill=_varied((138, 146, 156), rng))
    for x in range(int(rng.integers(-60, 0)), width, 84):
        draw.rectangle((x, int(rng.integers(0, 60)), x + 66, horizon), fill=_varied((116, 112, 112), rng, 22))
    draw.rectangle((0, horizon, width, height), fill=_varied((92, 94, 98), rng))
    y, thick = horizon + rng.uniform(4, 30), 10.0
    while y < height:
        draw.polygon(
            [(-20, y + 8), (width + 20, y - 8), (width + 20, y - 8 + thick), (-20, y + 8 + thick)],
            fill=_varied((206, 206, 202), rng, 6),
        )
        y, thick = y + 2.3 * thick, thick * 1.35


_PLACES: dict[str, Callable[[ImageDraw.ImageDraw, int, int, int, Rng], None]] = {
    "plaza": _plaza,
    "lawn": _lawn,
    "street": _street,
    "mall": _mall,
    "corridor": _corridor,
    "crossing": _crossing,
}
