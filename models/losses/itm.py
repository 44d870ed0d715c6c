"""Image-text matching: does this text belong to this image?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07  # as published


def hard_negatives(image_proj: Tensor, text_proj: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pick for each text the most similar image, and for each image the most similar text, of another label.

    Similarity is the softmax of the scaled products of the projections, *not* normalised (as published). A batch of
    one label only has no negatives; index 0 then stands in (as published).

    Args:
        image_proj, text_proj: [B, E], before normalisation.
        labels: [B] int64.

    Returns:
        image_index [B] (for each text) and text_index [B] (for each image), int64, without gradient.
    """
    with torch.no_grad():
        logits = image_proj.float() @ text_proj.float().T / TEMPERATURE
        same = labels[:, None] == labels[None, :]
        text_index = F.softmax(logits, dim=1).masked_fill(same, 0).argmax(dim=1)
        image_index = F.softmax(logits.T, dim=1).masked_fill(same, 0).argmax(dim=1)
    return image_index, text_index


def itm_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of matching logits [3B, 2]: first the B true pairs, then two negatives for each."""
    targets = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    targets[: len(logits) // 3] = 1
    return F.cross_entropy(logits.float(), targets)
