"""What makes a language model's answer unfit to train or to search with."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

MAX_WORDS = 72  # the tokenised text keeps no more

_FLAWS = {
    "refusal": re.compile(
        r"\b(i'?m|i am|we are) (sorry|unable|not able)|\b(i|we) (can ?not|can['’]?t|could ?n[o'’]t|won['’]?t)\b"
        r"|\bas an? (ai|language|large)\b|\bunable to (see|view|describe|identify|assist|provide)"
        r"|\bi apologi[sz]e|\bno (image|picture|text) (was|is|has been) (provided|given|attached)",
        re.I,
    ),
    "chat preamble": re.compile(
        r"^\W*(sure|certainly|of course|okay|ok|absolutely|here('s| is| are)|based on|the (image|picture|photo) shows"
        r"|(output|description|answer|result|rewritten( text)?|caption)\s*:)",
        re.I,
    ),
    "markdown": re.compile(r"```|\*\*|__|^\s*(#+|[-*•]|\d+[.)])\s|\[[^\]]*\]\(", re.M),
    "unfilled": re.compile(r"[{}<>]|\[[\w /]*\]|\b(unspecified|not (mentioned|specified|visible)|n/a)\b", re.I),
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words that hold sentences together, in English and in what else models like to answer in.
_ENGLISH = _words("a an the is are and with has in on of to he she his her wearing wears carrying person")
_FOREIGN = _words(
    "der die das und ein eine einen ist mit trägt hat sie er el la los las un una unos con lleva y es de del que le "
    "les des du et est avec une porte il lo gli uno e è indossa um uma com os veste o do da het een en van zij met"
)


def check(text: str) -> list[str]:
    """Say what makes an answer of a language model unfit to train or search with; an empty list if nothing does."""
    if not re.search(r"\w", text) or text.strip().lower().strip("\"'.") in {"null", "none", "n/a"}:
        return ["empty"]
    problems = [name for name, pattern in _FLAWS.items() if pattern.search(text)]
    words = re.findall(r"[\w'-]+", text.lower())
    if _foreign(text, words):
        problems.append("another language")
    if len(words) > MAX_WORDS:
        problems.append(f"too long ({len(words)} words)")
    if _repeats(text, words):
        problems.append("repeated")
    return problems


def _foreign(text: str, words: list[str]) -> bool:
    """Another script; or the small words of another language, and none or few of English."""
    if not text.isascii() and any(
        letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in text
    ):
        return True
    foreign = sum(word in _FOREIGN for word in words)
    return foreign >= 2 and foreign > sum(word in _ENGLISH for word in words)


def _repeats(text: str, words: list[str]) -> bool:
    sentences = [sentence.strip().lower() for sentence in re.split(r"[.!?\n]+", text) if sentence.strip()]
    if len(set(sentences)) < len(sentences):
        return True
    # "the male is" opens three sentences of the template itself; a model stuck in a loop says more words, more often.
    runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    return max(runs.values(), default=0) > 3
