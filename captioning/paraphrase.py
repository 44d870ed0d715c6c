"""Generated captions said in other words, to train a text encoder that has read nothing else.

BLIP's encoder has read millions of sentences and knows that slacks are trousers. One trained from nothing knows only
the one style that it was shown, and a person's query is in no style. So a share of the training captions is said again:
some details left out, the rest in any order, with other words for the same thing, and beside them what people say and
captions never tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from captioning.lexicon import CARRIED, COLOURS, HAIR_COLOURS, LOWERS, PLURAL_CARRIED, SHOES, UPPERS
from captioning.style import Slots, parse, render, with_article
from captioning.untold import find_untold, say_untold
from data.pairs import Paraphrase

Random = np.random.Generator

_PERSON = {
    "male": ("man", "male", "guy", "gentleman", "male pedestrian"),
    "female": ("woman", "female", "lady", "girl", "female pedestrian"),
    "": ("person", "pedestrian", "individual"),
}
_PRONOUN = {"male": ("He", "His"), "female": ("She", "Her")}
_KEPT = 0.85  # share of the details that a paraphrase keeps
_CANONICAL = 0.5  # share of the words that stay the canonical one
# What people write around a description; half of them nothing.
_OPENINGS = (*[""] * 6, "there is ", "find ", "somebody is looking for ", "this is ", "the picture shows ", "I saw ")
_ENDINGS = (
    *[""] * 6,
    " walking down the street",
    " standing on the pavement",
    " facing the camera",
    " seen from behind",
)
_ENDINGS += (" looking ahead", " who walks with one foot in front of the other")
# What ties a detail to the person: in one sentence, and as a sentence of its own.
_TIES = {
    "upper": (("wearing", "dressed in", "in", "who wears"), ("is wearing", "wears", "is dressed in", "has on")),
    "lower": (("with", "and", "along with", "wearing"), ("is wearing", "wears", "also wears", "has")),
    "shoes": (("with", "and", "wearing", "walking in"), ("is wearing", "wears", "has on")),
    "hair": (("with", "who has"), ("has",)),
    "belongings": (("carrying", "with", "holding", "who has"), ("is carrying", "carries", "has", "is holding")),
}


def paraphrase_some(share: float, captions: Sequence[str]) -> Paraphrase:
    """Say this share of captions in other words; what none of `captions` tells is said at random in all of them."""
    untold = find_untold(captions)

    def maybe(caption: str, random: Random) -> str:
        slots = parse(caption)
        if not slots:
            return caption
        said = say_untold(slots, untold, random)
        if random.random() < share:
            return paraphrase(said, random)
        return caption if said == slots else render(said)

    return maybe


def texts_to_learn_words_from(captions: Sequence[str], paraphrase: Paraphrase | None) -> list[str]:
    """What a vocabulary is trained on: the captions, and each once more as training may say it."""
    if paraphrase is None:
        return list(captions)
    said = (paraphrase(caption, np.random.default_rng(index)) for index, caption in enumerate(captions))
    return [*captions, *said]


def paraphrase(slots: Slots, random: Random) -> str:
    """Say what fills the slots of the style template, or part of it, in other words."""
    details = [detail for detail in _details(slots, random) if random.random() < _KEPT]
    if not details:
        return render(slots)
    if random.random() < 0.5:
        random.shuffle(details)
    person = str(random.choice(_PERSON.get(slots.gender or "", _PERSON[""])))
    form = random.random()
    if form < 0.4:
        return _sentences(person, slots.gender, details, random)
    if form < 0.55:  # as typed in a hurry
        return ", ".join([person, *(re.sub(r"^an? ", "", words) for _, words in details)])
    phrases = [f"{random.choice(_TIES[kind][0])} {words}" for kind, words in details]
    opening, ending = (str(random.choice(some)) for some in (_OPENINGS, _ENDINGS))
    return f"{opening}{with_article(person)} {', '.join(phrases)}{ending}.".capitalize()


def _sentences(person: str, gender: str | None, details: list[tuple[str, str]], random: Random) -> str:
    """A sentence for each detail."""
    subject, possessive = _PRONOUN.get(gender or "", ("The person", "Their"))
    told = []
    for place, (kind, words) in enumerate(details):
        if kind == "hair" and random.random() < 0.5:
            told.append(f"{possessive} hair is {' and '.join(words.split()[:-1])}.")
        else:
            told.append(f"{subject if place else f'The {person}'} {random.choice(_TIES[kind][1])} {words}.")
    return " ".join(told)


def _details(slots: Slots, random: Random) -> list[tuple[str, str]]:
    """Each thing that the slots name, in other words: (kind, words)."""
    upper = _garment(slots.upper_color, slots.upper_garment, "top", random)
    found = {
        "upper": with_article(upper) if upper else "",
        "lower": _garment(slots.lower_color, slots.lower_garment, "trousers", random),
        "shoes": _garment(slots.shoe_color, slots.shoes, "shoes", random),
        "hair": _other_words(" ".join(filter(None, (slots.hairstyle, slots.hair_color, "hair"))), random),
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
    return _other_words(" ".join(word for word in (color, garment or unknown) if word), random)


def _other_words(text: str, random: Random) -> str:
    """Put synonyms in place of words, as `captioning.lexicon` knows them: "dark blue trousers" -> "navy slacks"."""

    def other(found: re.Match[str]) -> str:
        return found[0] if random.random() < _CANONICAL else str(random.choice(_SYNONYMS[found[0]]))

    text = _CANONICAL_WORDS.sub(other, text)
    return re.sub(r"\ban? (?=([\w-]+))", lambda article: with_article(article[1])[: -len(article[1])], text)


def _synonyms(*tables: dict[str, str]) -> dict[str, list[str]]:
    """{canonical: other words for it}, longest first, so that "short-sleeved top" goes before "top"."""
    found: dict[str, list[str]] = {}
    for table in tables:
        for word, canonical in table.items():
            if word not in {canonical, *_OF_HAIR} and (canonical in _PLURAL or not word.endswith("s")):
                found.setdefault(canonical, []).append(word)
    return {word: found[word] for word in sorted(found, key=lambda word: (-len(word), word))}


_OF_HAIR = {*HAIR_COLOURS, "auburn", "ginger"}  # colours that no cloth is said to have
# Of what is worn in pairs or carried in numbers; "a bag" has no synonym "bags".
_PLURAL = {*PLURAL_CARRIED, *LOWERS.values(), *SHOES.values()}
_SYNONYMS = _synonyms(COLOURS, UPPERS, LOWERS, SHOES, CARRIED)
_CANONICAL_WORDS = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, _SYNONYMS))})(?![\w-])")
