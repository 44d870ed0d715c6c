"""Sample people with random attributes, and write queries that describe what is visible of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from random import Random
from typing import Any


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


# Rare colors are about as frequent as common ones, so that a small data set contains all of them.
_WEIGHTS: dict[str, dict[str, int]] = {
    "upper_color": {
        **{"black": 9, "white": 9, "gray": 7, "blue": 8, "red": 9, "dark blue": 6, "green": 8, "light blue": 6},
        **{"pink": 7, "purple": 7, "yellow": 8, "orange": 8, "brown": 6, "beige": 5},
    },
    "male_upper": {"t-shirt": 30, "shirt": 18, "sweater": 13, "hoodie": 14, "jacket": 17, "coat": 5, "tank top": 3},
    "female_upper": {"t-shirt": 22, "shirt": 16, "sweater": 14, "hoodie": 8, "jacket": 14, "coat": 8, "tank top": 8},
    "male_lower": {"trousers": 52, "jeans": 18, "shorts": 30},
    "female_lower": {"trousers": 36, "jeans": 14, "shorts": 18, "skirt": 20, "dress": 12},
    "trousers": {
        **{"black": 17, "dark blue": 11, "gray": 12, "beige": 12, "brown": 12, "white": 12, "green": 12, "red": 12},
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

# Probability that a query mentions what is visible, and that it adds the color.
_MENTION = {"gender": 0.9, "upper": 0.97, "lower": 0.93, "shoes": 0.66, "hair": 0.66, "bag": 0.85, "hat": 0.85}
_MENTION_COLOR = {"upper": 0.96, "lower": 0.95, "shoes": 0.95, "hair": 0.8, "bag": 0.72, "hat": 0.75}
_MENTION_SLEEVES, _MENTION_PATTERN, _MENTION_LENGTH = 0.4, 0.8, 0.72
_SYNONYMS: dict[str, tuple[str, ...]] = {
    **{"male": ("man", "man", "guy", "gentleman"), "female": ("woman", "woman", "lady", "girl")},
    **{"gray": ("gray", "grey"), "purple": ("purple", "violet"), "beige": ("beige", "tan", "khaki")},
    **{"dark blue": ("dark blue", "navy blue", "navy"), "light blue": ("light blue", "pale blue", "sky-blue")},
    **{"t-shirt": ("t-shirt", "tee", "T-shirt"), "shirt": ("shirt", "button-up shirt", "shirt")},
    **{"sweater": ("sweater", "pullover", "jumper"), "trousers": ("trousers", "pants", "slacks")},
    **{"sneakers": ("sneakers", "trainers", "shoes"), "cap": ("cap", "hat"), "beanie": ("beanie", "hat")},
    **{"backpack": ("backpack", "rucksack"), "handbag": ("handbag", "purse")},
    **{"shoulder bag": ("shoulder bag", "messenger bag")},
}


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
            group = [_sample_person(rng)]
            if len(people) < 2 * pairs:
                group.append(_sample_twin(group[0], rng))
            descriptions = {person.description() for person in group}
            if not descriptions & taken:
                people += group
                taken |= descriptions
        rng.shuffle(people)  # separates the pairs
        splits[split] = people
    return splits


def _sample_person(rng: Random) -> Person:
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
    weights = _WEIGHTS[what]
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
        if value is None or rng.random() > _MENTION[kind]:
            return
        mentioned[noun] = value
        color_value = visible[color]
        if color_value is not None and rng.random() < _MENTION_COLOR[kind]:
            mentioned[color] = color_value

    if (gender := visible["gender"]) and rng.random() < _MENTION["gender"]:
        mentioned["gender"] = gender
    mention("upper", "upper_garment", "upper_color")
    if "upper_garment" in mentioned:
        if visible["pattern"] == "striped" and rng.random() < _MENTION_PATTERN:
            mentioned["pattern"] = "striped"
        if visible["upper_garment"] != "tank top" and visible["sleeves"] and rng.random() < _MENTION_SLEEVES:
            mentioned["sleeves"] = visible["sleeves"]
    if visible["lower_garment"] != "dress":  # a dress is mentioned as the upper garment
        mention("lower", "lower_garment", "lower_color")
    mention("shoes", "shoes", "shoe_color")
    if rng.random() < _MENTION["hair"]:
        if (color := visible["hair_color"]) and rng.random() < _MENTION_COLOR["hair"]:
            mentioned["hair_color"] = color
        if (length := visible["hair_length"]) and rng.random() < _MENTION_LENGTH:
            mentioned["hair_length"] = length
    mention("bag", "bag", "bag_color")
    mention("hat", "hat", "hat_color")
    return mentioned if {"upper_garment", "lower_garment"} & mentioned.keys() else _sample_mentioned(visible, rng)


def _sentence(mentioned: dict[str, str], rng: Random) -> str:
    gender = mentioned.get("gender")
    who = _synonym(gender, rng) if gender else rng.choice(("person", "pedestrian", "person"))
    subject, possessive = {"male": ("he", "his"), "female": ("she", "her"), None: ("they", "their")}[gender]
    has, is_, wears = ("has", "is", "wears") if gender else ("have", "are", "wear")
    clothes = [phrase for phrase in (_upper(mentioned, rng), _lower(mentioned, rng)) if phrase]
    shoes, hair = _shoes(mentioned, rng), _hair(mentioned)
    bag, hat = (_with_article(_phrase(mentioned, rng, f"{item}_color", item)) for item in ("bag", "hat"))
    form = rng.randrange(5)

    if form == 0:  # one sentence, hair first
        text = f"A {who}" + (f" with {hair}" if hair else "") + f" wearing {_join([*clothes, shoes])}"
        return text + (f", carrying {bag}" if bag else "") + (f", with {hat} on." if hat else ".")
    if form == 1:  # several short sentences
        sentences = [
            f"The {who} {'wears' if gender else 'is wearing'} {_join(clothes)}.",
            f"{subject.capitalize()} {has} {shoes} on {possessive} feet." if shoes else "",
            f"{subject.capitalize()} {has} {hair}." if hair else "",
            f"{subject.capitalize()} {is_} carrying {bag}." if bag else "",
            f"There is {hat} on {possessive} head." if hat else "",
        ]
        return " ".join(filter(None, sentences))
    if form == 2:  # keywords
        return ", ".join(filter(None, (who, hair, *map(_bare, clothes), shoes, _bare(bag), _bare(hat))))
    if form == 3:  # belongings first
        first, rest = (f"with {bag}", clothes) if bag else (f"in {clothes[0]}", clothes[1:])
        worn = _join([*rest, shoes])
        text = f"A {who} {first}" + (f" and {hat}" if hat else "") + (f", dressed in {worn}." if worn else ".")
        return f"{text} {possessive.capitalize()} hair is {_hair_words(mentioned)}." if hair else text
    start = f"Somebody is looking for a {who} who {wears}" if gender else f"Find a {who} in"
    text = f"{start} {_join(clothes)}"
    text += f" {'and' if len(clothes) == 1 else 'together with'} {shoes}" if shoes else ""
    details = [f"{subject} {has} {hair}" if hair else "", f"{subject} {is_} carrying {bag}" if bag else ""]
    details.append(f"{subject} {has} {hat} on" if hat else "")
    return f"{text}; {_join(details)}." if any(details) else f"{text}."


def _upper(mentioned: dict[str, str], rng: Random) -> str:
    if "upper_garment" not in mentioned:
        return ""
    words = [_synonym(mentioned.get("upper_color"), rng), mentioned.get("pattern", "")]
    sleeves = mentioned.get("sleeves", "")
    words = [*words, sleeves] if rng.random() < 0.5 else [sleeves, *words]
    return _with_article(" ".join(filter(None, (*words, _synonym(mentioned["upper_garment"], rng)))))


def _lower(mentioned: dict[str, str], rng: Random) -> str:
    phrase = _phrase(mentioned, rng, "lower_color", "lower_garment")
    return _with_article(phrase) if mentioned.get("lower_garment") == "skirt" else phrase


def _shoes(mentioned: dict[str, str], rng: Random) -> str:
    phrase = _phrase(mentioned, rng, "shoe_color", "shoes")
    return f"a pair of {phrase}" if phrase and rng.random() >= 0.8 else phrase


def _hair(mentioned: dict[str, str]) -> str:
    words = _hair_words(mentioned).replace(" and ", " ")
    return "a bald head" if words == "shaved" else f"{words} hair" if words else ""


def _hair_words(mentioned: dict[str, str]) -> str:
    length = mentioned.get("hair_length", "").replace("bald", "shaved")
    return " and ".join(filter(None, (length, mentioned.get("hair_color", ""))))


def _phrase(mentioned: dict[str, str], rng: Random, *names: str) -> str:
    return " ".join(filter(None, (_synonym(mentioned.get(name), rng) for name in names)))


def _synonym(value: str | None, rng: Random) -> str:
    return rng.choice(_SYNONYMS.get(value, (value,))) if value else ""


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" if phrase else ""


def _bare(phrase: str) -> str:
    return phrase.removeprefix("a ").removeprefix("an ")


def _join(phrases: list[str]) -> str:
    """Join phrases that are not empty: "a, b and c"."""
    *most, last = [phrase for phrase in phrases if phrase] or [""]
    return f"{', '.join(most)} and {last}" if most else last
