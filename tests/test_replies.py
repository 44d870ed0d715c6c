"""From a model's reply to a caption in the style: JSON in fences, thoughts before it, slots that are "unknown"."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

import jsonschema
import pytest

from captioning.style.prompts import PROMPT_VERSION, SCHEMA, image_prompt, query_prompt
from captioning.style.replies import NoJsonError, read_reply
from captioning.style.template import Slots, parse, render

FULL = Slots("male", "red", "jacket", "dark blue", "trousers", "white", "shoes", "short", "black", "adult", "a bag")
TEXT = render(FULL)


@pytest.mark.parametrize(
    "reply",
    [
        TEXT,
        f"  {TEXT}\n",
        TEXT.replace(". ", ".\n"),
        f"<think>\nRed? {{yes}}\n</think>\n\n{TEXT}",
        f"The template opened the tag: red, I think.</think>{TEXT}",
        f"<think>a</think> no, <think>b</think>{TEXT}",
    ],
)
def test_a_filled_template_is_taken_on_one_line(reply: str) -> None:
    assert read_reply(reply, "text") == (TEXT, "")


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(asdict(FULL)),
        f"```json\n{json.dumps(asdict(FULL), indent=1)}\n```",
        f"Here it is: {json.dumps(asdict(FULL))} I hope that it helps.",
        f"<think>hm</think>{json.dumps(asdict(FULL) | {'mood': 'happy'})}",
        f'A draft: {{\'gender\'}}, then {{"gender": "female"}}, and finally {json.dumps(asdict(FULL))}',
        f"{json.dumps(asdict(FULL))} {{ that is all }}",
    ],
)
def test_an_object_is_rendered_here(reply: str) -> None:
    """Whatever the model puts around it, and whatever else is in it."""
    assert read_reply(reply, "json") == (TEXT, "")


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        ({"upper_color": "red", "upper_garment": "A jacket."}, "The person is wearing a red jacket."),
        ({"shoes": "boots", "shoe_color": "Unknown"}, "The person is wearing boots."),
        ({"gender": "female", "hair_color": "not visible", "age_group": "young"}, "The female appears to be young."),
        ({"belongings": ["a bag", "an umbrella", "a hat"]}, "The person is carrying a bag, an umbrella and a hat."),
        ({"belongings": "None"}, "The person is carrying nothing."),
        ({"belongings": None, "upper_garment": "coat", "shoes": 7}, "The person is wearing a coat."),
    ],
)
def test_unknown_values_are_left_out(slots: dict[str, Any], text: str) -> None:
    assert read_reply(json.dumps(slots), "json") == (text, "")


@pytest.mark.parametrize("reply", ["", "{}", json.dumps(asdict(Slots())), '{"gender": "unknown"}'])
def test_nothing_is_empty(reply: str) -> None:
    assert read_reply(reply, "json") == (None, "empty")


def test_values_are_checked_like_texts() -> None:
    """A refusal in a slot, a loop, another language."""
    text, problem = read_reply(json.dumps({"upper_garment": "I'm sorry, I can't see {it}"}), "json")
    assert text is None
    assert problem == "refusal, unfilled"


@pytest.mark.parametrize("reply", [TEXT, "[1, 2]", '{"gender": "male"', "no"])
def test_prose_is_not_an_object(reply: str) -> None:
    with pytest.raises(NoJsonError, match="JSON"):
        read_reply(reply, "json")


def test_the_schema_is_of_the_slots() -> None:
    """Every object that it allows can be rendered, and it rejects any other."""
    jsonschema.validate(asdict(FULL), SCHEMA)
    jsonschema.validate(asdict(Slots()), SCHEMA)
    for wrong in ({"gender": "male"}, asdict(FULL) | {"gender": "robot"}, asdict(FULL) | {"mood": "happy"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


def test_prompts_name_every_slot_and_hold_the_query_as_data() -> None:
    """In both forms; the query comes last, between its tags."""
    for form in ("text", "json"):
        for prompt in (image_prompt(form), query_prompt(form, "A man {in red}.")):
            assert [field.name for field in fields(Slots) if field.name not in prompt] == []
        prompt = query_prompt(form, "A man {in red}.")
        assert prompt.endswith("<sentence>\nA man {in red}.\n</sentence>")
    assert len(PROMPT_VERSION) == 10


def test_what_is_rendered_is_read_back() -> None:
    assert parse(TEXT) == FULL


def test_broken_json_is_called_so() -> None:
    """With its place, which is not what "no JSON" means."""
    with pytest.raises(NoJsonError, match=r"broken JSON .*character"):
        read_reply('{"gender": "male", "upper_color": }', "json")
    with pytest.raises(NoJsonError, match="no JSON object"):
        read_reply("I cannot say.", "json")
