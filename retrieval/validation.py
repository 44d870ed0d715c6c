"""Figures of a model between epochs, by the same scoring as the test."""

from __future__ import annotations

from transformers import BertTokenizer

from data.images import Opener, open_image
from models.tsn import TSN
from retrieval.embed import embed
from retrieval.evaluate import Variant, judge, score
from retrieval.retrieval_set import RetrievalSet


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
    """R1, R5, R10, mAP and mINP; rewrites count with `weight`, and the matching head re-scores the `k` best."""
    embedded = embed(
        model, tokenizer, retrieval, keep_tokens=k > 0, batch_size=batch_size, opener=opener, desc="validation"
    )
    scores = score(model, embedded, Variant(msm=weight > 0, itm=k > 0), weight=weight, k=k, batch_size=batch_size)
    return judge(scores, retrieval).figures()
