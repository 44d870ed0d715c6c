"""From a run's log, an ablation and texts to the charts of the report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.ablation import Cell
from retrieval.report import Curve
from utils.files import read_jsonl

_WORDS = 60  # beyond that, the tail of a histogram is one bar
_LINES = 6  # in a chart


def part_curves(cells: Sequence[Cell], *, weight: float, figures: Sequence[str] = ("R1", "mAP")) -> list[Curve]:
    """Figures over the weight of rewrites, a line for each k, and over k, a line without rewrites and one with them."""
    ks, weights = sorted({cell.k for cell in cells}), sorted({cell.weight for cell in cells})
    at = {(cell.weight, cell.k): cell.figures for cell in cells}
    curves = []
    for name in figures:
        over_weight = {
            f"k = {k}": [(one, at[one, k][name]) for one in weights if (one, k) in at] for k in _some(ks, _LINES)
        }
        over_k = {f"w = {one:g}": [(float(k), at[one, k][name]) for k in ks if (one, k) in at] for one in (0.0, weight)}
        for label, lines in (("weight of rewrites, w", over_weight), ("images matched a query, k", over_k)):
            shown = {line: points for line, points in lines.items() if len(points) > 2}
            if shown:
                curves.append(Curve(f"{name} by {label.partition(',')[0]}", label, "percent", shown))
    return curves


def word_curves(texts: dict[str, Sequence[str | None]]) -> list[Curve]:
    """How many words the texts of each kind have."""
    lines = {}
    for name, kind in texts.items():
        counts = Counter(min(len(re.findall(r"\w+", text)), _WORDS) for text in kind if text)
        if counts:
            total = counts.total()
            words = range(min(counts), max(counts) + 1)
            lines[name] = [(float(number), 100 * counts[number] / total) for number in words]
    return [Curve("Words of a text", "words", "percent of texts", lines)] if lines else []


def _some(values: Sequence[int], count: int) -> list[int]:
    """At most so many of them, the first, the last and some between."""
    if len(values) <= count:
        return list(values)
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]


def training_curves(log: Path) -> list[Curve]:
    """Losses, clusters, agreement with the true persons and validation figures, from `log.jsonl`; none without it."""
    events = read_jsonl(log)
    epochs = [event for event in events if event["event"] == "epoch"]
    labels = [event for event in events if event["event"] == "labels"]
    checks = [event for event in events if event["event"] == "validation"]
    curves = [
        Curve("Losses", "epoch", "mean of the epoch", _over_epochs(epochs, ("loss", "itc", "itm", "id"))),
        Curve("Validation", "epoch", "percent", _over_epochs(checks, ("R1", "R10", "mAP"))),
        Curve("Pseudo-labels", "round", "count", _over_rounds(labels, ("clusters", "noise"))),
        Curve("Images of a cluster", "round", "count", _over_rounds(labels, ("mean_size", "median_size"))),
        Curve("Clusters by themselves", "round", "index", _over_rounds(labels, ("silhouette", "ari_before"))),
        Curve("Agreement with the true persons", "round", "index", _over_rounds(labels, ("ari", "nmi", "purity"))),
        Curve("Pairs that share a person", "round", "share", _over_rounds(labels, ("precision", "recall", "f"))),
    ]
    return [curve for curve in curves if curve.lines]


def _over_epochs(events: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """One line a name, over the epochs of the whole run counted from 1."""
    return _lines([(float(place), event) for place, event in enumerate(events, start=1)], names)


def _over_rounds(events: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    return _lines([(float(event["round"]), event) for event in events], names)


def _lines(
    events: Sequence[tuple[float, dict[str, Any]]], names: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    lines = {name: [(x, float(event[name])) for x, event in events if name in event] for name in names}
    return {name: points for name, points in lines.items() if points}
