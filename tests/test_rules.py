"""Free English into slots: a table of sentences with what each says, and what none of them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captioning.lexicon import AGES, CARRIED, COLOURS, GENDERS, LOWERS, SHOES, UPPERS
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


def test_the_rewriter_answers_every_query_in_order() -> None:
    """A problem, not a text, where nothing was recognised."""
    answers = list(RulesRewriter().rewrite(["A man in a red coat.", "Nothing to see.", "blue jeans"]))
    assert [place for place, _ in answers] == [0, 1, 2]
    assert [answer.text for _, answer in answers] == [
        *("The male is wearing a red coat.", None, "The person is wearing blue trousers.")
    ]
    assert answers[1][1].problem == "nothing of the template was recognised"


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
