"""What a report shows, as plain values: the page decides nothing about retrieval, and retrieval nothing about HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AblationRow:
    """Retrieval figures with parts of the test side switched on or off.

    Attributes:
        msm: whether the rewritten query and the gallery captions took part in the similarity.
        itm: whether the matching head re-ranked the first images.
        R1: Rank-1 in percent; `R5` and `R10` likewise.
        mAP: mean average precision in percent.
        mINP: mean inverse negative penalty in percent.
    """

    msm: bool
    itm: bool
    R1: float
    R5: float
    R10: float
    mAP: float
    mINP: float


@dataclass(frozen=True)
class RankedImage:
    """One gallery image at its place in a ranking.

    Attributes:
        path: the image file.
        right: whether it shows the person that the query describes.
        score: what it was ranked by; higher is better.
        caption: the generated text about it, or an empty string.
    """

    path: Path
    right: bool
    score: float
    caption: str


@dataclass(frozen=True)
class QueryExample:
    """One query and the head of its ranking.

    Attributes:
        text: the query as it was written.
        rewrite: the query in the style of the generated captions, or None where there is none.
        ranked: the best images, best first.
        first_right: place of the first right image in the whole ranking, counted from 1; None where there is none.
    """

    text: str
    rewrite: str | None
    ranked: tuple[RankedImage, ...]
    first_right: int | None


@dataclass(frozen=True)
class Curve:
    """One chart of one or more lines over the same axes.

    Attributes:
        title: what the chart shows ("Losses").
        x_label: the quantity along the horizontal axis ("epoch").
        y_label: the quantity along the vertical axis, with its unit.
        lines: points `(x, y)` in drawing order by the name of their line; a point that is not finite is a gap.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
