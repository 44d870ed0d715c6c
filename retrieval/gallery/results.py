"""What a search of an index is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from retrieval.gallery.question import Question

Agreement = Literal["agrees", "contradicts", "not seen"]


class SearchOptions(TypedDict, total=False):
    """How `Gallery.search` searches.

    Attributes:
        top: number of results; 20 by default.
        image: a photograph of the person, which need not be in the index.
        like, unlike: ids or paths of photographs in the index that are right, or wrong (Rocchio).
        answers: {slot: value} that replaces what was read from the sentence; None drops a slot.
        where: SQL condition on the columns of the index, such as "camera = '3' and time > '2026-05-01'".
        folder: only photographs whose path matches this pattern ("2026-05/*").
        weight: of the rewrite, w; None for that of the index.
        rerank: best results that the matching head scores again; None for the number of the index.
    """

    top: int
    image: Path | None
    like: Sequence[str]
    unlike: Sequence[str]
    answers: dict[str, str | None]
    where: str | None
    folder: str | None
    weight: float | None
    rerank: int | None


@dataclass(frozen=True)
class Hit:
    """One photograph of the results.

    Attributes:
        rank: from 1.
        score: fused similarity, plus the matching logit if it was re-ranked; comparable within one search.
        id: in the index, also in addresses of the page.
        path: relative to the folder of the photographs.
        camera, time, caption: None if unknown.
        slots: {slot: value} of the caption.
        reasons: {slot: whether the caption agrees} for each slot of the rewrite.
        missing: whether the file has gone since it was indexed.
    """

    rank: int
    score: float
    id: str
    path: str
    camera: str | None
    time: str | None
    caption: str | None
    slots: dict[str, str]
    reasons: dict[str, Agreement]
    missing: bool


@dataclass(frozen=True)
class Results:
    """The answer to a search.

    Attributes:
        sentence: as it was asked; None for a search by a photograph alone.
        rewrite: of the sentence, in the style of the captions; None if there is none.
        slots: {slot: value} of the rewrite.
        hits: the best photographs.
        question: whose answer would split the best results best; None if they are few or alike.
        notes: what the user should know, such as words that were cut off.
    """

    sentence: str | None
    rewrite: str | None
    slots: dict[str, str]
    hits: tuple[Hit, ...]
    question: Question | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return builtin types only, for JSON."""
        return asdict(self)


def agreement(wanted: str, seen: str | None) -> Agreement:
    """Compare a slot of the rewrite with that of a caption."""
    if seen is None:
        return "not seen"
    return "agrees" if wanted == seen else "contradicts"
