"""The template of every caption: filled, parsed, and distinguished from other replies of a language model."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from captioning.style.replies import MAX_WORDS, check
from captioning.style.template import TEMPLATE, Slots, parse, render

FULL = Slots(
    gender="male",
    upper_color="red",
    upper_garment="short-sleeved top",
    lower_color="dark blue",
    lower_garment="trousers",
    shoe_color="white",
    shoes="shoes",
    hairstyle="short",
    hair_color="black",
    age_group="teenager",
    belongings="a backpack and an umbrella",
)
OTHER = Slots("female", "black and white striped", "coat", "green", "skirt", "brown", "boots", "long curly", "blonde")


def test_the_full_template_is_filled_word_for_word() -> None:
    """By hand."""
    assert render(FULL) == (
        "The male is wearing a red short-sleeved top with dark blue trousers and white shoes. "
        "The male has short black hair and appears to be a teenager. "
        "The male is carrying a backpack and an umbrella."
    )


def test_every_slot_is_in_the_template() -> None:
    """The prompts request what is parsed."""
    assert [field.name for field in fields(Slots) if f"{{{field.name}}}" not in TEMPLATE] == []


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        (Slots(), "A person."),
        (Slots(gender="female"), "A female."),
        (Slots(upper_garment="coat"), "The person is wearing a coat."),
        (
            Slots(lower_garment="skirt", upper_color="orange"),
            "The person is wearing orange upper clothing with a skirt.",
        ),
        (Slots(upper_color="orange", upper_garment="top"), "The person is wearing an orange top."),
        (Slots(shoes="boots"), "The person is wearing boots."),
        (Slots(shoe_color="red"), "The person is wearing red footwear."),
        (Slots(hair_color="red"), "The person has red hair."),
        (Slots(age_group="young"), "The person appears to be young."),
        (Slots(age_group="adult"), "The person appears to be adult."),
        (Slots(age_group="young adult"), "The person appears to be a young adult."),
        (Slots(belongings="nothing"), "The person is carrying nothing."),
    ],
)
def test_unknown_slots_leave_no_trace(slots: Slots, text: str) -> None:
    """No brace, no double blank, no empty sentence; and it is read back."""
    assert render(slots) == text
    assert parse(text) == slots


@pytest.mark.parametrize("slots", [FULL, OTHER])
def test_any_part_of_a_description_is_read_back(slots: Slots) -> None:
    """parse(render(slots)) == slots for all 2048 choices of slots."""
    names = [field.name for field in fields(Slots)]
    for kept in itertools.product([False, True], repeat=len(names)):
        part = Slots(**{name: getattr(slots, name) if keep else None for name, keep in zip(names, kept, strict=True)})
        assert parse(render(part)) == part, render(part)
        assert check(render(part)) == [], render(part)


def test_captions_of_released_files_are_read() -> None:
    """Other articles and pronouns, other order, blanks and line ends."""
    assert parse(
        "The  woman is wearing a red dress\nand black shoes.  She has long hair. She is carrying a bag!"
    ) == Slots(
        gender="woman",
        lower_color="red",
        lower_garment="dress",
        shoe_color="black",
        shoes="shoes",
        hairstyle="long",
        belongings="a bag",
    )


@pytest.mark.parametrize("text", ["", "?", "Lorem ipsum dolor sit amet.", "The the is is.", "with and with", "The "])
def test_foreign_text_gives_empty_slots_and_no_error(text: str) -> None:
    """Any string is accepted."""
    assert not parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("null", "empty"),
        ('"None."', "empty"),
        ("...", "empty"),
        ("I'm sorry, but I can't describe people.", "refusal"),
        ("As an AI language model, I see a man.", "refusal"),
        ("I cannot identify the person.", "refusal"),
        ("Sure! The male is wearing a red top.", "chat preamble"),
        ("Here is the description: The male is wearing a red top.", "chat preamble"),
        ("Output: The male is wearing a red top.", "chat preamble"),
        ("The image shows a man.", "chat preamble"),
        ("**The male** is wearing a red top.", "markdown"),
        ("- The male\n- a red top", "markdown"),
        ("```\nThe male\n```", "markdown"),
        ("The {gender} is wearing a red top.", "unfilled"),
        ("The male is wearing a [color] top.", "unfilled"),
        ("The male is wearing a top; shoes not visible.", "unfilled"),
        ("这个男人穿着红色的衣服。", "another language"),
        ("The male is wearing a красный top.", "another language"),
        ("Der Mann trägt einen roten Mantel und hat eine Tasche.", "another language"),
        ("El hombre lleva una camiseta roja con pantalones negros.", "another language"),
        ("La femme porte un manteau rouge avec des chaussures noires.", "another language"),
        ("The male is wearing a red top. The male is wearing a red top.", "repeated"),
        ("a red top and a red top and a red top and a red top and a red top", "repeated"),
    ],
)
def test_flawed_answers_are_detected(text: str, problem: str) -> None:
    """Whatever makes a text unfit for training or search has a name."""
    assert problem in check(text)


def test_answers_longer_than_the_text_encoder_reads_are_detected() -> None:
    """72 words are accepted, 73 are not."""
    words = [f"word{letter}{other}" for letter, other in itertools.product("abcdefghi", "abcdefghi")]
    assert check(" ".join(words[:MAX_WORDS])) == []
    assert check(" ".join(words[: MAX_WORDS + 1])) == ["too long (73 words)"]


@pytest.mark.parametrize(
    "text",
    [
        "The male is wearing a café-au-lait coat.",
        "The female is wearing a T-shirt with jeans and sneakers. The female is carrying a can of soda.",
        "The male is wearing a sure-fire hat, size 42.",
        "The female is wearing a la mode beret and a pair of el cheapo shoes.",
    ],
)
def test_sound_answers_have_no_flaw(text: str) -> None:
    """Accents, numbers and words that look like flaws."""
    assert check(text) == []
