"""Generated captions said in other words, to train a text encoder that has read nothing else.

BLIP's encoder has read millions of sentences and knows that slacks are trousers. One trained from nothing knows only
the one style that it was shown, and a person's query is in no style. So a share of the training captions is said again:
some details left out, the rest in any order, with other words for the same thing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from captioning.lexicon import CARRIED, LOWERS, SHOES, UPPERS
from captioning.style import Slots, parse
from data.pairs import Paraphrase

Random = np.random.Generator

_PERSON = {
    "male": ("man", "male", "guy", "gentleman", "male pedestrian"),
    "female": ("woman", "female", "lady", "girl", "female pedestrian"),
    "": ("person", "pedestrian", "individual"),
}
_PRONOUN = {"male": "He", "female": "She"}
_KEPT = 0.85  # share of the details that a paraphrase keeps
_CANONICAL = 0.5  # share of the words that stay the canonical one
# What ties a detail to the person: in one sentence, and as a sentence of its own.
_TIES = {
    "upper": (("wearing", "dressed in", "in", "who wears"), ("is wearing", "wears", "is dressed in", "has on")),
    "lower": (("with", "and", "along with", "wearing"), ("is wearing", "wears", "also wears", "has")),
    "shoes": (("with", "and", "wearing", "walking in"), ("is wearing", "wears", "has on")),
    "hair": (("with", "who has"), ("has",)),
    "belongings": (("carrying", "with", "holding", "who has"), ("is carrying", "carries", "has", "is holding")),
}


def paraphrase_some(share: float) -> Paraphrase:
    """Say this share of captions in other words, the rest as they are."""

    def maybe(caption: str, random: Random) -> str:
        return paraphrase(caption, random) if random.random() < share else caption

    return maybe


def texts_to_learn_words_from(captions: Sequence[str], paraphrase: Paraphrase | None) -> list[str]:
    """What a vocabulary is trained on: the captions, and each once more as training may say it."""
    if paraphrase is None:
        return list(captions)
    said = (paraphrase(caption, np.random.default_rng(index)) for index, caption in enumerate(captions))
    return [*captions, *said]


def paraphrase(caption: str, random: Random) -> str:
    """Say what a caption in the style template says, or part of it, in other words; other texts stay as they are."""
    slots = parse(caption)
    details = [detail for detail in _details(slots, random) if random.random() < _KEPT]
    if not details:
        return caption
    if random.random() < 0.5:
        random.shuffle(details)
    person = str(random.choice(_PERSON.get(slots.gender or "", _PERSON[""])))
    if random.random() < 0.4:
        subjects = (f"The {person}", _PRONOUN.get(slots.gender or "", "The person"))
        return " ".join(
            f"{subjects[min(place, 1)]} {random.choice(_TIES[kind][1])} {words}."
            for place, (kind, words) in enumerate(details)
        )
    phrases = [f"{random.choice(_TIES[kind][0])} {words}" for kind, words in details]
    return f"A {person} {', '.join(phrases)}."


def _details(slots: Slots, random: Random) -> list[tuple[str, str]]:
    """Each thing that the slots name, in other words: (kind, words)."""
    upper = _garment(slots.upper_color, slots.upper_garment, "top", random)
    found = {
        "upper": f"{_article(upper)} {upper}" if upper else "",
        "lower": _garment(slots.lower_color, slots.lower_garment, "trousers", random),
        "shoes": _garment(slots.shoe_color, slots.shoes, "shoes", random),
        "hair": " ".join(word for word in (slots.hairstyle, slots.hair_color, "hair") if word),
        "belongings": _other_words(slots.belongings or "", random),
    }
    if slots.hairstyle is None and slots.hair_color is None:
        found["hair"] = ""
    if slots.belongings == "nothing":
        found["belongings"] = ""
    return [(kind, words) for kind, words in found.items() if words]


def _garment(color: str | None, garment: str | None, unknown: str, random: Random) -> str:
    if color is None and garment is None:
        return ""
    return " ".join(word for word in (color, _other_words(garment or unknown, random)) if word)


def _other_words(text: str, random: Random) -> str:
    """Put synonyms in place of some words, as `captioning.lexicon` knows them: "black trousers" -> "black slacks"."""
    for canonical, others in _SYNONYMS.items():
        if random.random() >= _CANONICAL and re.search(rf"\b{canonical}\b", text):
            return text.replace(canonical, str(random.choice(others)), 1)
    return text


def _synonyms(*tables: dict[str, str]) -> dict[str, list[str]]:
    """{canonical: other words for it}, longest first, so that "short-sleeved top" goes before "top"."""
    found: dict[str, list[str]] = {}
    for table in tables:
        for word, canonical in table.items():
            if word != canonical:
                found.setdefault(canonical, []).append(word)
    return {word: found[word] for word in sorted(found, key=lambda word: (-len(word), word))}


_SYNONYMS = _synonyms(UPPERS, LOWERS, SHOES, CARRIED)


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"
