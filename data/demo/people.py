"""Who is drawn: people with seeded attributes, some of them in pairs that differ in a single detail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from random import Random
from typing import Any

from data.demo.colours import SKIN

PAIRED = 0.1  # of the people of a split, at least


@dataclass(frozen=True)
class Person:
    """What somebody looks like all day long.

    Attributes:
        look: the seed of what has no name: shades, skin, stoutness, face.
        gender: "male" or "female".
        upper_garment: what is worn outermost; "dress" if it is one with the lower.
        pattern: "plain" or "striped".
        sleeves: "short-sleeved", "long-sleeved" or "sleeveless".
        hair_length: "short", "medium-length", "long" or "bald".
        hair_style: "loose" or "tied".
        bag: "backpack", "handbag", "shoulder bag" or "none".
        hat: "cap", "beanie" or "none".
    """

    look: int
    gender: str
    upper_color: str
    upper_garment: str
    pattern: str
    sleeves: str
    lower_color: str
    lower_garment: str
    shoe_color: str
    shoes: str
    hair_length: str
    hair_color: str
    hair_style: str
    bag: str
    bag_color: str
    hat: str
    hat_color: str

    def described(self) -> tuple[str, ...]:
        """All that has a name, to tell people apart by."""
        return tuple(value for value in vars(self).values() if isinstance(value, str))


# Summer in a colourful town: rarer colours are as frequent as the usual ones, so that a small set has all of them.
_WEIGHTS: dict[str, dict[str, float]] = {
    "upper_color": {
        **{"black": 9, "white": 9, "gray": 7, "blue": 8, "red": 9, "dark blue": 6, "green": 8, "light blue": 6},
        **{"pink": 7, "purple": 7, "yellow": 8, "orange": 8, "brown": 6, "beige": 5},
    },
    "male_upper": {"t-shirt": 30, "shirt": 18, "sweater": 13, "hoodie": 14, "jacket": 17, "coat": 5, "tank top": 3},
    "female_upper": {"t-shirt": 22, "shirt": 16, "sweater": 14, "hoodie": 8, "jacket": 14, "coat": 8, "tank top": 8},
    "male_lower": {"trousers": 52, "jeans": 18, "shorts": 30},
    "female_lower": {"trousers": 36, "jeans": 14, "shorts": 18, "skirt": 20, "dress": 12},
    "trousers": {
        "black": 17,
        "dark blue": 11,
        "gray": 12,
        "beige": 12,
        "brown": 12,
        "white": 12,
        "green": 12,
        "red": 12,
    },
    "shorts": {"black": 14, "dark blue": 11, "gray": 11, "beige": 12, "blue": 10, "white": 12, "green": 11, "red": 11},
    "skirt": {"black": 15, "dark blue": 11, "red": 13, "gray": 11, "white": 12, "pink": 13, "beige": 9, "green": 12},
    "dress": {"black": 12, "red": 15, "blue": 14, "white": 12, "green": 12, "pink": 12, "yellow": 12, "purple": 11},
    "shoe_color": {"black": 34, "white": 26, "gray": 12, "brown": 13, "red": 7, "blue": 4, "dark blue": 4},
    "male_hair": {"short": 84, "medium-length": 6, "bald": 10},
    "female_hair": {"short": 16, "medium-length": 34, "long": 50},
    "hair_color": {"black": 40, "brown": 30, "blonde": 15, "gray": 9, "red": 6},
    "bag": {"none": 46, "backpack": 22, "handbag": 16, "shoulder bag": 16},
    "bag_color": {"black": 34, "brown": 16, "red": 12, "blue": 11, "gray": 11, "green": 8, "beige": 8},
    "hat": {"none": 84, "cap": 10, "beanie": 6},
    "hat_color": {"black": 34, "red": 20, "white": 14, "blue": 16, "green": 8, "gray": 8},
}
_SLEEVES = {"t-shirt": "short-sleeved", "tank top": "sleeveless"}


def people_of(seed: int, counts: dict[str, int]) -> dict[str, list[Person]]:
    """The people of each split; no two of all of them have the same description.

    Args:
        seed: of all that is chosen.
        counts: how many people each split has.
    """
    rng = Random(f"{seed} people")
    taken: set[tuple[str, ...]] = set()
    splits: dict[str, list[Person]] = {}
    for split, count in counts.items():
        pairs = ceil(count * PAIRED / 2) if count > 1 else 0
        people: list[Person] = []
        while len(people) < count:
            person = _person(rng)
            twin = _twin(person, rng) if len(people) < 2 * pairs else None
            fresh = [one for one in (person, twin) if one is not None and one.described() not in taken]
            if len(fresh) == (1 if twin is None else 2):
                people += fresh
                taken |= {one.described() for one in fresh}
        rng.shuffle(people)  # twins do not stand side by side
        splits[split] = people
    return splits


def tones(person: Person) -> tuple[int, float]:
    """Place in `SKIN` and stoutness (0 to 1) of somebody, who keep them in every picture."""
    rng = Random(f"{person.look} body")
    return min(len(SKIN) - 1, int(rng.betavariate(1.1, 1.7) * len(SKIN))), rng.betavariate(2, 2.6)


def _person(rng: Random) -> Person:
    gender = rng.choice(("male", "female"))
    lower_garment = _pick(rng, f"{gender}_lower")
    upper_garment = _pick(rng, f"{gender}_upper")
    upper_color = _pick(rng, "upper_color")
    lower_color = "blue" if lower_garment == "jeans" else _pick(rng, lower_garment)
    if lower_garment == "dress":
        upper_garment, upper_color = "dress", lower_color
    long_or_short = {"shirt": 0.7, "dress": 0.35}.get(upper_garment, 1.0)
    sleeves = _SLEEVES.get(upper_garment) or ("long-sleeved" if rng.random() < long_or_short else "short-sleeved")
    if upper_garment == "dress" and rng.random() < 0.35:
        sleeves = "sleeveless"
    striped = upper_garment in {"t-shirt", "sweater"} and rng.random() < 0.14
    hair_length = _pick(rng, f"{gender}_hair")
    return Person(
        look=rng.getrandbits(32),
        gender=gender,
        upper_color=upper_color,
        upper_garment=upper_garment,
        pattern="striped" if striped else "plain",
        sleeves=sleeves,
        lower_color=lower_color,
        lower_garment=lower_garment,
        shoe_color=_pick(rng, "shoe_color"),
        shoes="boots" if lower_garment != "shorts" and rng.random() < 0.14 else rng.choice(("sneakers", "shoes")),
        hair_length=hair_length,
        hair_color=_pick(rng, "hair_color"),
        hair_style="tied" if hair_length == "long" and rng.random() < 0.4 else "loose",
        bag=_pick(rng, "bag"),
        bag_color=_pick(rng, "bag_color"),
        hat=_pick(rng, "hat"),
        hat_color=_pick(rng, "hat_color"),
    )


def _twin(person: Person, rng: Random) -> Person:
    """Somebody who differs from `person` in one detail only."""
    details: dict[str, Any] = {"shoe_color": _other(rng, "shoe_color", person.shoe_color)}
    details["bag"] = _other(rng, "bag", person.bag)
    if person.bag != "none":
        details["bag_color"] = _other(rng, "bag_color", person.bag_color)
    if person.hair_length != "bald":
        details["hair_color"] = _other(rng, "hair_color", person.hair_color)
    if person.upper_garment in {"shirt", "dress"}:
        details["sleeves"] = "short-sleeved" if person.sleeves == "long-sleeved" else "long-sleeved"
    if person.lower_garment not in {"jeans", "dress"}:
        details["lower_color"] = _other(rng, person.lower_garment, person.lower_color)
    detail = rng.choice(sorted(details))
    return replace(person, **{detail: details[detail]})


def _pick(rng: Random, what: str) -> str:
    weights = _WEIGHTS[what]
    return rng.choices(list(weights), list(weights.values()))[0]


def _other(rng: Random, what: str, than: str) -> str:
    while (other := _pick(rng, what)) == than:
        pass
    return other
