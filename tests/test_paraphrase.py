"""Captions in other words: the same for a seed, true to the caption, and words that exist."""

from __future__ import annotations

import re
from dataclasses import asdict

import numpy as np
import pytest

from captioning import lexicon
from captioning.paraphrase import paraphrase, paraphrase_some, texts_to_learn_words_from
from captioning.rules import read
from captioning.style import parse, render

CAPTIONS = [
    "The male is wearing a red short-sleeved top with dark blue trousers and white shoes. "
    "The male has short black hair and appears to be young. The male is carrying a backpack and an umbrella.",
    "The female is wearing an orange coat with a black skirt and brown boots. The female is carrying a red handbag.",
    "The person is wearing a black and white striped hoodie with gray shorts. The person is carrying nothing.",
    "The person is wearing green upper clothing. The person has long hair.",
]
# What a paraphrase may say beside the caption's own words and the words of the lexicon.
SMALL = """a an the and with in on who wears has is also person pedestrian individual along dressed wearing walking
carrying carries holding hair top trousers shoes there find somebody looking for this picture shows i saw walking down
street standing on pavement facing camera seen from behind ahead walks one foot front of other his her their"""
WORDS = {
    part
    for table in (lexicon.COLOURS, lexicon.UPPERS, lexicon.LOWERS, lexicon.SHOES, lexicon.CARRIED, lexicon.GENDERS)
    for word in table
    for part in word.split()
}


def said(caption: str, seed: int) -> str:
    return paraphrase(parse(caption), np.random.default_rng(seed))


def test_the_same_seed_says_the_same() -> None:
    """And another seed, most of the time, something else."""
    for caption in CAPTIONS[:3]:
        texts = [said(caption, seed) for seed in range(40)]
        assert texts == [said(caption, seed) for seed in range(40)]
        assert len(set(texts)) > 20


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_paraphrase_says_what_its_caption_says_or_part_of_it(caption: str) -> None:
    """Read by the rules, every slot it names is the caption's: colours stay with their garments."""
    slots = parse(caption)
    assert render(slots) == caption
    named: set[str] = set()
    for seed in range(150):
        found = {name: value for name, value in asdict(read(said(caption, seed))).items() if value is not None}
        if slots.upper_garment is None:
            found.pop("upper_garment", None)  # green clothing has to be something
        assert found.items() <= asdict(slots).items(), said(caption, seed)
        named |= found.keys()
    told = {name for name, value in asdict(slots).items() if value not in (None, "nothing")} - {"age_group"}
    assert told <= named  # nothing is always left out


@pytest.mark.parametrize(
    "caption",
    [*CAPTIONS, "The person is carrying a handbag and a red bag.", "The male is carrying a laptop and a cup."],
)
def test_a_paraphrase_uses_words_that_exist(caption: str) -> None:
    """The caption's words, the lexicon's and a few small ones; a synonym never lands inside another word."""
    known = set(SMALL.split()) | WORDS | set(re.findall(r"[\w-]+", caption.lower()))
    for seed in range(200):
        words = set(re.findall(r"[\w-]+", said(caption, seed).lower()))
        assert words <= known, words - known


def test_colours_are_said_in_other_words_and_never_changed() -> None:
    """Those tell people apart."""
    for seed in range(100):
        words = re.findall(r"\w+", said(CAPTIONS[1], seed).lower())
        named = {lexicon.COLOURS[word] for word in words if word in lexicon.COLOURS}
        assert named <= {"orange", "black", "brown", "red"}


def test_texts_outside_the_template_stay_as_they_are() -> None:
    """What cannot be read is not touched."""
    for text in ("Some released caption of another kind.", "", "A person."):
        assert paraphrase_some(1.0, CAPTIONS)(text, np.random.default_rng(0)) == text


def test_a_share_of_captions_is_said_again() -> None:
    """None at 0, all at 1, about 60 % at 0.6; and the draw is the generator's."""
    for share, low, high in ((0.0, 0, 0), (0.6, 200, 280), (1.0, 390, 400)):
        maybe = paraphrase_some(share, CAPTIONS)
        changed = [maybe(CAPTIONS[0], np.random.default_rng(seed)) != CAPTIONS[0] for seed in range(400)]
        assert low <= sum(changed) <= high
        assert changed == [maybe(CAPTIONS[0], np.random.default_rng(seed)) != CAPTIONS[0] for seed in range(400)]


def test_words_are_learnt_from_captions_and_their_paraphrases() -> None:
    """Each caption once more as training may say it, the same each time; without paraphrases, captions alone."""
    always = paraphrase_some(1.0, CAPTIONS)
    texts = texts_to_learn_words_from(CAPTIONS, always)
    assert texts[:4] == CAPTIONS
    assert len(texts) == 8
    assert texts == texts_to_learn_words_from(CAPTIONS, always)
    assert texts_to_learn_words_from(CAPTIONS, None) == CAPTIONS
