"""Describe the pictures of a drawn data set exactly: for pretraining, and as an upper bound for other captioners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.captioner import Answer, AnswerStream
from captioning.style.template import Slots, render, with_article
from data.demo import ATTRIBUTES
from utils.errors import UserError
from utils.files import read_json

_UPPERS = {"shirt": "top", "t-shirt": "short-sleeved top", "tank top": "sleeveless top"}
_LOWERS = {"jeans": "trousers"}
_SHOES = {"sneakers": "shoes"}


class ExactCaptioner:
    """Captions the pictures of a drawn data set by its record of what is visible in each."""

    name = "exact 1"  # raise the number when captions change: journals then request every caption again

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position, answer)` in order.

        Raises:
            UserError: the images are not those of a drawn data set.
        """
        recorded: dict[Path, Mapping[str, dict[str, str | None]]] = {}
        for position, path in enumerate(images):
            images_folder = next((folder for folder in path.parents if folder.name == "imgs"), path.parent)
            file = images_folder.parent / ATTRIBUTES
            if file not in recorded:
                if not file.is_file():
                    raise UserError(f"captioner.backend=exact: {file} is missing: only drawn data sets have it")
                recorded[file] = read_json(file)
            visible = recorded[file].get(path.relative_to(images_folder).as_posix())
            yield position, Answer(render(slots(visible))) if visible else Answer(None, "not in the drawn data set")


def slots(visible: Mapping[str, str | None]) -> Slots:
    """Return the slots of what is visible in a drawn picture: {attribute: value, or None where it cannot be seen}."""
    upper, lower = visible["upper_garment"], visible["lower_garment"]
    upper_color, striped = visible["upper_color"], visible["pattern"] == "striped"
    if upper == "dress":  # the template has it below
        upper = upper_color = None
    elif upper == "shirt" and visible["sleeves"]:
        upper = f"{visible['sleeves']} top"
    elif upper:
        upper = _UPPERS.get(upper, upper)
    lower_color = "blue" if lower == "jeans" else visible["lower_color"]
    items = [
        with_article(f"{visible[f'{thing}_color']} {noun}")
        for thing, noun in (("bag", visible["bag"]), ("hat", "hat"))
        if visible[thing] and noun
    ]
    bald = visible["hair_length"] == "bald"
    return Slots(
        gender=visible["gender"],
        upper_color=f"{upper_color} striped" if striped and upper_color else upper_color,
        upper_garment=upper,
        lower_color=lower_color,
        lower_garment=lower and _LOWERS.get(lower, lower),
        shoe_color=visible["shoe_color"],
        shoes=visible["shoes"] and _SHOES.get(visible["shoes"], visible["shoes"]),
        hairstyle="shaved" if bald else visible["hair_length"],
        hair_color=None if bald else visible["hair_color"],
        belongings=" and ".join(items) or None,
    )
