"""Figures of a model between epochs, by the same scoring as the test."""

from __future__ import annotations

from transformers import BertTokenizer

from data.images import Opener, open_image
from models.tsn import TSN
from retrieval.embed import embed
from retrieval.retrieval_set import RetrievalSet
from retrieval.scorer import Scorer


def validate(
    model: TSN,
    tokenizer: BertTokenizer,
    retrieval: RetrievalSet,
    *,
    k: int,
    weight: float,
    batch_size: int,
    opener: Opener = open_image,
) -> dict[str, float]:
    """R1, R5, R10, mAP and mINP; rewrites count with `weight`, and the matching head re-scores the `k` best.

    In a group of processes, all of them must call it.
    """
    embedded = embed(
        model,
        tokenizer,
        retrieval,
        keep_tokens="half" if k else None,
        batch_size=batch_size,
        opener=opener,
        desc="validation",
    )
    return Scorer(model, embedded, retrieval, batch_size=batch_size).judge(weight=weight, k=k).figures()
