"""Figures of a model between epochs, by the same scoring as the test."""

from __future__ import annotations

from transformers import BertTokenizer

from data.images import Opener, open_image
from models.tsn import TSN
from retrieval.embed import TokenPrecision, embed
from retrieval.matching import Matcher
from retrieval.retrieval_set import RetrievalSet
from retrieval.scorer import Scorer
from utils import distributed


def validate(
    model: TSN,
    tokenizer: BertTokenizer,
    retrieval: RetrievalSet,
    *,
    k: int,
    weight: float,
    batch_size: int,
    tokens: TokenPrecision = "half",
    opener: Opener = open_image,
) -> dict[str, float]:
    """R1, R5, R10, mAP and mINP; rewrites count with `weight`, and the matching head re-scores the `k` best.

    In a group of processes, all of them must call it, and all get the figures of the first.

    Args:
        tokens: in which the gallery is kept for the matching head.
    """
    embedded = embed(
        model,
        tokenizer,
        retrieval,
        keep_tokens=tokens if k else None,
        batch_size=batch_size,
        opener=opener,
        desc="validation",
    )
    match = Matcher(model, embedded, batch_size=batch_size)
    found = match.led(lambda: Scorer(embedded, retrieval, match).judge(weight=weight, k=k).figures())
    figures: dict[str, float] = distributed.run_on_main(lambda: found)
    return figures
