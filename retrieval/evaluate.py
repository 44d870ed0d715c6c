"""Scores and figures of a retrieval set: the one place that train.py's validation and test.py share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.tsn import TSN
from retrieval.embed import Embedded
from retrieval.metrics import Judged, judge_queries
from retrieval.retrieval_set import RetrievalSet
from retrieval.scoring import Match, fused_similarity, rerank
from utils.progress import Progress


@dataclass(frozen=True)
class Variant:
    """One way to score: with or without the rewrites (MSM) and the matching head (ITM)."""

    msm: bool
    itm: bool


VARIANTS = (Variant(False, False), Variant(True, False), Variant(False, True), Variant(True, True))


def score(model: TSN, embedded: Embedded, variant: Variant, *, weight: float, k: int, batch_size: int) -> Tensor:
    """Scores [Q, G] of a variant.

    Args:
        weight: share of the rewrite-caption similarity, where the variant has MSM.
        k: images a query that the matching head looks at, where the variant has ITM.
        batch_size: pairs matched at once.
    """
    similarity = fused_similarity(
        embedded.query, embedded.image, embedded.rewrite, embedded.caption, weight if variant.msm else 0.0
    )
    return rerank(similarity, _matcher(model, embedded, batch_size), k if variant.itm else 0)


def judge(scores: Tensor, retrieval: RetrievalSet) -> Judged:
    """How each query was answered by scores [Q, G]."""
    return judge_queries(scores.numpy(), retrieval.query_ids, retrieval.gallery_ids)


def _matcher(model: TSN, embedded: Embedded, batch_size: int) -> Match:
    @torch.inference_mode()
    def match(queries: Tensor, images: Tensor) -> Tensor:
        if embedded.image_tokens is None:
            raise ValueError("the gallery was embedded without its tokens, which matching needs")
        device = model.itm_head.weight.device
        logits = []
        with Progress(len(queries), desc="matching", unit="pair") as bar:
            for part in torch.arange(len(queries)).split(batch_size):
                mask = embedded.query_mask[queries[part]]
                longest = int(mask.sum(dim=1).max())  # the queries of a batch need no more padding than that
                logits.append(
                    model.match(
                        embedded.image_tokens[images[part]].to(device),
                        embedded.query_ids[queries[part], :longest].to(device),
                        mask[:, :longest].to(device),
                    ).cpu()
                )
                bar.advance(len(part))
        return torch.cat(logits)

    return match
