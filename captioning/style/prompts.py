"""Prompts for a language model, in two forms: one requests the filled template, the other its slots as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from captioning.style.template import TEMPLATE, Slots
from utils.files import read_tables

Form = Literal["text", "json"]

_TABLES = read_tables(Path(__file__).with_suffix(".yaml"))
_SLOT_LIST = "\n".join(f"- {name}: {hint}" for name, hint in _TABLES["hints"].items())
_PROMPTS: dict[str, str] = {
    name: prompt.replace("{template}", TEMPLATE).replace("{slots}", _SLOT_LIST)
    for name, prompt in _TABLES["prompts"].items()
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {field.name: {"type": ["string", "null"]} for field in fields(Slots)},
    "required": [field.name for field in fields(Slots)],
    "additionalProperties": False,
}
SCHEMA["properties"]["gender"] = {"enum": ["male", "female", None]}

PROMPT_VERSION = hashlib.sha256("\0".join((TEMPLATE, *_PROMPTS.values(), json.dumps(SCHEMA))).encode()).hexdigest()[:10]
"""Changes with every word of the prompts and the template, so that a journal shows which answers other prompts gave."""


def image_prompt(form: Form) -> str:
    """Return the prompt that is sent with an image."""
    return _PROMPTS[f"image_{form}"]


def query_prompt(form: Form, query: str) -> str:
    """Return the prompt for a query, which comes last and inside tags, so that it is read as data."""
    return f"{_PROMPTS[f'query_{form}']}\n\n<sentence>\n{query}\n</sentence>"
