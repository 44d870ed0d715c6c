"""Paraphrases: deterministic, true to the caption, in known words; and slots that no caption uses, filled at random."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from captioning import lexicon
from captioning.paraphrase import (
    UnusedSlots,
    fill_unused_slots,
    find_unused_slots,
    paraphrase,
    random_paraphrase,
    vocabulary_texts,
)
from captioning.rules import read
from captioning.style.template import parse, render

CAPTIONS = [
    "The male is wearing a red short-sleeved top with dark blue trousers and white shoes. "
    "The male has short black hair and appears to be young. The male is carrying a backpack and an umbrella.",
    "The female is wearing an orange coat with a black skirt and brown boots. The female is carrying a red handbag.",
    "The person is wearing a black and white striped hoodie with gray shorts. The person is carrying nothing.",
    "The person is wearing green upper clothing. The person has long hair.",
]
PALETTE = [
    "The person is wearing a red top with blue trousers and black footwear. The person has black hair.",
    "The person is wearing a green long-sleeved top with white shorts. The person has brown hair.",
] * 20
MODEL = [
    "The male is wearing a red jacket with blue jeans and black shoes. The male has short black hair and appears to be "
    "young. The male is carrying a bag.",
    "The female is wearing a white blouse with a gray skirt and red boots. The female has long brown hair and appears "
    "to be adult. The female is carrying nothing.",
] * 20
# What a paraphrase may contain besides the words of the caption and of the lexicon.
SMALL = """a an the and with in on who wears has is also person pedestrian individual along dressed wearing walking
carrying carries holding hair top trousers shoes there find somebody looking for this picture shows i saw walking down
street standing on pavement facing camera seen from behind ahead walks one foot front of other his her their"""
WORDS = {
    part
    for table in (lexicon.COLORS, lexicon.UPPERS, lexicon.LOWERS, lexicon.SHOES, lexicon.CARRIED, lexicon.GENDERS)
    for word in table
    for part in word.split()
}


def paraphrased(caption: str, seed: int) -> str:
    return paraphrase(parse(caption), np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_text() -> None:
    """And another seed, most of the time, another text."""
    for caption in CAPTIONS[:3]:
        texts = [paraphrased(caption, seed) for seed in range(40)]
        assert texts == [paraphrased(caption, seed) for seed in range(40)]
        assert len(set(texts)) > 20


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_paraphrase_has_no_other_slots_than_its_caption(caption: str) -> None:
    """Read by the rules, every slot has the caption's value: colors stay with their garments."""
    slots = parse(caption)
    assert render(slots) == caption
    named: set[str] = set()
    for seed in range(150):
        found = {name: value for name, value in asdict(read(paraphrased(caption, seed))).items() if value is not None}
        if slots.upper_garment is None:
            found.pop("upper_garment", None)  # green clothing has to be something
        assert found.items() <= asdict(slots).items(), paraphrased(caption, seed)
        named |= found.keys()
    mentioned = {name for name, value in asdict(slots).items() if value not in (None, "nothing")} - {"age_group"}
    assert mentioned <= named  # no slot is always left out


@pytest.mark.parametrize(
    "caption",
    [*CAPTIONS, "The person is carrying a handbag and a red bag.", "The male is carrying a laptop and a cup."],
)
def test_a_paraphrase_uses_words_that_exist(caption: str) -> None:
    """Those of the caption, of the lexicon, and a few others; a synonym never replaces part of a word."""
    known = set(SMALL.split()) | WORDS | set(re.findall(r"[\w-]+", caption.lower()))
    for seed in range(200):
        words = set(re.findall(r"[\w-]+", paraphrased(caption, seed).lower()))
        assert words <= known, words - known


def test_colors_get_synonyms_but_never_change() -> None:
    """They distinguish people."""
    for seed in range(100):
        words = re.findall(r"\w+", paraphrased(CAPTIONS[1], seed).lower())
        named = {lexicon.COLORS[word] for word in words if word in lexicon.COLORS}
        assert named <= {"orange", "black", "brown", "red"}


def test_texts_outside_the_template_stay_as_they_are() -> None:
    """They cannot be parsed."""
    for text in ("Some released caption of another kind.", "", "A person."):
        assert random_paraphrase(1.0, CAPTIONS)(text, np.random.default_rng(0), 2) == [text, text]


def test_a_share_of_captions_is_paraphrased() -> None:
    """None at 0, all at 1, about 60 % at 0.6, chosen by the generator."""
    for share, low, high in ((0.0, 0, 0), (0.6, 200, 280), (1.0, 390, 400)):
        maybe = random_paraphrase(share, CAPTIONS)
        changed = [maybe(CAPTIONS[0], np.random.default_rng(seed), 1) != [CAPTIONS[0]] for seed in range(400)]
        assert low <= sum(changed) <= high
        assert changed == [maybe(CAPTIONS[0], np.random.default_rng(seed), 1) != [CAPTIONS[0]] for seed in range(400)]


def test_a_vocabulary_is_trained_on_captions_and_their_paraphrases() -> None:
    """One paraphrase of each caption, the same each time; without paraphrasing, captions only."""
    always = random_paraphrase(1.0, CAPTIONS)
    texts = vocabulary_texts(CAPTIONS, always)
    assert texts[:4] == CAPTIONS
    assert len(texts) == 8
    assert texts == vocabulary_texts(CAPTIONS, always)
    assert vocabulary_texts(CAPTIONS, None) == CAPTIONS


def test_unused_are_slots_that_no_caption_fills_and_nouns_that_none_names() -> None:
    """A captioner of colors only never mentions a gender, and calls every garment a top."""
    unused = find_unused_slots(PALETTE)
    assert unused.slots == ("gender", "hairstyle", "age_group", "belongings")
    assert {"jacket", "coat"} <= set(unused.nouns["upper_garment"])
    assert "top" not in unused.nouns["upper_garment"]
    assert "lower_garment" not in unused.nouns  # trousers and shorts are both used
    nothing = UnusedSlots((), {})
    assert find_unused_slots(MODEL) == find_unused_slots(["A caption of another kind."]) == nothing


def test_a_slot_that_one_caption_in_a_hundred_fills_is_unused() -> None:
    """Too few captions to learn a word from."""
    assert "gender" in find_unused_slots([*PALETTE * 5, MODEL[0]]).slots
    assert "gender" not in find_unused_slots([*PALETTE, *MODEL]).slots


def test_unused_slots_are_filled_half_of_the_time_and_others_stay() -> None:
    """With both genders equally often, so that neither carries information about the image."""
    unused = find_unused_slots(PALETTE)
    slots = parse(PALETTE[0])
    genders: Counter[str | None] = Counter()
    for seed in range(400):
        filled = fill_unused_slots(slots, unused, np.random.default_rng(seed))
        assert (filled.upper_color, filled.lower_color, filled.lower_garment) == ("red", "blue", "trousers")
        assert (filled.shoe_color, filled.hair_color) == ("black", "black")
        genders[filled.gender] += 1
    assert 160 < genders[None] < 240
    assert abs(genders["male"] - genders["female"]) < 60


def test_a_specific_garment_keeps_its_noun() -> None:
    """A long-sleeved top does not become a vest."""
    unused = find_unused_slots(PALETTE)
    for seed in range(50):
        filled = fill_unused_slots(parse(PALETTE[1]), unused, np.random.default_rng(seed))
        assert filled.upper_garment == "long-sleeved top"


def test_captions_that_use_every_slot_are_only_paraphrased() -> None:
    """At share 0 they stay as they are."""
    for caption in MODEL[:2]:
        assert random_paraphrase(0.0, MODEL)(caption, np.random.default_rng(1), 1) == [caption]
