"""One photograph of one person, and what can be seen of them in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.demo.canvas import OVERSAMPLING, Canvas
from data.demo.figure import paint_person
from data.demo.people import Person
from data.demo.scene import CAMERAS, background, cast_shadow, record, stand_in_the_way
from data.demo.skeleton import VIEWS, Pose

# Finished pixels of a part that somebody needs to see in order to name it.
_NEEDED = {"hair": 14, "upper": 120, "lower": 90, "shoes": 22, "bag": 34, "strap": 30, "hat": 14}


@dataclass(frozen=True)
class Photograph:
    """A picture and its truth.

    Attributes:
        jpeg: the file's bytes.
        camera: place in `CAMERAS`.
        view: a key of `VIEWS`.
        seen: what of the person can be named: {attribute: value or None}.
    """

    jpeg: bytes
    camera: int
    view: str
    seen: dict[str, str | None]


def take_photograph(person: Person, *, camera: int, view: str, seed: tuple[int, ...]) -> Photograph:
    """Photograph somebody; what is random depends on `seed` alone."""
    rng = np.random.default_rng(seed)
    site = CAMERAS[camera]
    width, height = int(rng.integers(64, 73)) * OVERSAMPLING, int(rng.integers(144, 161)) * OVERSAMPLING
    tall = height * rng.uniform(0.86, 0.93)
    x = width * (0.5 + rng.normal(0, 0.025))
    crown = height * rng.uniform(0.955, 0.985) - 0.985 * tall  # a detector's crop ends at the soles
    scene = background(site, width, height, rng)
    cast_shadow(scene, x, crown + 0.985 * tall, tall, site.light)
    canvas = Canvas(width, height, site.light, rng)
    pose = Pose(
        view=view,
        heading=float((1 if rng.random() < 0.5 else -1) * VIEWS[view] + rng.normal(0, 7)),
        phase=float(rng.random()),
        stride=float(rng.choice([0.15, 0.7, 0.9]) * rng.uniform(0.8, 1.1)),
        pitch=site.pitch + float(rng.normal(0, 1.5)),
    )
    paint_person(canvas, person, pose, height=tall, x=x, y=crown)
    if rng.random() < site.obstacle[1]:
        stand_in_the_way(canvas, site, rng)
    return Photograph(record(canvas.before(scene), site, rng), camera, view, _seen(canvas, person, view))


def _seen(canvas: Canvas, person: Person, view: str) -> dict[str, str | None]:
    pixels = canvas.seen()
    there = {part: pixels[part] >= needed for part, needed in _NEEDED.items()}
    hair = there["hair"] and person.hair_length != "bald"
    bag = there["bag"] or (there["strap"] and person.bag == "backpack")
    # hair that is tied looks short from the front
    length = person.hair_length if person.hair_style == "loose" or "back" in view or view == "side" else None
    if person.hat != "none" and person.hair_length in {"short", "bald"}:
        length = None

    def shown(value: str, visible: bool) -> str | None:
        return value if visible and value != "none" else None

    return {
        "gender": person.gender,
        "upper_color": shown(person.upper_color, there["upper"]),
        "upper_garment": shown(person.upper_garment, there["upper"]),
        "pattern": shown(person.pattern, there["upper"]),
        "sleeves": shown(person.sleeves, there["upper"]),
        "lower_color": shown(person.lower_color, there["lower"] or person.lower_garment == "dress"),
        "lower_garment": shown(person.lower_garment, there["lower"] or person.lower_garment == "dress"),
        "shoe_color": shown(person.shoe_color, there["shoes"]),
        "shoes": shown(person.shoes, there["shoes"]),
        "hair_length": shown(length or "none", hair or person.hair_length == "bald"),
        "hair_color": shown(person.hair_color, hair),
        "bag": shown(person.bag, bag),
        "bag_color": shown(person.bag_color, bag and person.bag != "none"),
        "hat": shown(person.hat, there["hat"]),
        "hat_color": shown(person.hat_color, there["hat"] and person.hat != "none"),
    }
