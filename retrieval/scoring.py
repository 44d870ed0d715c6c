"""From embeddings to scores: fuse two similarities (MSM), then re-rank the best images by the matching head (ITM)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from transformers import BertTokenizer

from data.images import ImageOpener, open_image
from models.tsn import TSN
from retrieval.embed import Embeddings, embed
from retrieval.matching import Matcher
from retrieval.metrics import QueryMetrics, evaluate_queries
from retrieval.options import EvaluationOptions
from retrieval.retrieval_set import RetrievalSet
from utils import distributed

UNMATCHED_OFFSET = -100.0  # added to scores without a logit, which puts them below all that have one (as published)
_CHUNK = 1024  # queries whose ties are resolved at a time

Match = Callable[[Tensor, Tensor], Tensor]
Result = TypeVar("Result")


def fused_similarity(
    query: Tensor, image: Tensor, rewrite: Tensor | None, gallery_caption: Tensor | None, weight: float
) -> Tensor:
    """Return `w rewrite . gallery_caption + (1 - w) query . image`, [Q, G].

    Args:
        query: [Q, E] embeddings of the queries, of unit length like the others.
        image: [G, E] embeddings of the gallery images.
        rewrite: [Q, E] embeddings of the rewritten queries, rows of zeros where missing; None if all are missing.
        gallery_caption: [G, E] embeddings of the gallery's captions, zeros or None likewise.
        weight: w. Where the rewrite or the caption is missing, the similarity of query and image counts alone.
    """
    query_image = query @ image.T
    if not weight or rewrite is None or gallery_caption is None:
        return query_image
    has_rewrite, has_caption = rewrite.any(dim=1), gallery_caption.any(dim=1)
    return fuse(query_image, rewrite @ gallery_caption.T, has_rewrite, has_caption, weight)


def fuse(
    query_image: Tensor, rewrite_caption: Tensor, has_rewrite: Tensor, has_caption: Tensor, weight: float
) -> Tensor:
    """Return `w rewrite_caption + (1 - w) query_image`, [Q, G]; `query_image` alone where a text is missing.

    Args:
        has_rewrite, has_caption: [Q] and [G], boolean.
    """
    fused = (rewrite_caption * weight).add_(query_image, alpha=1 - weight)
    fused[~has_rewrite] = query_image[~has_rewrite]
    fused[:, ~has_caption] = query_image[:, ~has_caption]
    return fused


def top_images(similarity: Tensor, k: int) -> Tensor:
    """Return the indices [Q, min(k, G)] of each query's most similar images, in no particular order.

    Ties go to the images that come first in the gallery.
    """
    k = min(k, similarity.shape[1])
    values, top = similarity.topk(k, dim=1, sorted=False)
    if not k or k == similarity.shape[1]:
        return top
    for start in range(0, len(similarity), _CHUNK):
        rows, chosen = similarity[start : start + _CHUNK], values[start : start + _CHUNK]
        last = chosen.min(dim=1, keepdim=True).values
        # Where more images share the last chosen value than were chosen, topk took an arbitrary subset of them.
        tied = ((rows == last).sum(dim=1) > (chosen == last).sum(dim=1)).nonzero()[:, 0]
        top[start + tied] = rows[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return top


def rerank(similarity: Tensor, match: Match, k: int) -> Tensor:
    """Score the k best images of each query by `matching logit + similarity`, all others by `-100 + similarity`.

    Args:
        similarity: [Q, G].
        match: scores pairs: query indices [P], image indices [P] -> logits [P].
        k: images per query; 0 returns the similarity unchanged.

    Returns:
        Scores [Q, G].
    """
    if not k:
        return similarity
    top = top_images(similarity, k)
    queries = torch.arange(len(similarity), device=top.device).repeat_interleave(top.shape[1])
    images = top.flatten()
    logits = match(queries, images).to(similarity)
    scores = similarity + UNMATCHED_OFFSET
    scores[queries, images] = logits + similarity[queries, images]
    return scores


class Scorer:
    """Scores a retrieval set at any weight and k, from similarities that are computed once.

    Attributes:
        query_image: [Q, G] similarity of query and image.
        rewrite_caption: [Q, G] similarity of rewrite and caption; None if all rewrites or all captions are missing.
        rewrite_image: [Q, G] similarity of rewrite and image; None if `rewrite_caption` is, or if its share is 0.
        share: of `rewrite_image` in the similarity of a rewrite and a gallery image; `rewrite_caption` has the rest.
        seconds: time that one similarity matrix took.
    """

    def __init__(self, embeddings: Embeddings, retrieval: RetrievalSet, match: Matcher, share: float = 0.0) -> None:
        self.share = share
        self.embeddings = embeddings
        self.retrieval = retrieval
        self.match = match
        start = time.perf_counter()
        self.query_image = embeddings.query @ embeddings.image.T
        self.seconds = time.perf_counter() - start
        self.rewrite_caption: Tensor | None = None
        self.rewrite_image: Tensor | None = None
        if embeddings.rewrite is not None and embeddings.caption is not None:
            self.rewrite_caption = embeddings.rewrite @ embeddings.caption.T
            self._rewrite = self.rewrite_caption
            if share:
                self.rewrite_image = embeddings.rewrite @ embeddings.image.T
                self._rewrite = torch.lerp(self.rewrite_caption, self.rewrite_image, share)
            self._has_rewrite, self._has_caption = embeddings.rewrite.any(dim=1), embeddings.caption.any(dim=1)

    def similarity(self, weight: float) -> Tensor:
        """Return the fused similarity [Q, G], which the caller must not modify."""
        if not weight or self.rewrite_caption is None:
            return self.query_image
        return fuse(self.query_image, self._rewrite, self._has_rewrite, self._has_caption, weight)

    def scores(self, *, weight: float, k: int) -> Tensor:
        """Return the fused similarity with the `k` best images of each query re-ranked, [Q, G]."""
        return rerank(self.similarity(weight), self.match, k)

    def evaluate(self, *, weight: float, k: int) -> QueryMetrics:
        """Return the metrics of each query by these scores."""
        scores = self.scores(weight=weight, k=k)
        return evaluate_queries(scores.numpy(), self.retrieval.query_ids, self.retrieval.gallery_ids)


def with_scorer(
    model: TSN,
    tokenizer: BertTokenizer,
    retrieval: RetrievalSet,
    work: Callable[[Scorer], Result],
    *,
    options: EvaluationOptions,
    workers: int | None,
    desc: str,
) -> Result | None:
    """Embed a retrieval set and return what `work` makes of its scores; None in all but the main process.

    Args:
        workers: processes that load images; None: as many as there are cores for them.
        desc: for the progress bar.
    """
    size, keep = options.batch_size, options.token_precision
    embeddings = embed(model, tokenizer, retrieval, keep_tokens=keep, batch_size=size, workers=workers, desc=desc)
    match = Matcher(model, embeddings, batch_size=size)
    return match.run_on_main(lambda: work(Scorer(embeddings, retrieval, match, options.rewrite_image)))


def validate(
    model: TSN,
    tokenizer: BertTokenizer,
    retrieval: RetrievalSet,
    options: EvaluationOptions,
    *,
    opener: ImageOpener = open_image,
    workers: int | None = 0,
) -> dict[str, float]:
    """Return R1, R5, R10, mAP and mINP of a model between epochs, by the scores that a test computes.

    In a process group, all processes must call it, and all get the metrics of the main one.
    """
    weight, k, size = options.select_weight, options.select_k, options.batch_size
    keep = options.token_precision if k else None
    embeddings = embed(
        model,
        tokenizer,
        retrieval,
        keep_tokens=keep,
        batch_size=size,
        workers=workers,
        opener=opener,
        desc="validation",
    )
    match = Matcher(model, embeddings, batch_size=size)
    share = options.rewrite_image
    found = match.run_on_main(lambda: Scorer(embeddings, retrieval, match, share).evaluate(weight=weight, k=k).means())
    metrics: dict[str, float] = distributed.run_on_main(lambda: found)
    return metrics
