"""Sample people with random attributes and colors, and write queries that describe what is visible of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

from data.demo.canvas import Color
from utils.files import read_tables

Vary = Callable[[Color, Random], Color]

_TABLES = read_tables(Path(__file__).with_suffix(".yaml"))
_SHADES = _TABLES["shades"]


@dataclass(frozen=True)
class Person:
    """The attributes of a person, the same in every picture."""

    look: int  # seed of what has no name: shades, skin tone, stoutness
    gender: str
    upper_color: str
    upper_garment: str  # the outermost one; "dress" if it is the lower garment as well
    pattern: str  # plain, striped
    sleeves: str  # short-sleeved, long-sleeved, sleeveless
    lower_color: str
    lower_garment: str
    shoe_color: str
    shoes: str
    hair_length: str  # short, medium-length, long, bald
    hair_color: str
    hair_style: str  # loose, tied
    bag: str  # backpack, handbag, shoulder bag, none
    bag_color: str
    hat: str  # cap, beanie, none
    hat_color: str

    def description(self) -> tuple[str, ...]:
        """Return all attributes that have a name."""
        return tuple(value for value in vars(self).values() if isinstance(value, str))


@dataclass(frozen=True)
class Shades:
    """The sRGB shades of a person, the same in every picture."""

    skin: Color
    hair: Color
    upper: Color
    stripe: Color
    under: Color  # what an open jacket shows
    lower: Color
    shoes: Color
    bag: Color
    hat: Color

    @classmethod
    def of(cls, person: Person, tone: float, vary: Vary | None = None) -> Shades:
        """Choose the shades of a person with a skin tone from 0 (light) to 1 (dark).

        Args:
            vary: changes each shade at random, more than people of the demo differ.
        """
        rng = Random(f"{person.look} shades")

        def cloth(name: str) -> Color:
            return _vary(rng.choice(_SHADES["cloth"][name]), rng, 8)

        tones = _SHADES["skin"]
        skin = _vary(tones[min(len(tones) - 1, int(tone * len(tones)))], rng, 4)
        hair = _vary(rng.choice(_SHADES["hair"][person.hair_color]), rng, 6)
        upper = cloth(person.upper_color)
        dark = sum(upper) < 330
        stripe = cloth(rng.choice(("white", "light blue") if dark else ("black", "dark blue")))
        under = cloth(rng.choice([name for name in ("black", "white", "gray") if name != person.upper_color]))
        jeans = person.lower_garment == "jeans"
        lower = _vary(rng.choice(_SHADES["denim"]), rng, 6) if jeans else cloth(person.lower_color)
        if person.lower_garment == "dress":
            lower = upper
        shoes, bag, hat = (cloth(name) for name in (person.shoe_color, person.bag_color, person.hat_color))
        shades = (skin, hair, upper, stripe, under, lower, shoes, bag, hat)
        return cls(*(vary(shade, rng) for shade in shades) if vary else shades)


def _vary(color: Color, rng: Random, spread: int) -> Color:
    """Change a color at random: its lightness by up to `spread` levels, its hue hardly."""
    lighter = rng.randint(-spread, spread)
    return tuple(min(255, max(0, channel + lighter + rng.randint(-3, 3))) for channel in color)


def sample_people(seed: int, counts: Mapping[str, int]) -> dict[str, list[Person]]:
    """Return the people of each split; no two of all of them have the same description.

    Args:
        seed: of all random choices.
        counts: number of people in each split.
    """
    rng = Random(f"{seed} people")
    taken: set[tuple[str, ...]] = set()
    splits: dict[str, list[Person]] = {}
    for split, count in counts.items():
        pairs = ceil(count * 0.1 / 2) if count > 1 else 0  # a tenth differ from another person in one attribute only
        people: list[Person] = []
        while len(people) < count:
            group = [sample_person(rng)]
            if len(people) < 2 * pairs:
                group.append(_sample_twin(group[0], rng))
            descriptions = {person.description() for person in group}
            if not descriptions & taken:
                people += group
                taken |= descriptions
        rng.shuffle(people)  # separates the pairs
        splits[split] = people
    return splits


def sample_person(rng: Random) -> Person:
    """Return a person with random attributes."""
    gender = rng.choice(("male", "female"))
    lower_garment = _sample(rng, f"{gender}_lower")
    upper_garment = _sample(rng, f"{gender}_upper")
    upper_color = _sample(rng, "upper_color")
    lower_color = "blue" if lower_garment == "jeans" else _sample(rng, lower_garment)
    if lower_garment == "dress":
        upper_garment, upper_color = "dress", lower_color
    sleeves = {"t-shirt": "short-sleeved", "tank top": "sleeveless"}.get(upper_garment)
    if sleeves is None:
        long_sleeved = {"shirt": 0.7, "dress": 0.35}.get(upper_garment, 1.0)
        sleeves = "long-sleeved" if rng.random() < long_sleeved else "short-sleeved"
    if upper_garment == "dress" and rng.random() < 0.35:
        sleeves = "sleeveless"
    striped = upper_garment in {"t-shirt", "sweater"} and rng.random() < 0.14
    hair_length = _sample(rng, f"{gender}_hair")
    return Person(
        look=rng.getrandbits(32),
        gender=gender,
        upper_color=upper_color,
        upper_garment=upper_garment,
        pattern="striped" if striped else "plain",
        sleeves=sleeves,
        lower_color=lower_color,
        lower_garment=lower_garment,
        shoe_color=_sample(rng, "shoe_color"),
        shoes="boots" if lower_garment != "shorts" and rng.random() < 0.14 else rng.choice(("sneakers", "shoes")),
        hair_length=hair_length,
        hair_color=_sample(rng, "hair_color"),
        hair_style="tied" if hair_length == "long" and rng.random() < 0.4 else "loose",
        **{name: _sample(rng, name) for name in ("bag", "bag_color", "hat", "hat_color")},
    )


def _sample_twin(person: Person, rng: Random) -> Person:
    """Return a person who differs from `person` in one attribute only."""
    changes: dict[str, Any] = {
        name: _sample(rng, name, other_than=getattr(person, name)) for name in ("shoe_color", "bag")
    }
    if person.bag != "none":
        changes["bag_color"] = _sample(rng, "bag_color", other_than=person.bag_color)
    if person.hair_length != "bald":
        changes["hair_color"] = _sample(rng, "hair_color", other_than=person.hair_color)
    if person.upper_garment in {"shirt", "dress"}:
        changes["sleeves"] = "short-sleeved" if person.sleeves == "long-sleeved" else "long-sleeved"
    if person.lower_garment not in {"jeans", "dress"}:
        changes["lower_color"] = _sample(rng, person.lower_garment, other_than=person.lower_color)
    name = rng.choice(sorted(changes))
    return replace(person, **{name: changes[name]})


def _sample(rng: Random, what: str, other_than: str = "") -> str:
    weights = _TABLES["weights"][what]
    while (value := rng.choices(list(weights), list(weights.values()))[0]) == other_than:
        pass
    return value


def write_queries(visible: Mapping[str, str | None], rng: Random) -> tuple[str, str]:
    """Return two sentences that mention different attributes of a picture.

    Args:
        visible: {attribute: value, or None where it cannot be seen}.
        rng: source of the choices.
    """
    first = _sample_mentioned(visible, rng)
    while (second := _sample_mentioned(visible, rng)) == first:
        pass
    return _sentence(first, rng), _sentence(second, rng)


def _sample_mentioned(visible: Mapping[str, str | None], rng: Random) -> dict[str, str]:
    """Sample the attributes to mention out of those that are visible; a garment is always among them."""
    mentioned: dict[str, str] = {}

    def mention(kind: str, noun: str, color: str) -> None:
        value = visible[noun]
        if value is None or rng.random() > _TABLES["mention"][kind]:
            return
        mentioned[noun] = value
        color_value = visible[color]
        if color_value is not None and rng.random() < _TABLES["mention_color"][kind]:
            mentioned[color] = color_value

    if (gender := visible["gender"]) and rng.random() < _TABLES["mention"]["gender"]:
        mentioned["gender"] = gender
    mention("upper", "upper_garment", "upper_color")
    if "upper_garment" in mentioned:
        if visible["pattern"] == "striped" and rng.random() < 0.8:
            mentioned["pattern"] = "striped"
        if visible["upper_garment"] != "tank top" and visible["sleeves"] and rng.random() < 0.4:
            mentioned["sleeves"] = visible["sleeves"]
    if visible["lower_garment"] != "dress":  # a dress is mentioned as the upper garment
        mention("lower", "lower_garment", "lower_color")
    mention("shoes", "shoes", "shoe_color")
    if rng.random() < _TABLES["mention"]["hair"]:
        if (color := visible["hair_color"]) and rng.random() < _TABLES["mention_color"]["hair"]:
            mentioned["hair_color"] = color
        if (length := visible["hair_length"]) and rng.random() < 0.72:
            mentioned["hair_length"] = length
    mention("bag", "bag", "bag_color")
    mention("hat", "hat", "hat_color")
    return mentioned if {"upper_garment", "lower_garment"} & mentioned.keys() else _sample_mentioned(visible, rng)


def _sentence(mentioned: dict[str, str], rng: Random) -> str:
    """Describe the mentioned attributes in one of the forms of people.yaml."""

    def phrase(*names: str) -> str:
        values = [mentioned[name] for name in names if name in mentioned]
        return " ".join(rng.choice(_TABLES["synonyms"].get(value, [value])) for value in values)

    gender = mentioned.get("gender", "unknown")
    who = rng.choice(_TABLES["synonyms"][gender])
    upper = ""
    if "upper_garment" in mentioned:
        words = [phrase("upper_color"), mentioned.get("pattern", "")]
        words.insert(2 if rng.random() < 0.5 else 0, mentioned.get("sleeves", ""))
        upper = _with_article(" ".join(filter(None, (*words, phrase("upper_garment")))))
    lower = phrase("lower_color", "lower_garment")
    if mentioned.get("lower_garment") == "skirt":
        lower = _with_article(lower)
    shoes = phrase("shoe_color", "shoes")
    if shoes and rng.random() >= 0.8:
        shoes = f"a pair of {shoes}"
    bag, hat = _with_article(phrase("bag_color", "bag")), _with_article(phrase("hat_color", "hat"))
    length, color = mentioned.get("hair_length", "").replace("bald", "shaved"), mentioned.get("hair_color", "")
    hair = f"{length} {color} hair".replace("  ", " ").lstrip() if length or color else ""

    clothes = [garment for garment in (upper, lower) if garment]
    values = _TABLES["grammar"][gender] | {
        "who": who,
        "gendered": who if gender != "unknown" else "",
        "genderless": who if gender == "unknown" else "",
        "clothes": _join(clothes),
        "shoes": shoes,
        "outfit": _join([*clothes, shoes]),
        "first": f"with {bag}" if bag else f"in {clothes[0]}",
        "rest": _join([*(clothes if bag else clothes[1:]), shoes]),
        "linked_shoes": shoes and f"{'and' if len(clothes) == 1 else 'together with'} {shoes}",
        "hair": "a bald head" if length == "shaved" else hair,
        "hair_words": " and ".join(filter(None, (length, color))),
        "bag": bag,
        "hat": hat,
    }
    for name, text in {"upper": upper, "lower": lower, "bag": bag, "hat": hat}.items():
        values[f"bare_{name}"] = text.removeprefix("a ").removeprefix("an ")
    values |= {name.capitalize(): values[name].capitalize() for name in ("subject", "possessive")}
    values["details"] = _join([_fill(detail, values) for detail in _TABLES["details"]])
    return _fill(rng.choice(_TABLES["forms"]), values)


def _fill(form: str, values: Mapping[str, str]) -> str:
    """Fill in the {names} of a form; a part in [brackets] is left out where one of its names is empty."""

    def part(match: re.Match[str]) -> str:
        return match[1] if all(values[name] for name in re.findall(r"{(\w+)}", match[1])) else ""

    return re.sub(r"\[([^]]*)\]", part, form).format_map(values)


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" if phrase else ""


def _join(phrases: list[str]) -> str:
    """Join phrases that are not empty: "a, b and c"."""
    *most, last = [phrase for phrase in phrases if phrase] or [""]
    return f"{', '.join(most)} and {last}" if most else last
