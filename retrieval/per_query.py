"""One line of JSON for each query, for whoever wants to look further."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.answers import Answer, Explainer
from retrieval.metrics import Judged
from retrieval.retrieval_set import RetrievalSet
from utils.files import atomic_write

_AT_ONCE = 1024  # queries


def write_per_query(path: Path, retrieval: RetrievalSet, explainer: Explainer, judged: Mapping[str, Judged]) -> None:
    """Write queries with their ranks and first images.

    A line holds `query`, `text`, `rewrite`, `person`, `image` (the one that the query was written about), `right` (how
    many the gallery has), and by way to score (`plain`, `msm`, `itm`, `both`) `rank` (of the first right image, or
    null) and `average_precision`; and `top`, the first images with `both` and the parts of their scores.
    """
    with atomic_write(path) as aside, aside.open("w", encoding="utf-8") as file:
        for start in range(0, len(retrieval.queries), _AT_ONCE):
            queries = range(start, min(start + _AT_ONCE, len(retrieval.queries)))
            for answer in explainer.answers(queries):
                line = _line(answer, retrieval, judged)
                file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8") + "\n")


def _line(answer: Answer, retrieval: RetrievalSet, judged: Mapping[str, Judged]) -> dict[str, Any]:
    query = answer.query
    right = int(next(iter(judged.values())).right[query])
    return {
        "query": query,
        "text": retrieval.queries[query],
        "rewrite": retrieval.rewrites[query],
        "person": int(retrieval.query_ids[query]),
        "image": retrieval.records[retrieval.described[query]].name,
        "right": right,
        "rank": {name: int(one.first[query]) if right else None for name, one in judged.items()},
        "average_precision": {name: round(float(one.precision[query]), 6) for name, one in judged.items()},
        "top": [
            {
                "image": retrieval.records[one.image].name,
                "person": int(retrieval.gallery_ids[one.image]),
                "score": round(one.score, 5),
                "query_image": round(one.plain, 5),
                "rewrite_caption": None if one.told is None else round(one.told, 5),
                "matching": None if one.logit is None else round(one.logit, 5),
            }
            for one in answer.top
        ],
    }
