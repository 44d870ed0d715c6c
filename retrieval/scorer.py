"""Scores of a retrieval set at any weight and any k, from similarities that are computed once."""

from __future__ import annotations

import time

from torch import Tensor

from retrieval.embed import Embedded
from retrieval.matching import Matcher
from retrieval.metrics import Judged, judge_queries
from retrieval.retrieval_set import RetrievalSet
from retrieval.scoring import mixed, rerank


class Scorer:
    """The one place that validation, test and ablation share.

    Attributes:
        embedded: what is scored.
        plain: [Q, G] similarity of query and image.
        told: [Q, G] similarity of rewrite and gallery caption; None where there is none of either.
        match: the matching head.
        seconds: what one of these similarities took.
    """

    def __init__(self, embedded: Embedded, retrieval: RetrievalSet, match: Matcher) -> None:
        self.embedded = embedded
        start = time.perf_counter()
        self.plain = embedded.query @ embedded.image.T
        self.seconds = time.perf_counter() - start
        self.told: Tensor | None = None
        if embedded.rewrite is not None and embedded.caption is not None:
            self.told = embedded.rewrite @ embedded.caption.T
            self._has_rewrite, self._has_caption = embedded.rewrite.any(dim=1), embedded.caption.any(dim=1)
        self.match = match
        self._retrieval = retrieval

    def similarity(self, weight: float) -> Tensor:
        """[Q, G], with the rewrites at this weight; not to be changed."""
        if not weight or self.told is None:
            return self.plain
        return mixed(self.plain, self.told, self._has_rewrite, self._has_caption, weight)

    def scores(self, *, weight: float, k: int) -> Tensor:
        """[Q, G], with the rewrites at this weight, the `k` best images of each query matched again."""
        return rerank(self.similarity(weight), self.match, k)

    def judge(self, *, weight: float, k: int) -> Judged:
        """How each query is answered by these scores."""
        scores = self.scores(weight=weight, k=k)
        return judge_queries(scores.numpy(), self._retrieval.query_ids, self._retrieval.gallery_ids)
