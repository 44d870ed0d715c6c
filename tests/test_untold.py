"""What captions never tell is said at random, and what they tell stays."""

from __future__ import annotations

from collections import Counter

import numpy as np

from captioning.paraphrase import paraphrase_some
from captioning.style import parse
from captioning.untold import Untold, find_untold, say_untold

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


def test_untold_are_the_slots_that_no_caption_fills_and_the_kinds_of_garment_that_none_names() -> None:
    """A captioner that sees colours alone tells no gender, and calls every garment a top."""
    untold = find_untold(PALETTE)
    assert untold.slots == ("gender", "hairstyle", "age_group", "belongings")
    assert {"jacket", "coat"} <= set(untold.nouns["upper_garment"])
    assert "top" not in untold.nouns["upper_garment"]
    assert "lower_garment" not in untold.nouns  # trousers and shorts are told apart
    assert not find_untold(MODEL)
    assert find_untold(["A caption of another kind."]) == Untold((), {})


def test_a_slot_that_one_caption_in_a_hundred_fills_is_untold() -> None:
    """Too few to learn a word from."""
    assert "gender" in find_untold([*PALETTE * 5, MODEL[0]]).slots
    assert "gender" not in find_untold([*PALETTE, *MODEL]).slots


def test_what_a_caption_tells_stays_and_what_it_does_not_is_anything_about_half_of_the_time() -> None:
    """Both genders as often, so that neither says anything of the picture."""
    untold = find_untold(PALETTE)
    slots = parse(PALETTE[0])
    genders: Counter[str | None] = Counter()
    for seed in range(400):
        said = say_untold(slots, untold, np.random.default_rng(seed))
        assert (said.upper_color, said.lower_color, said.lower_garment) == ("red", "blue", "trousers")
        assert (said.shoe_color, said.hair_color) == ("black", "black")
        genders[said.gender] += 1
    assert 160 < genders[None] < 240
    assert abs(genders["male"] - genders["female"]) < 60


def test_long_sleeves_are_told_so_the_garment_keeps_its_name() -> None:
    """A long-sleeved top is not made a vest."""
    untold = find_untold(PALETTE)
    for seed in range(50):
        said = say_untold(parse(PALETTE[1]), untold, np.random.default_rng(seed))
        assert said.upper_garment == "long-sleeved top"


def test_captions_that_tell_everything_are_only_paraphrased() -> None:
    """At share 0 they stay as they are."""
    for caption in MODEL[:2]:
        assert paraphrase_some(0.0, MODEL)(caption, np.random.default_rng(1)) == caption
