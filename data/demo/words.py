"""What people would say of somebody they see: free sentences that mention some of what is visible, in varied words."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

Seen = Mapping[str, str | None]

# How often somebody who sees a thing mentions it.
_MENTIONED = {"gender": 0.9, "upper": 0.97, "lower": 0.93, "shoes": 0.66, "hair": 0.66, "bag": 0.85, "hat": 0.85}
_DETAILED = {"upper": 0.96, "lower": 0.95, "shoes": 0.95, "hair": 0.8, "bag": 0.72, "hat": 0.75}  # its colour as well
_SLEEVES_SAID, _PATTERN_SAID, _LENGTH_SAID = 0.4, 0.8, 0.72

_SAID: dict[str, tuple[str, ...]] = {
    "male": ("man", "man", "guy", "gentleman"),
    "female": ("woman", "woman", "lady", "girl"),
    "gray": ("gray", "grey"),
    "dark blue": ("dark blue", "navy blue", "navy"),
    "light blue": ("light blue", "pale blue", "sky-blue"),
    "purple": ("purple", "violet"),
    "beige": ("beige", "tan", "khaki"),
    "t-shirt": ("t-shirt", "tee", "T-shirt"),
    "shirt": ("shirt", "button-up shirt", "shirt"),
    "sweater": ("sweater", "pullover", "jumper"),
    "hoodie": ("hoodie",),
    "trousers": ("trousers", "pants", "slacks"),
    "jeans": ("jeans",),
    "sneakers": ("sneakers", "trainers", "shoes"),
    "backpack": ("backpack", "rucksack"),
    "handbag": ("handbag", "purse"),
    "shoulder bag": ("shoulder bag", "messenger bag"),
    "beanie": ("beanie", "hat"),
    "cap": ("cap", "hat"),
    "striped": ("striped",),
}


def two_queries(seen: Seen, rng: Random) -> tuple[str, str]:
    """Two sentences about one picture; they do not mention the same things."""
    first = _chosen(seen, rng)
    while (second := _chosen(seen, rng)) == first:
        pass
    return _sentence(first, rng), _sentence(second, rng)


def _chosen(seen: Seen, rng: Random) -> dict[str, str]:
    """The attributes to mention, out of those that are seen; a garment is always mentioned."""
    said: dict[str, str] = {}

    def mention(kind: str, noun: str, colour: str) -> bool:
        thing = seen[noun]
        if thing is None or rng.random() > _MENTIONED[kind]:
            return False
        said[noun] = thing
        tint = seen[colour]
        if tint is not None and rng.random() < _DETAILED[kind]:
            said[colour] = tint
        return True

    if (gender := seen["gender"]) and rng.random() < _MENTIONED["gender"]:
        said["gender"] = gender
    if mention("upper", "upper_garment", "upper_color"):
        if seen["pattern"] == "striped" and rng.random() < _PATTERN_SAID:
            said["pattern"] = "striped"
        if seen["upper_garment"] != "tank top" and seen["sleeves"] and rng.random() < _SLEEVES_SAID:
            said["sleeves"] = seen["sleeves"]
    if seen["lower_garment"] == "dress":
        if "upper_garment" in said:  # a dress is one garment, said once
            said["lower_garment"] = "dress"
    else:
        mention("lower", "lower_garment", "lower_color")
    mention("shoes", "shoes", "shoe_color")
    if rng.random() < _MENTIONED["hair"]:
        if (colour := seen["hair_color"]) and rng.random() < _DETAILED["hair"]:
            said["hair_color"] = colour
        if (length := seen["hair_length"]) and rng.random() < _LENGTH_SAID:
            said["hair_length"] = length
    mention("bag", "bag", "bag_color")
    mention("hat", "hat", "hat_color")
    return said if {"upper_garment", "lower_garment"} & said.keys() else _chosen(seen, rng)


def _sentence(said: dict[str, str], rng: Random) -> str:
    gender = said.get("gender")
    who = _word(gender, rng) if gender else rng.choice(("person", "pedestrian", "person"))
    subject, possessive = {"male": ("he", "his"), "female": ("she", "her"), None: ("they", "their")}[gender]
    clothes = [phrase for phrase in (_upper(said, rng), _lower(said, rng)) if phrase]
    shoes, hair = _shoes(said, rng), _hair(said)
    things = [
        _a(_join(said, rng, colour, noun))
        for noun, colour in (("bag", "bag_color"), ("hat", "hat_color"))
        if noun in said
    ]
    bag = things[0] if "bag" in said else ""
    hat = things[-1] if "hat" in said else ""
    form = rng.randrange(5)
    has, is_, wears = ("have", "are", "wear") if gender is None else ("has", "is", "wears")

    if form == 0:  # one sentence, hair first
        text = f"A {who}" + (f" with {hair}" if hair else "") + f" wearing {_list([*clothes, *filter(None, [shoes])])}"
        text += f", carrying {bag}" if bag else ""
        text += f", with {hat} on" if hat else ""
        return f"{text}."
    if form == 1:  # several short ones
        parts = [f"The {who} {'wears' if gender else 'is wearing'} {_list(clothes)}."]
        if shoes:
            parts.append(f"{subject.capitalize()} {has} {shoes} on {possessive} feet.")
        if hair:
            parts.append(f"{subject.capitalize()} {has} {hair}.")
        if bag:
            parts.append(f"{subject.capitalize()} {is_} carrying {bag}.")
        if hat:
            parts.append(f"There is {hat} on {possessive} head.")
        return " ".join(parts)
    if form == 2:  # as typed in a hurry
        return ", ".join(filter(None, (who, hair, *map(_bare, clothes), shoes, _bare(bag), _bare(hat))))
    if form == 3:  # what is carried first
        first = f"with {bag}" if bag else f"in {clothes[0]}"
        worn = clothes if bag else clothes[1:]
        text = f"A {who} {first}" + (f" and {hat}" if hat else "")
        rest = [*worn, *filter(None, [shoes])]
        if rest:
            text += f", dressed in {_list(rest)}"
        return f"{text}. {possessive.capitalize()} hair is {_hair_alone(said)}." if hair else f"{text}."
    text = (
        f"Somebody is looking for a {who} who {wears} {_list(clothes)}"
        if gender
        else f"Find a {who} in {_list(clothes)}"
    )
    text += f" and {shoes}" if shoes and len(clothes) == 1 else f" together with {shoes}" if shoes else ""
    tail = [f"{subject} {has} {hair}" if hair else "", f"{subject} {is_} carrying {bag}" if bag else ""]
    tail.append(f"{subject} {has} {hat} on" if hat else "")
    told = [part for part in tail if part]
    return f"{text}; {_list(told)}." if told else f"{text}."


def _upper(said: dict[str, str], rng: Random) -> str:
    if "upper_garment" not in said:
        return ""
    words = [said.get("sleeves", ""), _word(said.get("upper_color"), rng), said.get("pattern", "")]
    if rng.random() < 0.5:
        words = [words[1], words[2], words[0]]
    return _a(" ".join(filter(None, (*words, _word(said["upper_garment"], rng)))))


def _lower(said: dict[str, str], rng: Random) -> str:
    garment = said.get("lower_garment")
    if garment is None or garment == "dress":
        return ""
    phrase = _join(said, rng, "lower_color", "lower_garment")
    return _a(phrase) if garment == "skirt" else phrase


def _shoes(said: dict[str, str], rng: Random) -> str:
    if "shoes" not in said:
        return ""
    phrase = _join(said, rng, "shoe_color", "shoes")
    return phrase if rng.random() < 0.8 else f"a pair of {phrase}"


def _hair(said: dict[str, str]) -> str:
    if said.get("hair_length") == "bald":
        return "a bald head"
    alone = _hair_alone(said).replace(" and ", " ")
    return f"{alone} hair" if alone else ""


def _hair_alone(said: dict[str, str]) -> str:
    length = "shaved" if said.get("hair_length") == "bald" else said.get("hair_length", "")
    return " and ".join(filter(None, (length, said.get("hair_color", ""))))


def _join(said: dict[str, str], rng: Random, *keys: str) -> str:
    return " ".join(filter(None, (_word(said.get(key), rng) for key in keys)))


def _word(value: str | None, rng: Random) -> str:
    return rng.choice(_SAID.get(value, (value,))) if value else ""


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _bare(phrase: str) -> str:
    return phrase.removeprefix("a ").removeprefix("an ")


def _list(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
