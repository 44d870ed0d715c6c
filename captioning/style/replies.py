"""From what a language model said to a caption in the style, or to the reason why it is none."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

from captioning.style.flaws import check
from captioning.style.prompts import Form
from captioning.style.template import Slots, render

_UNKNOWN = frozenset(
    {"", "null", "none", "n/a", "na", "unknown", "unclear", "not visible", "not mentioned", "not specified"}
    | {"unspecified", "cannot be seen", "not sure", "not clear", "indistinguishable", "person"}
)
_NOTHING = frozenset({"nothing", "no belongings", "empty-handed", "empty hands"})


class NoJsonError(ValueError):
    """A reply that should be a JSON object and is none: the model, or its server, does not do what was asked."""


def read_reply(reply: str, form: Form) -> tuple[str | None, str]:
    """Turn a reply into `(text, "")`, or into `(None, problem)` where it is unfit to train or search with.

    Args:
        reply: what the model said; a `<think>` part in front of it is passed over.
        form: "text" for the filled template, "json" for the slots, which are then rendered here.

    Raises:
        NoJsonError: the form is "json", and the reply holds no JSON object.
    """
    reply = re.sub(r"^\s*<think>.*?</think>", "", reply, flags=re.DOTALL).strip()
    text = render_object(_object(reply)) if form == "json" and reply else " ".join(reply.split())
    problems = check(text)
    return (None, ", ".join(problems)) if problems else (text, "")


def render_object(slots: dict[str, Any]) -> str:
    """Render the slots that a model filled; keys that are no slot and values that say "unknown" are passed over."""
    known = Slots(**{field.name: _value(slots.get(field.name), field.name) for field in fields(Slots)})
    return render(known) if known else ""


def _value(value: Any, name: str) -> str | None:
    """A slot's phrase: no final stop, an article in front of belongings alone."""
    if isinstance(value, list):
        *most, last = [str(item) for item in value] or [""]
        value = f"{', '.join(most)} and {last}" if most else last
    if not isinstance(value, str):
        return None
    phrase = " ".join(value.split()).strip(" .\"'")
    if phrase.lower() in _UNKNOWN - ({"none"} if name == "belongings" else set()):
        return None
    if name == "belongings":
        return "nothing" if phrase.lower() in _NOTHING | {"none"} else phrase
    return re.sub(r"^an?\s+", "", phrase, flags=re.I)


def _object(reply: str) -> dict[str, Any]:
    """The JSON object of a reply, from its first brace to its last: models like to put it between fences."""
    try:
        found = json.loads(reply[reply.index("{") : reply.rindex("}") + 1])
    except (ValueError, RecursionError):  # a JSONDecodeError is one of the former
        raise NoJsonError(f"no JSON object: {reply[:80]!r}") from None
    if not isinstance(found, dict):
        raise NoJsonError(f"no JSON object: {reply[:80]!r}")
    return found
