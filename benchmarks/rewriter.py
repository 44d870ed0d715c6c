"""How well the rule-based rewriter reads sentences: right, wrong, missing and invented slots, and its speed.

`rewriter_sentences.yaml` holds sentences in many styles with the slots that a reader fills. With --annotations, the
captions of a folder laid out as CUHK-PEDES is are read too, each distinct sentence once, where they are made from
attribute labels by one of the sentence forms in `_FORMS`: such a form says, without `captioning.rules`, what is true.

Truth and reading are compared in the lexicon's canonical words ("jeans" are "blue trousers", a "rucksack" is a
"backpack"). A slot is right if the two strings are equal, and belongings if the two sets of things with their colours
are; wrong if both tell something else, missing if the truth alone tells something, invented if the reading alone does.
A slot that neither tells is not counted; exact are sentences whose every slot agrees.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from captioning.lexicon import COLOUR_WORDS
from captioning.rules import RulesRewriter, read
from captioning.style import Slots
from configs.load import read_yaml
from data.readers import read_cuhk_pedes
from utils.errors import UserError, run_script

_SENTENCES = Path(__file__).with_name("rewriter_sentences.yaml")
_VERDICTS = ("right", "wrong", "missing", "invented")
_NAMES = tuple(field.name for field in fields(Slots))
_COLOUR = r"(?P<{0}_color>of several colours|[a-z]+)"
_LOWER = f"{_COLOUR.format('lower')} (?P<lower_garment>trousers|shorts|dress)"
_UPPER = f"{_COLOUR.format('upper')} (?P<upper_garment>short-sleeved|long-sleeved) top"
_THING = "(?P<belongings>bag|backpack|handbag)"
_GENDER = "(?P<gender>man|woman)"
# Every sentence that the attribute labels are said in, whole; a sentence that tells more has no truth here.
_FORMS = [
    re.compile(form)
    for form in (
        rf"A {_GENDER} with (?P<hairstyle>short|long) hair wearing a {_UPPER} and {_LOWER}(?:, carrying a {_THING})?\.",
        rf"The person has (?:a {_THING} and )?{_LOWER} on\. The top is {_COLOUR.format('upper')} with "
        rf"(?P<upper_garment>short|long) sleeves\. (?:He|She) is a {_GENDER} whose hair is (?P<hairstyle>short|long)\.",
        rf"This (?:a )?(?P<age_group>teenager|young|adult|old) {_GENDER} is dressed in a {_UPPER}\. (?:He|She) also "
        rf"wears {_LOWER}(?: and has a {_THING} with (?:him|her))?\.",
    )
]
_CANONICAL = {"man": "male", "woman": "female", "of several colours": "patterned"}

Told = dict[str, str | frozenset[str]]  # slot -> canonical words; what nothing is told of is not in it
Case = tuple[str, Told]  # a sentence, and what it says


def read_cases(key: str) -> list[Case]:
    """The sentences under one key of `rewriter_sentences.yaml`.

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
    """Each distinct caption of `folder/reid_raw.json`, in order of appearance, if all are made from attribute labels.

    Raises:
        UserError: as `read_cuhk_pedes` does, or a sentence has another form.
    """
    queries = dict.fromkeys(text for record in read_cuhk_pedes(folder) for text in record.captions)
    matches = {query: next(filter(None, (form.fullmatch(query) for form in _FORMS)), None) for query in queries}
    if other := [query for query, match in matches.items() if not match]:
        raise UserError(
            f"{folder}: nobody knows what is true of {other[0][:60]!r}: expected sentences made from labels"
        )
    return [(query, _labels(match)) for query, match in matches.items() if match]


def _labels(match: re.Match[str]) -> Told:
    words = {name: _CANONICAL.get(word, word) for name, word in match.groupdict().items() if word}
    told: Told = {**words, "upper_garment": f"{words['upper_garment'].removesuffix('-sleeved')}-sleeved top"}
    return told | ({"belongings": frozenset({words["belongings"]})} if "belongings" in words else {})


def told_by(slots: Slots) -> Told:
    """The slots that are filled; belongings as a set of things without articles."""
    told: Told = {name: value for name in _NAMES if (value := getattr(slots, name)) is not None}
    things: list[str] = []
    for part in re.split(r", | and ", slots.belongings or ""):
        if things and things[-1].split()[-1] in COLOUR_WORDS:  # "a black and white bag" is one thing
            things[-1] += f" and {part}"
        else:
            things.append(re.sub("^an? ", "", part))
    return told | ({"belongings": frozenset(things)} if slots.belongings else {})


def judge(truth: Told, reading: Told) -> dict[str, str]:
    """{slot: verdict} for each slot that either tells."""
    both = {name: "right" if truth[name] == reading[name] else "wrong" for name in truth.keys() & reading.keys()}
    return both | dict.fromkeys(truth.keys() - reading, "missing") | dict.fromkeys(reading.keys() - truth, "invented")


def report(title: str, cases: list[Case], *, show: bool) -> None:
    """Print the table of one set of sentences, and each difference if wanted."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*_NAMES, "total")}
    exact = 0
    for query, truth in cases:
        reading = told_by(read(query))
        verdicts = judge(truth, reading)
        exact += set(verdicts.values()) <= {"right"}
        for name, verdict in verdicts.items():
            counts[name][verdict] += 1
            counts["total"][verdict] += 1
            if show and verdict != "right":
                print(f"{verdict} {name}: {_plain(truth, name)} was read as {_plain(reading, name)}: {query}")
    print(f"\n{title}: {len(cases)} sentences, {exact} exact\n")
    print(f"| slot | {' | '.join(_VERDICTS)} |\n|---|---|---|---|---|")
    for name, row in counts.items():
        print(f"| {name} | {' | '.join(str(row[verdict]) for verdict in _VERDICTS)} |")


def _plain(told: Told, name: str) -> str:
    value = told.get(name, "nothing told")
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
