"""Paraphrases of generated captions, to train a text encoder from scratch.

BLIP's text encoder is pretrained on millions of sentences and knows that slacks are trousers. An encoder without
pretraining knows only the style of the captions, whereas users write queries in any style. So a share of the training
captions is paraphrased: some details are dropped, the others come in any order and with synonyms. Slots that no caption
fills, but queries do, are filled at random: the palette captioner cannot see gender or the length of hair, and to an
encoder that never read "woman" the word would be noise, which moves every query with it. Words at random next to
captions are learned to carry no information about the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from string import ascii_lowercase

import numpy as np

from captioning.lexicon import AGES, CARRIED, COLORS, HAIR_COLORS, HAIR_LENGTHS, LOWERS, PLURAL_CARRIED, SHOES, UPPERS
from captioning.style.template import Slots, parse, render, with_article
from data.pairs import Paraphrase
from utils.files import read_tables

Random = np.random.Generator

_RARE = 0.02  # a slot that a smaller share of the captions fills counts as unused
_FILL = 0.5  # probability of filling an unused slot
_KEEP = 0.85  # probability of keeping a detail
_CANONICAL = 0.5  # probability of keeping the canonical word

_WORDS = read_tables(Path(__file__).with_suffix(".yaml"))
_GARMENT_COLORS = {"upper_garment": "upper_color", "lower_garment": "lower_color", "shoes": "shoe_color"}
_GARMENT_NAMES = {"upper_garment": UPPERS, "lower_garment": LOWERS, "shoes": SHOES}
_PRONOUN = {"male": ("He", "His"), "female": ("She", "Her")}


@dataclass(frozen=True)
class UnusedSlots:
    """What no caption of a data set mentions."""

    slots: tuple[str, ...]  # fields of `Slots` that are never filled
    nouns: dict[str, tuple[str, ...]]  # {garment slot: unused nouns}, for slots that only one noun fills, or none


def random_paraphrase(
    share: float, captions: Sequence[str], *, fill_unused: bool = True, unknown_words: bool = False
) -> Paraphrase:
    """Return a function that paraphrases a share of captions, and fills slots that none of `captions` uses in all.

    Captions that do not follow the template stay as they are.

    Args:
        fill_unused: False for a model that has learned what these slots mean, which random values would make it forget.
        unknown_words: put words at random between those of half of the paraphrases: users write words that no caption
            contains, and a text encoder that never met one would be led astray by it.
    """
    unused = find_unused_slots(captions) if fill_unused else UnusedSlots((), {})

    def apply(caption: str, random: Random, count: int) -> list[str]:
        slots = parse(caption)
        if not slots:
            return [caption] * count
        filled = fill_unused_slots(slots, unused, random)
        same = caption if filled == slots else render(filled)
        wordings = [paraphrase(filled, random) if random.random() < share else same for _ in range(count)]
        if not unknown_words:
            return wordings
        return [
            text if text == same or random.random() < 0.5 else _insert_unknown_words(text, random) for text in wordings
        ]

    return apply


def vocabulary_texts(captions: Sequence[str], paraphrase: Paraphrase | None) -> list[str]:
    """Return the texts to train a vocabulary on: the captions, and one paraphrase of each."""
    if paraphrase is None:
        return list(captions)
    return [*captions, *(paraphrase(caption, np.random.default_rng(i), 1)[0] for i, caption in enumerate(captions))]


def find_unused_slots(captions: Sequence[str]) -> UnusedSlots:
    """Return what the captions never mention; nothing if they do not follow the template."""
    parsed = [slots for slots in map(parse, captions) if slots]
    if not parsed:
        return UnusedSlots((), {})
    names = [field.name for field in fields(Slots)]
    values = {name: [value for slots in parsed if (value := getattr(slots, name))] for name in names}
    slots = tuple(name for name in names if name not in _GARMENT_NAMES and len(values[name]) < _RARE * len(parsed))
    nouns = {}
    for name, table in _GARMENT_NAMES.items():
        used = {value.split()[-1] for value in values[name]}
        if len(used) <= 1:
            known = _unique(canonical.split()[-1] for canonical in table.values())
            nouns[name] = tuple(noun for noun in known if noun not in used)
    return UnusedSlots(slots, nouns)


def fill_unused_slots(slots: Slots, unused: UnusedSlots, random: Random) -> Slots:
    """Fill some of the unused slots at random; what the caption mentions stays."""
    values: dict[str, str] = {}
    for name in unused.slots:
        if getattr(slots, name) is None and random.random() < _FILL:
            values[name] = _random_value(name, random)
    for name, nouns in unused.nouns.items():
        garment, color = getattr(slots, name), getattr(slots, _GARMENT_COLORS[name])
        # "short-sleeved top" is more specific than a noun, and another noun might contradict it
        if (garment is None or " " not in garment) and (garment or color) and random.random() < _FILL:
            values[name] = str(random.choice(nouns))
    return replace(slots, **values)


def paraphrase(slots: Slots, random: Random) -> str:
    """Return a sentence in free style that mentions the slots, or some of them."""
    details = [detail for detail in _details(slots, random) if random.random() < _KEEP]
    if not details:
        return render(slots)
    if random.random() < 0.5:
        random.shuffle(details)
    person = str(random.choice(_WORDS["person"].get(slots.gender, _WORDS["person"]["unknown"])))
    form = random.random()
    if form < 0.4:
        return _sentences(person, slots.gender, details, random)
    if form < 0.55:  # keywords only
        return ", ".join([person, *(re.sub(r"^an? ", "", words) for _, words in details)])
    phrases = [f"{random.choice(_WORDS['phrases'][kind])} {words}" for kind, words in details]
    opening, ending = (str(random.choice([""] * len(some) + some)) for some in (_WORDS["openings"], _WORDS["endings"]))
    text = " ".join(filter(None, (opening, with_article(person), ", ".join(phrases), ending)))
    return f"{text}.".capitalize()


def _insert_unknown_words(text: str, random: Random) -> str:
    """Insert one to four words of random letters."""
    words = text.split()
    for _ in range(int(random.integers(1, 5))):
        letters = random.choice(list(ascii_lowercase), int(random.integers(2, 9)))
        words.insert(int(random.integers(len(words) + 1)), "".join(letters))
    return " ".join(words)


def _random_value(name: str, random: Random) -> str:
    choices = {
        "gender": ("male", "female"),
        "hairstyle": _unique(HAIR_LENGTHS.values()),
        "hair_color": _WORDS["random_hair_colors"],
        "age_group": _unique(AGES.values()),
        "belongings": _unique(CARRIED.values()),
    }
    colors = _unique(COLORS.values())
    value = str(random.choice(choices.get(name, colors)))
    if name != "belongings":
        return value
    value = f"{random.choice(colors)} {value}" if random.random() < _FILL else value
    return value if value.split()[-1] in PLURAL_CARRIED else with_article(value)


def _sentences(person: str, gender: str | None, details: list[tuple[str, str]], random: Random) -> str:
    """Return one sentence for each detail."""
    subject, possessive = _PRONOUN.get(gender or "", ("The person", "Their"))
    sentences = []
    for i, (kind, words) in enumerate(details):
        if kind == "hair" and random.random() < 0.5:
            sentences.append(f"{possessive} hair is {' and '.join(words.split()[:-1])}.")
        else:
            sentences.append(f"{subject if i else f'The {person}'} {random.choice(_WORDS['verbs'][kind])} {words}.")
    return " ".join(sentences)


def _details(slots: Slots, random: Random) -> list[tuple[str, str]]:
    """Return (kind, words) of each thing that the slots name, with synonyms."""
    garments = {
        "upper": (slots.upper_color, slots.upper_garment, "top"),
        "lower": (slots.lower_color, slots.lower_garment, "trousers"),
        "shoes": (slots.shoe_color, slots.shoes, "shoes"),
    }
    named = [(kind, f"{color or ''} {noun or name}") for kind, (color, noun, name) in garments.items() if color or noun]
    if slots.hairstyle or slots.hair_color:
        named.append(("hair", f"{slots.hairstyle or ''} {slots.hair_color or ''} hair"))
    if slots.belongings and slots.belongings != "nothing":
        named.append(("belongings", slots.belongings))
    details = [(kind, _with_synonyms(" ".join(words.split()), random)) for kind, words in named]
    return [(kind, with_article(words) if kind == "upper" else words) for kind, words in details]


def _with_synonyms(text: str, random: Random) -> str:
    """Replace some words by synonyms of `captioning.lexicon`: "dark blue trousers" -> "navy slacks"."""

    def synonym(match: re.Match[str]) -> str:
        return match[0] if random.random() < _CANONICAL else str(random.choice(_SYNONYMS[match[0]]))

    text = _CANONICAL_WORDS.sub(synonym, text)
    return re.sub(r"\ban? (?=([\w-]+))", lambda match: with_article(match[1])[: -len(match[1])], text)


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _synonyms(*tables: dict[str, str]) -> dict[str, list[str]]:
    """Return {canonical: synonyms}, longest first, so that "short-sleeved top" is matched before "top"."""
    found: dict[str, list[str]] = {}
    for table in tables:
        for word, canonical in table.items():
            if word not in {canonical, *_HAIR_ONLY} and (canonical in _PLURAL or not word.endswith("s")):
                found.setdefault(canonical, []).append(word)
    return {word: found[word] for word in sorted(found, key=lambda word: (-len(word), word))}


_HAIR_ONLY = HAIR_COLORS.union(_WORDS["hair_only"])  # colors that do not describe clothes
# Nouns whose synonyms may be plural: "a bag" has no synonym "bags".
_PLURAL = {*PLURAL_CARRIED, *LOWERS.values(), *SHOES.values()}
_SYNONYMS = _synonyms(COLORS, UPPERS, LOWERS, SHOES, CARRIED)
_CANONICAL_WORDS = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, _SYNONYMS))})(?![\w-])")
