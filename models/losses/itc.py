"""Image-text contrast over labels that agree."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE = 50.0  # of the cosine, fixed as published
_TINY = 1e-8  # keeps the logarithm of a zero target finite


def itc_loss(image_embed: Tensor, text_embed: Tensor, labels: Tensor) -> Tensor:
    """Pull together what shares a pseudo-label, push apart the rest, from image to text and back.

    With targets `y_ij = [label_i = label_j]` normalised by rows and `p = softmax(50 cos)`: the symmetric
    Kullback-Leibler divergence of p and y, averaged over all entries, plus the cross-entropy of p against y
    (the published `global` loss).

    Args:
        image_embed, text_embed: [B, E], of any length; they are normalised here.
        labels: [B] int64.

    Returns:
        Scalar, float32.
    """
    cosine = F.normalize(image_embed.float(), dim=-1) @ F.normalize(text_embed.float(), dim=-1).T
    agree = (labels[:, None] == labels[None, :]).float()
    target = agree / agree.sum(dim=1, keepdim=True)
    logits = SCALE * cosine
    return (_one_way(logits, target) + _one_way(logits.T, target)) / 2


def _one_way(logits: Tensor, target: Tensor) -> Tensor:
    log_p = F.log_softmax(logits, dim=1)
    log_y = torch.log(target + _TINY)
    divergence = (log_p.exp() * (log_p - log_y) + target * (log_y - log_p)).mean()
    return divergence + F.cross_entropy(logits, target)
