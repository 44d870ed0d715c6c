"""Domain randomization: draw people with random cameras, light, surroundings and shades.

A model trained on pictures that differ in everything except what a person wears transfers to photographs of real people
(domain randomization: Tobin et al. 2017; synthetic pedestrians: Wang et al., RandPerson, 2020). None of the demo's
cameras, backgrounds and shades is used; prints on garments and people in the background are left out of descriptions.
"""

from __future__ import annotations

import colorsys
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data.demo.canvas import OVERSAMPLING, Canvas, Color, Floats
from data.demo.scene import Camera, Rng

_PRINTS = {"logo": 0.35, "checks": 0.15, "spots": 0.12, "lines": 0.13, "block": 0.15, "camouflage": 0.1}  # shares
_OBSTACLES = ("planter", "bench", "car", "gate", "post")


def random_camera(rng: Rng) -> Camera:
    """Return a camera with a random exposure, color cast, lens, height and compression."""
    cast = rng.uniform(0.85, 1.15, 3)
    return Camera(
        place="random",
        gain=float(rng.uniform(0.6, 1.35)),
        cast=tuple(cast / cast.mean()),
        blur=float(rng.uniform(0.1, 1.3)),
        noise=float(rng.uniform(0.5, 8)),
        pitch=float(rng.uniform(0, 22)),
        light=(float(rng.uniform(-0.9, 0.9)), float(rng.uniform(0.2, 0.9))),
        obstacle=_OBSTACLES[int(rng.integers(len(_OBSTACLES)))],
        obstacle_share=0.15,
        quality=int(rng.integers(40, 96)),
        saturation=float(rng.uniform(0.5, 1.1)),
    )


def random_background(width: int, height: int, rng: Rng) -> Floats:
    """Return random surroundings, [h, w, 3] pixels of the picture in 0 to 255: wall, ground, and blocks in front of it.

    Args:
        width, height: of the canvas, in canvas pixels.
    """
    image = Image.new("RGB", (width, height), _surface_color(rng))
    draw = ImageDraw.Draw(image)
    horizon = int(height * rng.uniform(-0.1, 0.7))
    draw.rectangle((0, horizon, width, height), fill=_surface_color(rng))
    for _ in range(int(rng.integers(0, 12))):
        color = _any_color(rng) if rng.random() < 0.4 else _surface_color(rng)
        x, y = rng.uniform(-0.3, 1.0) * width, rng.uniform(-0.3, 1.0) * height
        box = (x, y, x + rng.uniform(0.05, 0.8) * width, y + rng.uniform(0.03, 0.5) * height)
        kind = rng.choice(["block", "ball", "pole"], p=(0.6, 0.25, 0.15))
        if kind == "pole":
            draw.line(box, fill=color, width=int(rng.integers(2, 20)))
        else:
            (draw.rectangle if kind == "block" else draw.ellipse)(box, fill=color)
    if rng.random() < 0.5:
        _draw_clutter(draw, width, height, rng)
    image = image.reduce(OVERSAMPLING).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.5)))
    grain = rng.normal(0, 1, (height // 6 + 1, width // 6 + 1)).astype(np.float32)
    texture = np.asarray(Image.fromarray(grain).resize(image.size, Image.Resampling.BILINEAR))
    pixels = np.asarray(image, dtype=np.float32) + rng.uniform(1, 12) * texture[..., None]
    down = np.linspace(rng.uniform(0.75, 1.25), rng.uniform(0.75, 1.25), image.height, dtype=np.float32)
    return np.clip(pixels * down[:, None, None], 0, 255)


def print_on_cloth(canvas: Canvas, part: str, rng: Rng) -> None:
    """Print a pattern that nobody describes on a garment: a logo, checks, spots, lines, a block of color, camouflage.

    Args:
        canvas: with a painted person.
        part: the garment, such as "upper".
        rng: source of the choices.
    """
    if (extent := canvas.extent(part)) is None:
        return
    left, top, right, bottom = extent
    ys, xs = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    wide, high = max(right - left, 1), max(bottom - top, 1)
    across, down = (xs - left) / wide, (ys - top) / high  # 0 to 1 over the garment
    kind = rng.choice(
        ["logo", "checks", "spots", "lines", "block", "camouflage"], p=(0.35, 0.15, 0.12, 0.13, 0.15, 0.1)
    )
    if kind == "logo":
        x, y, reach = rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.5), rng.uniform(0.06, 0.2)
        where = (np.abs(across - x) < reach) & (np.abs(down - y) < reach * rng.uniform(0.3, 1))
        if rng.random() < 0.5:  # lettering
            where &= np.sin(xs * rng.uniform(0.5, 1.5)) + np.sin(ys * rng.uniform(0.2, 0.8)) > 0
    elif kind == "checks":
        distance = rng.uniform(8, 24)
        where = (xs % distance < 0.2 * distance) | (ys % distance < 0.2 * distance)
    elif kind == "spots":
        distance = rng.uniform(7, 18)
        where = np.hypot(xs % distance - distance / 2, ys % distance - distance / 2) < 0.28 * distance
    elif kind == "lines":
        angle, distance = rng.uniform(0, np.pi), rng.uniform(6, 20)
        where = (xs * np.cos(angle) + ys * np.sin(angle)) % distance < 0.25 * distance
    elif kind == "block":
        start = rng.uniform(0, 0.8)
        where = (down > start) & (down < start + rng.uniform(0.08, 0.3))
    else:
        coarse = rng.normal(0, 1, (canvas.height // 16 + 2, canvas.width // 16 + 2)).astype(np.float32)
        noise = Image.fromarray(coarse).resize((canvas.width, canvas.height), Image.Resampling.BICUBIC)
        where = np.asarray(noise) > 0.5
    canvas.print_on(part, where, _any_color(rng))


def random_shade(color: Color, rng: Random) -> Color:
    """Return another shade of a color that still has its name: of another lightness, saturation and, slightly, hue."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in color))
    if saturation > 0.25:  # a hue that could be named otherwise, orange or brown, is moved less than it could be
        hue += rng.uniform(-0.015, 0.015)
        saturation *= rng.uniform(0.7, 1.15)
    value *= rng.uniform(0.8, 1.2) if value > 0.2 else rng.uniform(0.6, 1.7)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(1.0, saturation), min(1.0, value))
    return tuple(min(255.0, max(0.0, 255 * channel + rng.uniform(-5, 5))) for channel in (red, green, blue))


def _draw_clutter(draw: ImageDraw.ImageDraw, width: int, height: int, rng: Rng) -> None:
    """Draw thin lines and circles, as of railings, branches and bicycles, over one side or all of the picture."""
    left = rng.uniform(-0.2, 0.6) * width
    reach = rng.uniform(0.3, 1.0) * width
    top = rng.uniform(0, 0.6) * height
    color, thin = _surface_color(rng), int(rng.integers(1, 6))
    for _ in range(int(rng.integers(4, 26))):
        x, y = left + rng.uniform(0, reach), top + rng.uniform(0, 0.4) * height
        if rng.random() < 0.1:
            color = _any_color(rng)
        if rng.random() < 0.4:
            radius = rng.uniform(0.05, 0.2) * width
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=thin)
        else:
            draw.line((x, y, x + rng.normal(0, 0.25) * width, y + rng.normal(0, 0.2) * height), fill=color, width=thin)


def _surface_color(rng: Rng) -> tuple[int, int, int]:
    """Return a color of walls and pavements: grayish, of any lightness."""
    gray = rng.uniform(50, 220)
    red, green, blue = np.clip(gray + rng.normal(0, 14, 3), 0, 255).astype(int).tolist()
    return red, green, blue


def _any_color(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue
