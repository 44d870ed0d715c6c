"""The question whose answer would narrow the results most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import pyarrow as pa

from captioning.style.template import Slots
from retrieval.gallery.index import SLOTS

_TEXTS = {
    "gender": "Is it a man or a woman?",
    "upper_color": "What color is the upper garment?",
    "upper_garment": "What is the upper garment?",
    "lower_color": "What color is the lower garment?",
    "lower_garment": "What is the lower garment?",
    "shoe_color": "What color are the shoes?",
    "shoes": "What kind of shoes?",
    "hairstyle": "How is the hair worn?",
    "hair_color": "What color is the hair?",
    "age_group": "How old is the person?",
    "belongings": "What is the person carrying?",
}
_MIN_RESULTS = 10
_MIN_BITS = 0.6  # of information in an answer, on average
_MAX_OPTIONS = 8


@dataclass(frozen=True)
class Question:
    """A question about a slot of which the sentence says nothing.

    Attributes:
        slot: that the answer fills.
        text: the question.
        options: {value: number of the best results whose caption has it}, the most frequent first.
    """

    slot: str
    text: str
    options: dict[str, int]


def best_question(found: pa.Table, slots: Slots, answers: Mapping[str, str | None]) -> Question | None:
    """Return the question whose answer is least predictable from the results; None if no answer would say much.

    The measure is the entropy of a slot's values, in bits, times the share of the results that have a value.

    Args:
        found: the best results, with a column for each slot.
        slots: of the rewrite; those that are filled are not asked for.
        answers: slots that were answered or dropped, which are not asked for again.
    """
    if found.num_rows < _MIN_RESULTS:
        return None
    best, most = None, _MIN_BITS
    for name in SLOTS:
        if getattr(slots, name) or name in answers:
            continue
        counts = Counter(filter(None, found[name].to_pylist()))
        known = counts.total()
        bits = -sum(count / known * log2(count / known) for count in counts.values()) * known / found.num_rows
        if bits > most:
            best, most = Question(name, _TEXTS[name], dict(counts.most_common(_MAX_OPTIONS))), bits
    return best
