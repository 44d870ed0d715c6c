"""Free English into slots: a table of sentences with what each says, and what none of them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captioning.captioner import NO_CONTENT
from captioning.lexicon import AGES, CARRIED, COLOURS, GENDERS, LOWERS, NO_SLIPS, RARE, SHOES, UPPERS
from captioning.phrases import tokens
from captioning.rules import RulesRewriter, read
from captioning.style import Slots, check, parse, render

CASES = json.loads((Path(__file__).parent / "data" / "queries.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["query"][:40])
def test_a_query_is_read_as_a_person_reads_it(case: dict[str, Any]) -> None:
    """Every slot, and no slot that the sentence does not mention."""
    assert read(case["query"]) == Slots(**case["slots"])


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case["query"][:40])
def test_case_does_not_matter(case: dict[str, Any]) -> None:
    """Shouted or whispered."""
    assert read(case["query"].upper()) == read(case["query"].lower()) == Slots(**case["slots"])


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case["query"][:40])
def test_blanks_do_not_matter(case: dict[str, Any]) -> None:
    """Two blanks or a line end between words, and around the sentence."""
    expected = Slots(**case["slots"])
    assert read(case["query"].replace(" ", "  ")) == expected
    assert read(f" {case['query']}\n".replace(" ", "\n")) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["query"][:40])
def test_a_rewrite_says_what_its_query_says(case: dict[str, Any]) -> None:
    """The rewritten sentence is in the template, sound, and read back whole."""
    ((_, answer),) = RulesRewriter().rewrite([case["query"]])
    assert answer.text is not None
    assert check(answer.text) == []
    assert parse(answer.text) == Slots(**case["slots"])
    assert answer.text == render(parse(answer.text))


def test_nothing_is_invented() -> None:
    """A sentence about something else, punctuation, and nothing at all give nothing."""
    for text in ("", "...", "The weather is nice today.", "12345", "日本語", "?!,;:"):
        assert not read(text), text


def test_what_is_denied_is_not_worn() -> None:
    """ "no jacket" is no jacket."""
    assert read("A man without a jacket.").upper_garment is None
    assert read("She is not wearing a hat.").belongings is None
    assert read("He carries no bag.").belongings == "nothing"


@pytest.mark.parametrize(
    ("query", "slots"),
    [
        ("A man with neither hat nor glasses.", Slots(gender="male")),
        ("Coat: red. Hat: none. Bag: none.", Slots(upper_color="red", upper_garment="coat", belongings="nothing")),
        ("Her jacket isn't black but dark red.", Slots("female", upper_color="dark red", upper_garment="jacket")),
        ("Her hair is black and not tied.", Slots("female", hair_color="black")),
        ("Nothing was carried by him.", Slots("male", belongings="nothing")),
    ],
)
def test_what_is_denied_is_not_told(query: str, slots: Slots) -> None:
    """ "neither", "none", "not this but that", a shape of hair, and the passive voice."""
    assert read(query) == slots


@pytest.mark.parametrize(
    "query",
    [
        "A man in a black coat next to a woman in a red dress and white boots.",
        "The man in the black coat, not the boy in blue shorts beside him.",
        "A man in a black coat holds the hand of a little girl in a red skirt.",
        "Find the man, the other one wears a red dress. His coat is black.",
        "A man following a girl with a red bag is wearing a black coat.",
        "A man with his friend, wearing a black coat.",
        "A man talking to a woman in red shoes. His coat is black.",
    ],
)
def test_somebody_else_lends_no_clothes(query: str) -> None:
    """A second person is passed over, and the first is taken up again."""
    assert read(query) == Slots("male", upper_color="black", upper_garment="coat")


def test_clothes_of_somebody_elses_kind_are_the_persons_own() -> None:
    """ "with a woman's hat" speaks of no woman, and a baby's stroller is pushed by whom one looks for."""
    assert read("A man with a woman's red hat.") == Slots("male", belongings="a red hat")
    assert read("A woman with a baby in a blue stroller.").belongings == "a blue stroller"


@pytest.mark.parametrize(
    ("told", "age"),
    [
        *(("10 years old", "child"), ("fourteen years old", "teenager"), ("a 25-year-old", "young")),
        *(("35 years of age", "adult"), ("20 to 25 years old", "young"), ("aged 52", "middle-aged")),
        *(("61yo", "old"), ("Age: 8", "child"), ("twenty-five years old", "young"), ("7 years late", None)),
        ("9" * 5000 + " years old", None),
    ],
)
def test_years_tell_an_age(told: str, age: str | None) -> None:
    """In numbers and in words, as "in his thirties" does."""
    assert read(f"A person, {told}.").age_group == age


@pytest.mark.parametrize(
    ("query", "slots"),
    [
        ("The shoes are neon yellow.", Slots(shoe_color="yellow", shoes="shoes")),
        ("The coat is a light blue.", Slots(upper_color="light blue", upper_garment="coat")),
        ("The shoes are dirty, white and low.", Slots(shoe_color="white", shoes="shoes")),
        ("The shirt is tucked into black pants.", Slots(None, None, "top", "black", "trousers")),
        ("The shirt is loose, red tie.", Slots(upper_garment="top")),
        ("black shorts with a white stripe", Slots(lower_color="black", lower_garment="shorts")),
        ("white shoes with a high heel", Slots(shoe_color="white", shoes="heels")),
    ],
)
def test_a_colour_may_come_late_but_not_from_another_thing(query: str, slots: Slots) -> None:
    """After an adverb, an article or another adjective; a stop or a noun in between ends the search."""
    assert read(query) == slots


def test_reports_begin_with_a_letter_for_the_gender() -> None:
    """Which means nothing elsewhere."""
    assert (read("F, 20s, red coat").gender, read("m/30s red coat").gender) == ("female", "male")
    assert read("1.80 m, red coat, size f").gender is None


def test_slips_of_the_hand_are_read_as_what_was_meant() -> None:
    """And English words as themselves, also those that are one slip away from a garment."""
    meant = "yellow jacket grey trousers white sneakers purple sandals"
    assert tokens("yelow jaket gery trousres whtie sneekers purpple sandels") == meant.split()
    others = "back while block table folded tight bottom follow range painted sports"
    assert tokens(others) == others.split()
    assert all(tokens(word) == [word] for word in NO_SLIPS)


def test_rare_words_stand_for_words_that_are_known() -> None:
    """ "wellies" are boots, though no paraphrase says so."""
    known = COLOURS.keys() | UPPERS.keys() | LOWERS.keys() | SHOES.keys() | CARRIED.keys()
    assert set(RARE.values()) <= known
    assert not {word for word in RARE if word not in RARE.values()} & known
    assert read("fawn gilet, wellies") == Slots(None, "beige", "vest", shoes="boots")


def test_the_rewriter_answers_every_query_in_order() -> None:
    """A problem, not a text, where nothing was recognised."""
    answers = list(RulesRewriter().rewrite(["A man in a red coat.", "Nothing to see.", "blue jeans"]))
    assert [place for place, _ in answers] == [0, 1, 2]
    assert [answer.text for _, answer in answers] == [
        *("The male is wearing a red coat.", None, "The person is wearing blue trousers.")
    ]
    assert answers[1][1].problem == NO_CONTENT


@pytest.mark.parametrize("table", [COLOURS, UPPERS, LOWERS, SHOES, GENDERS, AGES, CARRIED])
def test_every_canonical_word_stands_for_itself(table: dict[str, str]) -> None:
    """A caption that is already in the template's words is not reworded."""
    for canonical in set(table.values()):
        assert table[canonical] == canonical


def test_every_garment_word_is_read_as_its_canonical_one() -> None:
    """Single words, with a colour before them."""
    for table, colour, garment in (
        (LOWERS, "lower_color", "lower_garment"),
        (UPPERS, "upper_color", "upper_garment"),
        (SHOES, "shoe_color", "shoes"),
    ):
        for word, canonical in table.items():
            if " " not in word:
                slots = read(f"A person wearing a green {word}.")
                assert (getattr(slots, colour), getattr(slots, garment)) == ("green", canonical), word
