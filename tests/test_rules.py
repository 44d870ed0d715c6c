"""The rules rewriter: a table of sentences with their slots, negation, other people, typos and rare words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captioning import lexicon
from captioning.captioner import NO_CONTENT
from captioning.lexicon import AGES, CARRIED, COLORS, GENDERS, LOWERS, NOT_TYPOS, RARE, SHOES, UPPERS
from captioning.rules import RulesRewriter, phrases, read
from captioning.rules.phrases import tokenize
from captioning.style.replies import check
from captioning.style.template import Slots, parse, render
from utils.files import read_tables

CASES = json.loads((Path(__file__).parent / "data" / "queries.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["query"][:40])
def test_a_query_is_read_as_a_person_reads_it(case: dict[str, Any]) -> None:
    """Every slot, and no slot that the sentence does not mention."""
    assert read(case["query"]) == Slots(**case["slots"])


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case["query"][:40])
def test_case_does_not_matter(case: dict[str, Any]) -> None:
    """All capitals or all lower case."""
    assert read(case["query"].upper()) == read(case["query"].lower()) == Slots(**case["slots"])


@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case["query"][:40])
def test_white_space_does_not_matter(case: dict[str, Any]) -> None:
    """Two spaces or a newline between words, and around the sentence."""
    expected = Slots(**case["slots"])
    assert read(case["query"].replace(" ", "  ")) == expected
    assert read(f" {case['query']}\n".replace(" ", "\n")) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["query"][:40])
def test_a_rewrite_has_the_slots_of_its_query(case: dict[str, Any]) -> None:
    """The rewrite follows the template, passes the checks, and is parsed back completely."""
    ((_, answer),) = RulesRewriter().rewrite([case["query"]])
    assert answer.text is not None
    assert check(answer.text) == []
    assert parse(answer.text) == Slots(**case["slots"])
    assert answer.text == render(parse(answer.text))


def test_nothing_is_invented() -> None:
    """Other topics, punctuation, and an empty query have no slots."""
    for text in ("", "...", "The weather is nice today.", "12345", "日本語", "?!,;:"):
        assert not read(text), text


def test_negated_things_are_not_worn() -> None:
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
def test_negation_in_other_forms(query: str, slots: Slots) -> None:
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
def test_clothes_of_another_person_are_dropped(query: str) -> None:
    """And the description of the first person continues after them."""
    assert read(query) == Slots("male", upper_color="black", upper_garment="coat")


def test_belongings_named_after_others_are_kept() -> None:
    """ "with a woman's hat" mentions no woman, and the stroller of a baby is pushed by the person."""
    assert read("A man with a woman's red hat.") == Slots("male", belongings="a red hat")
    assert read("A woman with a baby in a blue stroller.").belongings == "a blue stroller"


@pytest.mark.parametrize(
    ("text", "age"),
    [
        *(("10 years old", "child"), ("fourteen years old", "teenager"), ("a 25-year-old", "young")),
        *(("35 years of age", "adult"), ("20 to 25 years old", "young"), ("aged 52", "middle-aged")),
        *(("61yo", "old"), ("Age: 8", "child"), ("twenty-five years old", "young"), ("7 years late", None)),
        ("9" * 5000 + " years old", None),
    ],
)
def test_years_give_an_age_group(text: str, age: str | None) -> None:
    """In numbers and in words."""
    assert read(f"A person, {text}.").age_group == age


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
def test_a_color_may_come_late_but_not_from_another_thing(query: str, slots: Slots) -> None:
    """After an adverb, an article or another adjective; a full stop or a noun in between ends the search."""
    assert read(query) == slots


def test_a_leading_f_or_m_is_the_gender() -> None:
    """As in police reports; elsewhere the letter means nothing."""
    assert (read("F, 20s, red coat").gender, read("m/30s red coat").gender) == ("female", "male")
    assert read("1.80 m, red coat, size f").gender is None


def test_typos_are_corrected() -> None:
    """And English words that are one typo away from a garment are not."""
    meant = "yellow jacket grey trousers white sneakers purple sandals"
    assert tokenize("yelow jaket gery trousres whtie sneekers purpple sandels") == meant.split()
    others = "back while block table folded tight bottom follow range painted sports"
    assert tokenize(others) == others.split()
    assert all(tokenize(word) == [word] for word in NOT_TYPOS)


def test_rare_words_are_read_as_known_words() -> None:
    """ "wellies" are boots, although paraphrases do not use the word."""
    known = COLORS.keys() | UPPERS.keys() | LOWERS.keys() | SHOES.keys() | CARRIED.keys()
    assert set(RARE.values()) <= known
    assert not {word for word in RARE if word not in RARE.values()} & known
    assert read("fawn gilet, wellies") == Slots(None, "beige", "vest", shoes="boots")


def test_the_rewriter_answers_every_query_in_order() -> None:
    """With a problem instead of a text where nothing was recognized."""
    answers = list(RulesRewriter().rewrite(["A man in a red coat.", "Nothing to see.", "blue jeans"]))
    assert [place for place, _ in answers] == [0, 1, 2]
    assert [answer.text for _, answer in answers] == [
        *("The male is wearing a red coat.", None, "The person is wearing blue trousers.")
    ]
    assert answers[1][1].problem == NO_CONTENT


def test_word_lists_hold_words() -> None:
    """YAML reads an unquoted no, on, yes or off as true or false."""
    words = read_tables(Path(lexicon.__file__).with_suffix(".yaml"))
    words |= read_tables(Path(phrases.__file__).with_suffix(".yaml"))
    for name, table in words.items():
        if name not in {"age_limits", "numbers"}:
            assert all(isinstance(word, str) for word in leaves(table)), name


def leaves(table: Any) -> list[Any]:
    """Everything in nested lists and dicts, keys included."""
    if isinstance(table, dict):
        return [*table, *leaves(list(table.values()))]
    return [leaf for item in table for leaf in leaves(item)] if isinstance(table, list) else [table]


@pytest.mark.parametrize("table", [COLORS, UPPERS, LOWERS, SHOES, GENDERS, AGES, CARRIED])
def test_every_canonical_word_is_its_own_synonym(table: dict[str, str]) -> None:
    """A caption in canonical words stays as it is."""
    for canonical in set(table.values()):
        assert table[canonical] == canonical


def test_every_garment_word_is_read_as_its_canonical_one() -> None:
    """Single words, with a color before them."""
    for table, color, garment in (
        (LOWERS, "lower_color", "lower_garment"),
        (UPPERS, "upper_color", "upper_garment"),
        (SHOES, "shoe_color", "shoes"),
    ):
        for word, canonical in table.items():
            if " " not in word:
                slots = read(f"A person wearing a green {word}.")
                assert (getattr(slots, color), getattr(slots, garment)) == ("green", canonical), word
