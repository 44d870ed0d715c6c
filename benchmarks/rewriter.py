"""Accuracy and speed of the rules rewriter: right, wrong, missing and invented slots.

`rewriter_sentences.yaml` holds sentences in many styles with their true slots. With --annotations, the captions of a
folder in CUHK-PEDES's layout are read too, each distinct sentence once. They must be generated from attribute labels
by one of the sentence forms in `_FORMS`, which gives their true slots independently of `captioning.rules`.

Slots are compared in the lexicon's canonical words ("jeans" are "blue trousers", a "rucksack" is a "backpack"). A slot
is right if the two strings are equal (belongings: the two sets of items with their colors), wrong if they differ,
missing if only the truth fills it, invented if only the rewriter does; slots that neither fills are not counted. A
sentence is exact if all of its slots are right.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from captioning.lexicon import COLOR_WORDS
from captioning.rules import RulesRewriter, read
from captioning.style.template import Slots
from configs.load import read_yaml
from data.readers import READERS
from utils.errors import UserError, run_script

_SENTENCES = Path(__file__).with_name("rewriter_sentences.yaml")
_VERDICTS = ("right", "wrong", "missing", "invented")
_NAMES = tuple(field.name for field in fields(Slots))
_COLOR = r"(?P<{0}_color>of several colours|[a-z]+)"
_LOWER = f"{_COLOR.format('lower')} (?P<lower_garment>trousers|shorts|dress)"
_UPPER = f"{_COLOR.format('upper')} (?P<upper_garment>short-sleeved|long-sleeved) top"
_ITEM = "(?P<belongings>bag|backpack|handbag)"
_GENDER = "(?P<gender>man|woman)"
# The complete forms of sentences that are generated from attribute labels.
_FORMS = [
    re.compile(form)
    for form in (
        rf"A {_GENDER} with (?P<hairstyle>short|long) hair wearing a {_UPPER} and {_LOWER}(?:, carrying a {_ITEM})?\.",
        rf"The person has (?:a {_ITEM} and )?{_LOWER} on\. The top is {_COLOR.format('upper')} with "
        rf"(?P<upper_garment>short|long) sleeves\. (?:He|She) is a {_GENDER} whose hair is (?P<hairstyle>short|long)\.",
        rf"This (?:a )?(?P<age_group>teenager|young|adult|old) {_GENDER} is dressed in a {_UPPER}\. (?:He|She) also "
        rf"wears {_LOWER}(?: and has a {_ITEM} with (?:him|her))?\.",
    )
]
_CANONICAL = {"man": "male", "woman": "female", "of several colours": "patterned"}

Filled = dict[str, str | frozenset[str]]  # {slot: canonical words}, without empty slots
Case = tuple[str, Filled]  # a sentence and its true slots


def read_cases(key: str) -> list[Case]:
    """Return the sentences under one key of `rewriter_sentences.yaml`.

    Raises:
        UserError: the file is broken, or names a slot that the template does not have.
    """
    cases = []
    for query, slots in ((entry["query"], entry["slots"]) for entry in read_yaml(_SENTENCES)[key]):
        if unknown := slots.keys() - set(_NAMES):
            raise UserError(f"{_SENTENCES}: {query[:40]!r} names {min(unknown)!r}, which is no slot")
        cases.append((query, slots | {n: frozenset(slots[n]) for n in slots if n == "belongings"}))
    return cases


def read_labelled(folder: Path) -> list[Case]:
    """Return each distinct caption of `folder/reid_raw.json` with its slots, in order of appearance.

    Raises:
        UserError: the annotations cannot be read, or a caption is not generated from attribute labels.
    """
    queries = dict.fromkeys(text for record in READERS["cuhk_pedes"](folder) for text in record.captions)
    matches = {query: next(filter(None, (form.fullmatch(query) for form in _FORMS)), None) for query in queries}
    if other := [query for query, match in matches.items() if not match]:
        raise UserError(
            f"{folder}: the slots of {other[0][:60]!r} are unknown: captions must be generated from attribute labels"
        )
    return [(query, _labels(match)) for query, match in matches.items() if match]


def _labels(match: re.Match[str]) -> Filled:
    words = {name: _CANONICAL.get(word, word) for name, word in match.groupdict().items() if word}
    slots: Filled = {**words, "upper_garment": f"{words['upper_garment'].removesuffix('-sleeved')}-sleeved top"}
    return slots | ({"belongings": frozenset({words["belongings"]})} if "belongings" in words else {})


def filled_slots(slots: Slots) -> Filled:
    """Return the filled slots; belongings as a set of items without articles."""
    filled: Filled = {name: value for name in _NAMES if (value := getattr(slots, name)) is not None}
    items: list[str] = []
    for part in re.split(r", | and ", slots.belongings or ""):
        if items and items[-1].split()[-1] in COLOR_WORDS:  # "a black and white bag" is one item
            items[-1] += f" and {part}"
        else:
            items.append(re.sub("^an? ", "", part))
    return filled | ({"belongings": frozenset(items)} if slots.belongings else {})


def judge(truth: Filled, reading: Filled) -> dict[str, str]:
    """Return {slot: verdict} for each slot that either fills."""
    both = {name: "right" if truth[name] == reading[name] else "wrong" for name in truth.keys() & reading.keys()}
    return both | dict.fromkeys(truth.keys() - reading, "missing") | dict.fromkeys(reading.keys() - truth, "invented")


def report(title: str, cases: list[Case], *, show: bool) -> None:
    """Print the table of one set of sentences; with `show`, each difference as well."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*_NAMES, "total")}
    exact = 0
    for query, truth in cases:
        reading = filled_slots(read(query))
        verdicts = judge(truth, reading)
        exact += set(verdicts.values()) <= {"right"}
        for name, verdict in verdicts.items():
            counts[name][verdict] += 1
            counts["total"][verdict] += 1
            if show and verdict != "right":
                print(f"{verdict} {name}: {_text(truth, name)} was read as {_text(reading, name)}: {query}")
    print(f"\n{title}: {len(cases)} sentences, {exact} exact\n")
    print(f"| slot | {' | '.join(_VERDICTS)} |\n|---|---|---|---|---|")
    for name, row in counts.items():
        print(f"| {name} | {' | '.join(str(row[verdict]) for verdict in _VERDICTS)} |")


def _text(filled: Filled, name: str) -> str:
    value = filled.get(name, "nothing")
    return value if isinstance(value, str) else ", ".join(sorted(value))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, metavar="FOLDER", help="holds reid_raw.json and imgs/")
    parser.add_argument("--show", action="store_true", help="list each difference")
    arguments = parser.parse_args(argv)
    sets = {"written by hand": read_cases("sentences"), "held out": read_cases("held_out")}
    if arguments.annotations:
        sets[str(arguments.annotations)] = read_labelled(arguments.annotations)
    for title, cases in sets.items():
        report(title, cases, show=arguments.show)
    queries = [query for cases in sets.values() for query, _ in cases] * 10
    start = time.perf_counter()
    list(RulesRewriter().rewrite(queries))
    print(f"\n{len(queries) / (time.perf_counter() - start):,.0f} queries per second, one process")


if __name__ == "__main__":
    run_script(main)
