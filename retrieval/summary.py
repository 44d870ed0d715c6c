"""From a run's log and a test's scores to what the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from retrieval.report import Curve, QueryExample, RankedImage
from retrieval.retrieval_set import RetrievalSet
from utils.files import read_lines


def query_examples(scores: Tensor, retrieval: RetrievalSet, *, count: int, top: int = 10) -> list[QueryExample]:
    """The first `count` queries with their `top` best images, best first."""
    examples = []
    for query in range(min(count, len(retrieval.queries))):
        order = np.argsort(-scores[query].numpy(), kind="stable")
        right = retrieval.gallery_ids[order] == retrieval.query_ids[query]
        ranked = tuple(
            RankedImage(
                path=retrieval.records[image].path,
                right=bool(right[place]),
                score=float(scores[query, image]),
                caption=retrieval.captions[image] or "",
            )
            for place, image in enumerate(order[:top])
        )
        first_right = int(right.argmax()) + 1 if right.any() else None
        examples.append(QueryExample(retrieval.queries[query], retrieval.rewrites[query], ranked, first_right))
    return examples


def training_curves(log: Path) -> list[Curve]:
    """Losses, clusters, agreement with the true persons and validation figures, from `log.jsonl`; none without it."""
    events = read_lines(log)
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
