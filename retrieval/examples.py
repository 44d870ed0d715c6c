"""The queries that a report shows: those that were answered worst, and best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval.answers import Candidate, Explainer
from retrieval.metrics import Judged
from retrieval.report import QueryExample, RankedImage
from retrieval.retrieval_set import RetrievalSet
from retrieval.scoring import UNSEEN


def query_examples(explainer: Explainer, judged: Judged, retrieval: RetrievalSet, *, count: int) -> list[QueryExample]:
    """So many queries, one a person: half of them of the lowest average precision, half of the highest.

    Of equal ones, those come first that stand first; the worst are those whose first right image stands farthest.
    """
    worst = np.lexsort((-judged.first, judged.precision))
    best = np.lexsort((judged.first, -judged.precision))
    lowest = _one_a_person(worst, judged, (count + 1) // 2, without=())
    highest = _one_a_person(best, judged, count // 2, without=lowest)
    return [
        _example(explainer, query, retrieval, group)
        for group, queries in (("Answered worst, by average precision", lowest), ("Answered best", highest))
        for query in queries
    ]


def _one_a_person(order: np.ndarray, judged: Judged, count: int, *, without: Sequence[int]) -> list[int]:
    people = {int(judged.query_ids[query]) for query in without}
    chosen: list[int] = []
    for query in order:
        person = int(judged.query_ids[query])
        if len(chosen) < count and person not in people:
            people.add(person)
            chosen.append(int(query))
    return chosen


def _example(explainer: Explainer, query: int, retrieval: RetrievalSet, group: str) -> QueryExample:
    (answer,) = explainer.answers([query])
    first = answer.first_right

    def shown(one: Candidate) -> RankedImage:
        parts = {"query and image": one.plain, "rewrite and caption": one.told, "matching": one.logit}
        return RankedImage(
            path=retrieval.records[one.image].path,
            right=one.right,
            score=one.score if one.logit is not None or not explainer.k else one.score - UNSEEN,
            caption=retrieval.captions[one.image] or "",
            rank=one.rank,
            matched=one.logit is not None or not explainer.k,
            parts={name: f"{value:.3f}".replace("-", "−") for name, value in parts.items() if value is not None},
        )

    return QueryExample(
        text=retrieval.queries[query],
        rewrite=retrieval.rewrites[query],
        ranked=tuple(map(shown, answer.top)),
        first_right=first.rank if first else None,
        why=explainer.why(answer),
        later=shown(first) if first and first.rank > len(answer.top) else None,
        group=group,
    )
