"""From embeddings to scores: fuse two similarities, then let the matching head look again at the best."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

UNSEEN = -100.0  # added to what the matching head did not look at, below all that it did (as published)

Match = Callable[[Tensor, Tensor], Tensor]


def fused_similarity(
    query: Tensor, image: Tensor, rewrite: Tensor | None, gallery_caption: Tensor | None, weight: float
) -> Tensor:
    """`w rewrite . gallery_caption + (1 - w) query . image`, [Q, G].

    Args:
        query: [Q, E], embeddings of the queries, of unit length like the others.
        image: [G, E], of the gallery images.
        rewrite: [Q, E], of the rewritten queries; a row of zeros where there is none. None: no query has one.
        gallery_caption: [G, E], of the gallery's captions; zeros or None likewise.
        weight: w. Where rewrite or caption is missing, the plain similarity stands alone, with weight 1.
    """
    plain = query @ image.T
    if not weight or rewrite is None or gallery_caption is None:
        return plain
    both = (rewrite.any(dim=1)[:, None] & gallery_caption.any(dim=1)[None]).to(plain.dtype) * weight
    return both * (rewrite @ gallery_caption.T) + (1 - both) * plain


def rerank(similarity: Tensor, match: Match, k: int) -> Tensor:
    """Score the k best images of each query by `matching logit + similarity`, all others by `-100 + similarity`.

    Args:
        similarity: [Q, G].
        match: scores chosen pairs: query numbers [P], image numbers [P] -> logits [P].
        k: images a query; 0 leaves the similarity as it is.

    Returns:
        Scores [Q, G].
    """
    if not k:
        return similarity
    best = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    queries = torch.arange(len(similarity), device=best.device).repeat_interleave(best.shape[1])
    logits = match(queries, best.flatten()).to(similarity)
    scores = similarity + UNSEEN
    scores[queries, best.flatten()] = logits + similarity[queries, best.flatten()]
    return scores
