"""From embeddings to scores: fuse two similarities, then let the matching head look again at the best."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

UNSEEN = -100.0  # added to what the matching head did not look at, below all that it did (as published)
_ROWS = 1024  # queries whose ties are looked for at once

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
    return mixed(plain, rewrite @ gallery_caption.T, rewrite.any(dim=1), gallery_caption.any(dim=1), weight)


def mixed(plain: Tensor, told: Tensor, has_rewrite: Tensor, has_caption: Tensor, weight: float) -> Tensor:
    """`w told + (1 - w) plain`, [Q, G], and `plain` for queries [Q] and images [G] without text."""
    fused = (told * weight).add_(plain, alpha=1 - weight)
    fused[~has_rewrite] = plain[~has_rewrite]
    fused[:, ~has_caption] = plain[:, ~has_caption]
    return fused


def best_images(similarity: Tensor, k: int) -> Tensor:
    """Numbers [Q, k] of the images of highest similarity [Q, G]; of equal ones, those that stand first in the gallery.

    They come in no particular order. Where the gallery is smaller, k is its size.
    """
    k = min(k, similarity.shape[1])
    values, best = similarity.topk(k, dim=1, sorted=False)
    if not k or k == similarity.shape[1]:
        return best
    for start in range(0, len(similarity), _ROWS):
        part, chosen = similarity[start : start + _ROWS], values[start : start + _ROWS]
        last = chosen.min(dim=1, keepdim=True).values
        # Where more images have the last chosen value than were chosen, topk took any of them.
        tied = ((part == last).sum(dim=1) > (chosen == last).sum(dim=1)).nonzero()[:, 0]
        best[start + tied] = part[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return best


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
    best = best_images(similarity, k)
    queries = torch.arange(len(similarity), device=best.device).repeat_interleave(best.shape[1])
    images = best.flatten()
    logits = match(queries, images).to(similarity)
    scores = similarity + UNSEEN
    scores[queries, images] = logits + similarity[queries, images]
    return scores
