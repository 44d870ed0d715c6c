"""Image-text matching: does this text belong to this image?"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07  # as published

Negatives = Literal["hardest", "sampled"]


def hard_negatives(
    image_proj: Tensor, text_proj: Tensor, labels: Tensor, *, choice: Negatives = "hardest"
) -> tuple[Tensor, Tensor]:
    """Pick for each text an image, and for each image a text, of another label that looks as if it matched.

    `hardest` takes the most similar by the product of the projections, *not* normalised (as published). `sampled`
    draws one, the likelier the higher its cosine, as BLIP does: a model that does not rank true pairs first yet
    learns from the hardest that what is alike does not match. A batch of one label only has no negatives; index 0
    then stands in (as published).

    Args:
        image_proj, text_proj: [B, E], before normalisation.
        labels: [B] int64.

    Returns:
        image_index [B] (for each text) and text_index [B] (for each image), int64, without gradient.
    """
    with torch.no_grad():
        images, texts = image_proj.float(), text_proj.float()
        if choice == "sampled":
            images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
        logits = (images @ texts.T / TEMPERATURE).masked_fill(labels[:, None] == labels[None, :], -torch.inf)
        if choice == "sampled":
            return _draw(logits.T), _draw(logits)
        return logits.T.argmax(dim=1), logits.argmax(dim=1)


def _draw(logits: Tensor) -> Tensor:
    """One column for each row of logits [B, B], by their softmax; column 0 where all are infinitely low."""
    weights = F.softmax(logits, dim=1).nan_to_num(0.0)
    weights[:, 0] += (weights.sum(dim=1) == 0).to(weights)
    return torch.multinomial(weights, 1)[:, 0]


def itm_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of matching logits [3B, 2]: first the B true pairs, then two negatives for each."""
    targets = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    targets[: len(logits) // 3] = 1
    return F.cross_entropy(logits.float(), targets)
