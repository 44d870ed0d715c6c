"""What ranked first for a query, and why: the parts of each score, examples for the report, and per_query.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from retrieval.metrics import QueryMetrics, evaluate_queries
from retrieval.scoring import Scorer, top_images
from utils.files import atomic_write

TOP = 10


@dataclass(frozen=True)
class RankedImage:
    """A gallery image in the ranking of a query.

    Attributes:
        index: in the gallery.
        path: the image file.
        caption: the generated caption; None where missing.
        rank: from 1.
        correct: whether it shows the person that the query describes.
        score: what it was ranked by.
        similarity: the fused similarity.
        query_image: similarity of query and image.
        rewrite_caption: similarity of rewrite and caption; None where one is missing or their weight is 0.
        logit: of the matching head; None if it was not among the re-ranked images.
        rewrite_image: similarity of rewrite and image; None where `rewrite_caption` is, or where its share is 0.
    """

    index: int
    path: Path
    caption: str | None
    rank: int
    correct: bool
    score: float
    similarity: float
    query_image: float
    rewrite_caption: float | None
    logit: float | None
    rewrite_image: float | None = None

    @property
    def parts(self) -> dict[str, float]:
        """The known parts of the score by name, unweighted."""
        parts = {
            "query and image": self.query_image,
            "rewrite and caption": self.rewrite_caption,
            "rewrite and image": self.rewrite_image,
        }
        return {name: value for name, value in (parts | {"matching": self.logit}).items() if value is not None}


@dataclass(frozen=True)
class Ranking:
    """The best images of a query.

    Attributes:
        query: its index.
        text: its words.
        rewrite: its words in the style of the captions; None where missing.
        weight, k: of the rewrites, and number of re-ranked images.
        top: the best images, best first.
        first_match: the first correct image at any rank; None if the gallery has none.
        share: of the similarity of rewrite and image in `weight`.
    """

    query: int
    text: str
    rewrite: str | None
    weight: float
    k: int
    top: tuple[RankedImage, ...]
    first_match: RankedImage | None
    share: float = 0.0

    @property
    def match_below_top(self) -> RankedImage | None:
        """The first correct image if it is not among the best."""
        return self.first_match if self.first_match and self.first_match.rank > len(self.top) else None

    @property
    def explanation(self) -> str:
        """Which parts of the score put the first image ahead of the first one of the other kind (correct or wrong)."""
        first, match = self.top[0], self.first_match
        if match is None:
            return "No image of the gallery shows this person."
        rival = next((image for image in self.top if not image.correct), None) if first.correct else match
        if rival is None:
            return f"All of the first {len(self.top)} images are correct."
        other = f"the first {'wrong' if first.correct else 'correct'} image (rank {rival.rank})"
        both_reranked = first.logit is not None and rival.logit is not None
        ours, theirs = self._summands(first, both_reranked), self._summands(rival, both_reranked)
        gaps = ", ".join(
            f"{name} {ours.get(name, 0.0) - theirs.get(name, 0.0):+.2f}".replace("-", "−")
            for name in dict.fromkeys([*ours, *theirs])
        )
        if (first.logit is None) != (rival.logit is None):
            return f"Rank 1 is ahead of {other}, which is not among the {self.k} re-ranked images: {gaps}."
        return f"Rank 1 beats {other} by {first.score - rival.score:.2f}: {gaps}."

    def _summands(self, image: RankedImage, with_matching: bool) -> dict[str, float]:
        """The weighted parts of a score by name."""
        weights = {
            "query and image": 1 - self.weight,
            "rewrite and caption": self.weight * (1 - self.share),
            "rewrite and image": self.weight * self.share,
        }
        if image.rewrite_caption is None:
            weights = {"query and image": 1.0}
        if with_matching:
            weights["matching"] = 1.0
        return {name: weights[name] * value for name, value in image.parts.items() if name in weights}


class ScoreBreakdown:
    """Splits the scores of one weight and k into their parts.

    Attributes:
        weight: of the rewrites.
        k: images per query that the matching head re-ranks.
        share: of the similarity of rewrite and image in `weight`.
        scores: [Q, G].
        queries: metrics of each query by these scores.
    """

    def __init__(self, scorer: Scorer, *, weight: float, k: int) -> None:
        self.weight, self.k, self.share = weight, k, scorer.share
        self.retrieval = scorer.retrieval
        self.scores = scorer.scores(weight=weight, k=k)
        self.queries = evaluate_queries(self.scores.numpy(), self.retrieval.query_ids, self.retrieval.gallery_ids)
        self._scorer = scorer
        self._similarity = scorer.similarity(weight)
        best = top_images(self.scores, TOP).sort(dim=1).values  # ties go to the first in the gallery
        order = self.scores.gather(1, best).argsort(dim=1, descending=True, stable=True)
        self._top = best.gather(1, order)

    def ranking(self, query: int) -> Ranking:
        """Return the `TOP` best images of a query and its first match."""
        retrieval, first = self.retrieval, None
        if self.queries.num_matches[query]:
            matches = np.flatnonzero(retrieval.gallery_ids == retrieval.query_ids[query])
            image = int(matches[self.scores[query].numpy()[matches].argmax()])
            first = self._ranked_image(query, image, int(self.queries.first_match_rank[query]))
        top = tuple(self._ranked_image(query, image, rank) for rank, image in enumerate(self._top[query].tolist(), 1))
        text, rewrite = retrieval.queries[query], retrieval.rewrites[query]
        return Ranking(query, text, rewrite, self.weight, self.k, top, first, self.share)

    def _ranked_image(self, query: int, image: int, rank: int) -> RankedImage:
        retrieval = self.retrieval
        has_texts = self.weight > 0 and retrieval.rewrites[query] is not None and retrieval.captions[image] is not None

        def part(similarities: Tensor | None) -> float | None:
            return float(similarities[query, image]) if has_texts and similarities is not None else None

        score, similarity = float(self.scores[query, image]), float(self._similarity[query, image])
        return RankedImage(
            index=image,
            path=retrieval.records[image].path,
            caption=retrieval.captions[image],
            rank=rank,
            correct=bool(retrieval.gallery_ids[image] == retrieval.query_ids[query]),
            score=score,
            similarity=similarity,
            query_image=float(self._scorer.query_image[query, image]),
            rewrite_caption=part(self._scorer.rewrite_caption),
            rewrite_image=part(self._scorer.rewrite_image),
            logit=score - similarity if rank <= self.k else None,  # re-ranked images precede all others
        )


def example_rankings(breakdown: ScoreBreakdown, *, count: int) -> dict[str, list[Ranking]]:
    """Return `count` rankings by heading, one per person: half of the lowest average precision, half of the highest.

    Ties are broken by the rank of the first match, then by query index.
    """
    queries, people = breakdown.queries, breakdown.queries.query_ids

    def one_per_person(order: NDArray[np.int64]) -> NDArray[np.int64]:
        return order[np.sort(np.unique(people[order], return_index=True)[1])]

    lowest = one_per_person(np.lexsort((-queries.first_match_rank, queries.average_precision)))[: (count + 1) // 2]
    highest = one_per_person(np.lexsort((queries.first_match_rank, -queries.average_precision)))
    highest = highest[~np.isin(people[highest], people[lowest])][: count // 2]
    groups = {"Worst queries, by average precision": lowest, "Best queries": highest}
    return {
        heading: [breakdown.ranking(query) for query in chosen.tolist()]
        for heading, chosen in groups.items()
        if len(chosen)
    }


def write_per_query(path: Path, breakdown: ScoreBreakdown, variants: Mapping[str, QueryMetrics]) -> None:
    """Write one JSON line per query.

    A line holds `query`, `text`, `rewrite`, `person`, `image` (that the query was written for) and `right` (number of
    matches in the gallery); by variant (`plain`, `msm`, `itm`, `both`) `rank` (of the first match, or null) and
    `average_precision`; and `top`, the best images with `both` and the parts of their scores.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
        for query in range(len(breakdown.retrieval.queries)):
            line = _line(breakdown.ranking(query), breakdown, variants)
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _line(ranking: Ranking, breakdown: ScoreBreakdown, variants: Mapping[str, QueryMetrics]) -> dict[str, Any]:
    query, retrieval = ranking.query, breakdown.retrieval
    matches = int(breakdown.queries.num_matches[query])
    return {
        "query": query,
        "text": ranking.text,
        "rewrite": ranking.rewrite,
        "person": int(retrieval.query_ids[query]),
        "image": retrieval.records[retrieval.source_images[query]].name,
        "right": matches,
        "rank": {name: int(one.first_match_rank[query]) if matches else None for name, one in variants.items()},
        "average_precision": {name: round(float(one.average_precision[query]), 6) for name, one in variants.items()},
        "top": [
            {
                "image": retrieval.records[image.index].name,
                "person": int(retrieval.gallery_ids[image.index]),
                "score": round(image.score, 5),
                "query_image": round(image.query_image, 5),
                "rewrite_caption": None if image.rewrite_caption is None else round(image.rewrite_caption, 5),
                "rewrite_image": None if image.rewrite_image is None else round(image.rewrite_image, 5),
                "matching": None if image.logit is None else round(image.logit, 5),
            }
            for image in ranking.top
        ],
    }
