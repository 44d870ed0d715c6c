"""Check a language model's reply, and turn it into a caption or rewrite in the style."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

from captioning.style.prompts import Form
from captioning.style.template import Slots, render
from utils.files import read_tables

MAX_WORDS = 72  # longer texts are truncated by the tokenizer

_WORDS = read_tables(Path(__file__).with_suffix(".yaml"))
_FLAWS = {name: re.compile("|".join(patterns), re.I | re.M) for name, patterns in _WORDS["flaws"].items()}
_ENGLISH, _FOREIGN = (frozenset(_WORDS[name].split()) for name in ("english", "foreign"))
_UNKNOWN, _NO_BELONGINGS = (frozenset(_WORDS[name]) for name in ("unknown", "no_belongings"))


_DECODER = json.JSONDecoder()


class NoJsonError(ValueError):
    """A reply that should be a JSON object is not one: the model or its server ignores the requested format."""


def read_reply(reply: str, form: Form) -> tuple[str | None, str]:
    """Turn a reply into `(text, "")`, or into `(None, problem)` if it must not be trained or searched with.

    Args:
        reply: what the model wrote; what precedes the last `</think>` is dropped.
        form: "text" for the filled template, "json" for the slots, which are then rendered here.

    Raises:
        NoJsonError: the form is "json", and the reply holds no JSON object.
    """
    reply = reply.rpartition("</think>")[2].strip()
    text = _render_slots(_parse_object(reply)) if form == "json" and reply else " ".join(reply.split())
    problems = check(text)
    return (None, ", ".join(problems)) if problems else (text, "")


def check(text: str) -> list[str]:
    """Return the flaws that make a text unfit for training or search ("refusal", "markdown", ...); empty if none."""
    if not re.search(r"\w", text) or text.strip().lower().strip("\"'.") in {"null", "none", "n/a"}:
        return ["empty"]
    problems = [name for name, pattern in _FLAWS.items() if pattern.search(text)]
    words = re.findall(r"[\w'-]+", text.lower())
    if _is_foreign(text, words):
        problems.append("another language")
    if len(words) > MAX_WORDS:
        problems.append(f"too long ({len(words)} words)")
    if _is_repetitive(text, words):
        problems.append("repeated")
    return problems


def _is_foreign(text: str, words: list[str]) -> bool:
    """Whether a letter is not Latin, or function words of another language outnumber the English ones."""
    if not text.isascii() and any(
        letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in text
    ):
        return True
    foreign = sum(word in _FOREIGN for word in words)
    return foreign >= 2 and foreign > sum(word in _ENGLISH for word in words)


def _is_repetitive(text: str, words: list[str]) -> bool:
    """Whether a sentence occurs twice, or four words in a row more than three times."""
    sentences = [sentence.strip().lower() for sentence in re.split(r"[.!?\n]+", text) if sentence.strip()]
    if len(set(sentences)) < len(sentences):
        return True
    # Runs of four: "the male is" opens three sentences of the template itself.
    runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    return max(runs.values(), default=0) > 3


def _render_slots(values: dict[str, Any]) -> str:
    """Render the slots that a model filled; unknown keys and values such as "unknown" are ignored."""
    slots = Slots(**{field.name: _slot_value(values.get(field.name), field.name) for field in fields(Slots)})
    return render(slots) if slots else ""


def _slot_value(value: Any, name: str) -> str | None:
    """Normalize the value of a slot: no final period, and no article except in belongings."""
    if isinstance(value, list):
        *most, last = [str(item) for item in value] or [""]
        value = f"{', '.join(most)} and {last}" if most else last
    if not isinstance(value, str):
        return None
    phrase = " ".join(value.split()).strip(" .\"'")
    if phrase.lower() in _UNKNOWN - ({"none"} if name == "belongings" else set()):
        return None
    if name == "belongings":
        return "nothing" if phrase.lower() in _NO_BELONGINGS | {"none"} else phrase
    return re.sub(r"^an?\s+", "", phrase, flags=re.I)


def _parse_object(reply: str) -> dict[str, Any]:
    """Parse the last JSON object of a reply: models like to wrap it in a code fence, or to draft one first."""
    found, cause, start = None, "no JSON object", reply.find("{")
    while start >= 0:
        try:
            value, end = _DECODER.raw_decode(reply, start)
        except json.JSONDecodeError as error:
            cause = f"broken JSON ({error.msg} at character {error.pos})"
            end = start + 1
        except RecursionError:
            cause, end = "JSON that is nested too deeply", len(reply)
        else:
            found = value
        start = reply.find("{", end)
    if not isinstance(found, dict):
        raise NoJsonError(f"{cause}: {reply[:80]!r}")
    return found
