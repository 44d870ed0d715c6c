"""What rewrites (MSM) and matching (ITM) bring, over their weight and their number of images, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retrieval.metrics import Judged, intervals
from retrieval.scorer import Scorer

WEIGHTS = tuple(tenth / 10 for tenth in range(11))
KS = (0, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Way:
    """One way to score: with or without the rewrites (MSM) and the matching head (ITM)."""

    msm: bool
    itm: bool


WAYS = (Way(False, False), Way(True, False), Way(False, True), Way(True, True))


@dataclass(frozen=True)
class Row:
    """One way to score, and what came of it.

    Attributes:
        way: which parts took part.
        weight, k: of these parts; 0 without them.
        judged: how each query was answered.
        figures: R1, R5, R10, mAP, mINP in percent.
        bounds: 95 % interval of each, over people.
        milliseconds: a query, from its words to its ranking; the gallery's embeddings are there already.
        calls: of a language model, a query; None where that is not known.
    """

    way: Way
    weight: float
    k: int
    judged: Judged
    figures: dict[str, float]
    bounds: dict[str, tuple[float, float]]
    milliseconds: float
    calls: int | None


@dataclass(frozen=True)
class Cell:
    """The figures at one weight and one k."""

    weight: float
    k: int
    figures: dict[str, float]


def four_rows(scorer: Scorer, *, weight: float, k: int, calls: int | None) -> list[Row]:
    """Neither part, each alone, and both.

    Args:
        weight: of the rewrites.
        k: images a query that are matched.
        calls: of a language model that one rewrite takes; None where nobody knows who wrote them.
    """
    embedded = scorer.embedded
    k = min(k, len(embedded.image))
    rewritten = scorer.told is not None
    judged = [scorer.judge(weight=weight * way.msm, k=k * way.itm) for way in WAYS]
    pair = scorer.match.seconds / max(scorer.match.pairs, 1)
    queries = len(embedded.query)
    rows = []
    for way, one in zip(WAYS, judged, strict=True):
        seconds = embedded.seconds["queries"] + scorer.seconds
        seconds += (embedded.seconds["rewrites"] + scorer.seconds) * way.msm + queries * k * pair * way.itm
        bounds = intervals(one)
        cost = 1000 * seconds / queries
        asked = calls if way.msm and weight > 0 and rewritten else 0
        rows.append(Row(way, weight * way.msm, k * way.itm, one, one.figures(), bounds, cost, asked))
    return rows


def sweep_what_is_there(scorer: Scorer, *, weight: float, k: int) -> list[Cell]:
    """What the four rows' logits tell of other weights and fewer images, without another pair to match."""
    fewer = {k, *(one for one in KS if 0 < one < k)} - {0}
    return sweep(scorer, {*WEIGHTS, weight}, [0]) + sweep(scorer, {0.0, weight}, fewer)


def sweep(scorer: Scorer, weights: Iterable[float], ks: Iterable[int]) -> list[Cell]:
    """The figures at every weight and every k, from similarities and logits that are computed once."""
    ks = sorted(set(ks), reverse=True)  # the most images first: the fewer are among them
    return [Cell(weight, k, scorer.judge(weight=weight, k=k).figures()) for weight in sorted(set(weights)) for k in ks]


def pick(cells: Sequence[Cell], by: str) -> Cell:
    """The cell of the highest figure; of equal ones, the one with the fewest images to match and the lowest weight."""
    return min(cells, key=lambda cell: (-cell.figures[by], cell.k, cell.weight))


def ranges(weight: float | str, k: int | str, gallery: int) -> tuple[Sequence[float], Sequence[int]]:
    """The weights and the numbers of images to try where they are not given as numbers."""
    return (
        WEIGHTS if isinstance(weight, str) else [weight],
        [one for one in KS if one <= gallery] if isinstance(k, str) else [k],
    )
