"""The colours' names that people use for clothes and hair, and for each name the range of shades that it covers."""

from __future__ import annotations

from random import Random

Shade = tuple[int, int, int]

# A few sRGB shades that cloth of each name is made of; a garment's own shade lies near one of them.
_CLOTH: dict[str, tuple[Shade, ...]] = {
    "black": ((30, 29, 29), (37, 36, 36), (25, 25, 26)),
    "white": ((236, 234, 228), (244, 244, 244), (228, 232, 236)),
    "gray": ((124, 124, 122), (140, 140, 138), (110, 110, 110)),
    "red": ((182, 32, 38), (200, 44, 42), (164, 24, 40)),
    "orange": ((226, 118, 38), (232, 132, 52), (214, 104, 34)),
    "yellow": ((232, 196, 60), (240, 210, 84), (222, 184, 48)),
    "green": ((52, 116, 66), (70, 132, 76), (40, 98, 60)),
    "blue": ((48, 98, 180), (62, 116, 196), (40, 84, 160)),
    "dark blue": ((30, 40, 78), (36, 46, 88), (28, 36, 68)),
    "light blue": ((144, 186, 222), (156, 196, 228), (132, 176, 214)),
    "purple": ((104, 58, 134), (120, 74, 150), (90, 48, 116)),
    "pink": ((230, 146, 172), (236, 160, 182), (222, 126, 158)),
    "brown": ((104, 70, 46), (118, 80, 52), (90, 60, 42)),
    "beige": ((204, 184, 148), (212, 194, 162), (194, 172, 136)),
}
_HAIR: dict[str, tuple[Shade, ...]] = {
    "black": ((28, 24, 24), (34, 30, 30)),
    "brown": ((84, 54, 34), (100, 64, 38), (72, 46, 32)),
    "blonde": ((206, 170, 104), (216, 184, 124), (190, 152, 88)),
    "red": ((150, 68, 34), (162, 78, 40)),
    "gray": ((150, 150, 150), (172, 172, 170)),
}
SKIN: tuple[Shade, ...] = (
    (244, 212, 190),
    (236, 196, 168),
    (224, 178, 144),
    (206, 158, 122),
    (178, 128, 94),
    (146, 100, 72),
    (110, 74, 54),
    (86, 58, 44),
)
DENIM: tuple[Shade, ...] = ((70, 98, 146), (84, 114, 160), (58, 84, 132))

CLOTH_NAMES = tuple(_CLOTH)
HAIR_NAMES = tuple(_HAIR)


def cloth_shade(name: str, rng: Random) -> Shade:
    """One garment's shade of the colour that is called `name`."""
    return _near(rng.choice(_CLOTH[name]), rng, 8)


def hair_shade(name: str, rng: Random) -> Shade:
    """One head's shade of the hair colour that is called `name`."""
    return _near(rng.choice(_HAIR[name]), rng, 6)


def denim_shade(rng: Random) -> Shade:
    """One pair of jeans' blue."""
    return _near(rng.choice(DENIM), rng, 6)


def skin_shade(tone: int, rng: Random) -> Shade:
    """A skin of `SKIN[tone]`, a little lighter or darker."""
    return _near(SKIN[tone], rng, 4)


def _near(shade: Shade, rng: Random, spread: int) -> Shade:
    lighter = rng.randint(-spread, spread)  # most of the difference is of lightness, hardly any of hue
    red, green, blue = (min(255, max(0, part + lighter + rng.randint(-3, 3))) for part in shade)
    return red, green, blue
