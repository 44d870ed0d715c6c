"""What came first for a query, and why: the parts that a score is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.retrieval_set import RetrievalSet
from retrieval.scorer import Scorer
from retrieval.scoring import best_images

TOP = 10


@dataclass(frozen=True)
class Candidate:
    """A gallery image in the ranking of a query.

    Attributes:
        image: its number.
        rank: its place, from 1.
        right: whether it shows the person.
        score: what it was ranked by.
        plain: similarity of query and image.
        told: similarity of rewrite and caption; None where one is missing, or rewrites do not count.
        logit: of the matching head; None where it did not look.
    """

    image: int
    rank: int
    right: bool
    score: float
    plain: float
    told: float | None
    logit: float | None


@dataclass(frozen=True)
class Answer:
    """The first images of a query, and the first right one, wherever it is; None where there is none."""

    query: int
    top: tuple[Candidate, ...]
    first_right: Candidate | None


class Explainer:
    """Takes the scores of one weight and one k apart."""

    def __init__(self, scorer: Scorer, retrieval: RetrievalSet, *, weight: float, k: int) -> None:
        self.weight, self.k = weight, k
        self._scorer, self._retrieval = scorer, retrieval
        self._similarity = scorer.similarity(weight)
        self.scores = scorer.scores(weight=weight, k=k)
        self._written = np.array([text is not None for text in retrieval.rewrites])
        self._captioned = np.array([text is not None for text in retrieval.captions])

    def answers(self, queries: Sequence[int], *, top: int = TOP) -> list[Answer]:
        """The first `top` images of each of these queries, ties by place in the gallery."""
        scores = self.scores[torch.tensor(queries, dtype=torch.int64)]
        best = best_images(scores, top).sort(dim=1).values
        order = scores.gather(1, best).argsort(dim=1, descending=True, stable=True)
        ranked = best.gather(1, order).numpy()
        return [self._answer(query, images) for query, images in zip(queries, ranked, strict=True)]

    def _answer(self, query: int, images: NDArray[np.int64]) -> Answer:
        top = tuple(self._candidate(query, int(image), rank) for rank, image in enumerate(images, start=1))
        first = next((one for one in top if one.right), None)
        return Answer(query, top, first or self._first_right(query))

    def _first_right(self, query: int) -> Candidate | None:
        right = np.flatnonzero(self._retrieval.gallery_ids == self._retrieval.query_ids[query])
        if not len(right):
            return None
        scores = self.scores[query].numpy()
        image = int(right[scores[right].argmax()])
        before = int((scores > scores[image]).sum() + (scores[:image] == scores[image]).sum())
        return self._candidate(query, image, before + 1)

    def _candidate(self, query: int, image: int, rank: int) -> Candidate:
        score = float(self.scores[query, image])
        told = self._scorer.told
        both = self.weight > 0 and told is not None and self._written[query] and self._captioned[image]
        return Candidate(
            image=image,
            rank=rank,
            right=bool(self._retrieval.gallery_ids[image] == self._retrieval.query_ids[query]),
            score=score,
            plain=float(self._scorer.plain[query, image]),
            told=float(told[query, image]) if both and told is not None else None,
            # What was matched stands before all that was not.
            logit=score - float(self._similarity[query, image]) if rank <= self.k else None,
        )

    def why(self, answer: Answer) -> str:
        """One sentence: which part of the score put the first image before its nearest rival of the other kind."""
        first, right = answer.top[0], answer.first_right
        if right is None:
            return "No image of the gallery shows this person."
        rival = right if not first.right else next((one for one in answer.top if not one.right), None)
        if rival is None:
            return f"All of the first {len(answer.top)} are right."
        what = f"the first {'wrong' if first.right else 'right'} one, rank {rival.rank}"
        gaps = self._gaps(first, rival)
        told = ", ".join(f"{name} {gap:+.2f}".replace("-", "−") for name, gap in gaps.items())
        if (first.logit is None) != (rival.logit is None):
            return f"Rank 1 stands before {what}, which is beyond the {self.k} that are matched: {told}."
        return f"Rank 1 beats {what}, by {first.score - rival.score:.2f}: {told}."

    def _gaps(self, one: Candidate, other: Candidate) -> dict[str, float]:
        parts = [self._parts(one), self._parts(other)]
        if one.logit is None or other.logit is None:
            parts = [{name: value for name, value in part.items() if name != "matching"} for part in parts]
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: parts[0].get(name, 0.0) - parts[1].get(name, 0.0) for name in names}

    def _parts(self, one: Candidate) -> dict[str, float]:
        if one.told is None:
            found = {"query and image": one.plain}
        else:
            found = {
                "query and image": (1 - self.weight) * one.plain,
                "rewrite and caption": self.weight * one.told,
            }
        return found if one.logit is None else found | {"matching": one.logit}
