"""Describe photographs by their colors alone: a captioner that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from captioning.captioner import Answer, AnswerStream
from captioning.palette.bags import find_bag
from captioning.palette.body import FACE, HAIR, HEIGHT, LOWER, SHINS, UPPER, WIDTH, Crop
from captioning.palette.colors import Color, normalize_brightness, rgb_to_lab
from captioning.style.template import Slots, render, with_article
from data.images import BrokenImageError, open_image
from utils.processes import map_in_processes

_CHUNK = 32  # images per task of a worker
_SKIN_LIKE = frozenset({"beige", "brown", "orange", "pink", "yellow"})  # sleeves of these may pass for bare arms
_MIN_SHARE = 0.5  # share of a region that a color must have to be named
_MIN_GARMENT_SHARE = 0.45


class PaletteCaptioner:
    """Captions images by their colors; a caption depends on the pixels alone.

    Args:
        workers: number of processes; with 1, the calling process does the work.
    """

    name = "palette 2"  # raise the number when captions change: journals then request every caption again

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position, answer)` in order."""
        workers = self.workers if len(images) > _CHUNK else 1
        yield from enumerate(map_in_processes(_caption, images, workers, chunk_size=_CHUNK))


def _caption(path: Path) -> Answer:
    try:
        image = open_image(path)
    except BrokenImageError as error:
        return Answer(None, problem=str(error))
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return Answer(render(describe(Crop.of(normalize_brightness(rgb_to_lab(np.asarray(small)))))))


def describe(crop: Crop) -> Slots:
    """Fill the slots that a crop gives evidence for; the others stay empty."""
    upper, lower = crop.color(UPPER), crop.color(LOWER)
    return Slots(
        upper_color=_color(upper, _MIN_GARMENT_SHARE),
        upper_garment=_upper_garment(crop, upper),
        lower_color=_color(lower, _MIN_GARMENT_SHARE),
        lower_garment=_lower_garment(crop),
        shoe_color=_shoe_color(crop.shoe_color(), lower),
        hair_color=_hair_color(crop.color(HAIR)) or _hair_color(crop.crown_color()),
        belongings=_belongings(find_bag(crop)),
    )


def _color(color: Color | None, min_share: float = _MIN_SHARE) -> str | None:
    return color.name if color is not None and color.share >= min_share else None


def _upper_garment(crop: Crop, upper: Color | None) -> str:
    skin_like = upper is not None and upper.basic in _SKIN_LIKE
    if crop.bare_arms() > 4.5 and not skin_like:
        return "short-sleeved top"
    # covered arms mean long sleeves only if the face shows that skin would be visible
    return "long-sleeved top" if crop.bare_arms() < 0.2 and crop.skin_share(FACE) > 0.2 else "top"


def _lower_garment(crop: Crop) -> str | None:
    bare_shins, leg_contrast = crop.skin_share(SHINS), crop.leg_contrast()
    if crop.skin_share(LOWER) > 0.5 and leg_contrast < 8:  # bare legs, or trousers of the color of skin
        return None
    if bare_shins > 0.12:
        return "shorts" if crop.hem_share() > 0.7 else None  # what ends higher may as well be a skirt or a dress
    return "trousers" if bare_shins < 0.03 and leg_contrast < 16 else None


def _shoe_color(shoes: Color | None, lower: Color | None) -> str | None:
    """Return the color of the shoes, unless it may be that of a long hem: only black is common for both."""
    hem = shoes is not None and lower is not None and lower.basic == shoes.basic != "black"
    return None if hem else _color(shoes)


def _hair_color(color: Color | None) -> str | None:
    """Return the name of a hair color; None for other colors, which are mostly a hat or the background."""
    names = {"black": "black", "brown": "brown", "beige": "blonde", "yellow": "blonde", "orange": "red"}
    return names.get(color.basic) if color is not None and color.share >= _MIN_SHARE else None


def _belongings(bag: tuple[str, Color | None] | None) -> str | None:
    if bag is None:
        return None
    noun, shade = bag
    color = _color(shade)
    return with_article(f"{color} {noun}" if color else noun)
