"""Prompts for a language model, in two forms: one requests the filled template, the other its slots as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any, Literal

from captioning.style.template import TEMPLATE, Slots

Form = Literal["text", "json"]

_IMAGE_TEXT = f"""Describe the main pedestrian of this picture by filling in the braces of this template:

{TEMPLATE}

- Write male or female for the gender, and everyday words for colours and garments.
- If something cannot be seen, leave out its phrase and keep the sentence grammatical; never guess, never leave a brace.
- Several belongings are joined with commas and "and"; write "nothing" where the hands and shoulders are plainly empty.
- Keep the order and the wording of the template, in English, on one line, 72 words at most.

Output the description alone: no introduction, no remark, no quotation marks, no list."""

_QUERY_TEXT = f"""Below is a sentence describing a pedestrian. Say the same in the words of this template:

{TEMPLATE}

- Use only what the sentence says. What it does not mention is left out together with its phrase: add and infer nothing.
- If the gender is not mentioned, write "person" in its place; drop a sentence of the template that stays empty.
- Keep the order and the wording of the template, in English, on one line, 72 words at most, with no brace left.

Output the result alone: no introduction, no remark, no quotation marks, no list."""

_HINTS = {
    "gender": "male or female",
    "upper_color": 'everyday words: "red", "dark blue", "black and white striped"',
    "upper_garment": 'without colour or article: "short-sleeved top", "jacket", "coat"',
    "lower_color": "as upper_color",
    "lower_garment": '"trousers", "shorts", "skirt", "dress"',
    "shoe_color": "as upper_color",
    "shoes": '"shoes", "boots", "sandals"',
    "hairstyle": '"short", "long curly"',
    "hair_color": '"black", "blonde"',
    "age_group": '"child", "teenager", "young", "adult", "middle-aged", "old"',
    "belongings": 'each with its article, joined with commas and "and": "a black backpack and an umbrella"; "nothing"',
}
_SLOT_LIST = "\n".join(f"- {name}: {hint}" for name, hint in _HINTS.items())

_IMAGE_JSON = f"""Describe the main pedestrian of this picture as one JSON object with these keys:

{_SLOT_LIST}

Values are short English phrases. What cannot be seen is null: never guess. belongings is "nothing" where the hands and
shoulders are plainly empty. Output the object alone."""

_QUERY_JSON = f"""Below is a sentence describing a pedestrian. Say the same as one JSON object with these keys:

{_SLOT_LIST}

Values are short English phrases. What the sentence does not mention is null: add and infer nothing. Output the object
alone."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {field.name: {"type": ["string", "null"]} for field in fields(Slots)},
    "required": [field.name for field in fields(Slots)],
    "additionalProperties": False,
}
SCHEMA["properties"]["gender"] = {"enum": ["male", "female", None]}

PROMPT_VERSION = hashlib.sha256(
    "\0".join((TEMPLATE, _IMAGE_TEXT, _QUERY_TEXT, _IMAGE_JSON, _QUERY_JSON, json.dumps(SCHEMA))).encode()
).hexdigest()[:10]
"""Changes with every word above and with the template, so that a journal shows which answers other prompts gave."""


def image_prompt(form: Form) -> str:
    """Return the prompt that is sent with an image."""
    return _IMAGE_JSON if form == "json" else _IMAGE_TEXT


def query_prompt(form: Form, query: str) -> str:
    """Return the prompt for a query, which comes last and inside tags, so that it is read as data."""
    return f"{_QUERY_JSON if form == 'json' else _QUERY_TEXT}\n\n<sentence>\n{query}\n</sentence>"
