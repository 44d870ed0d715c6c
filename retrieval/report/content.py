"""What a report shows, as plain values: the page decides nothing about retrieval, and retrieval nothing about HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        bounds: 95 % interval of each figure by name; empty where none was computed.
        milliseconds: what a query takes; None where that was not measured.
        calls: of a language model, a query; None where that is not known.
    """

    msm: bool
    itm: bool
    R1: float
    R5: float
    R10: float
    mAP: float
    mINP: float
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    milliseconds: float | None = None
    calls: int | None = 0


@dataclass(frozen=True)
class RankedImage:
    """One gallery image at its place in a ranking.

    Attributes:
        path: the image file.
        right: whether it shows the person that the query describes.
        score: what it was ranked by; higher is better.
        caption: the generated text about it, or an empty string.
        rank: its place in the ranking, from 1; None: where it stands in its list.
        parts: what the score is made of, by name, as it should be shown.
        matched: whether the matching head looked at it; where it did not, `score` is the similarity.
    """

    path: Path
    right: bool
    score: float
    caption: str
    rank: int | None = None
    matched: bool = True
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class QueryExample:
    """One query and the head of its ranking.

    Attributes:
        text: the query as it was written.
        rewrite: the query in the style of the generated captions, or None where there is none.
        ranked: the best images, best first.
        first_right: place of the first right image in the whole ranking, counted from 1; None where there is none.
        why: a sentence about what put the first image first.
        later: the first right image, where it is not among `ranked`.
        group: the heading that it stands under.
    """

    text: str
    rewrite: str | None
    ranked: tuple[RankedImage, ...]
    first_right: int | None
    why: str = ""
    later: RankedImage | None = None
    group: str = "Queries"


@dataclass(frozen=True)
class Scatter:
    """Points of a plane, in groups of which some are named.

    Attributes:
        title: what the picture shows.
        named: points `(x, y)` by name of their group, each with a mark of its own.
        others: points of groups that are too many or too small to be told apart.
        none: points that belong to no group.
        note: what a reader should know of it.
    """

    title: str
    named: Mapping[str, Sequence[tuple[float, float]]]
    others: Sequence[tuple[float, float]]
    none: Sequence[tuple[float, float]]
    note: str


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
