"""Which pseudo-identity is it? A softmax over clusters."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

FUSED_WEIGHT = 0.8  # as published; the rest goes to the text alone


def id_loss(fused_logits: Tensor, text_logits: Tensor, labels: Tensor) -> Tensor:
    """`0.8 CE(fused) + 0.2 CE(text)` of cluster logits [B, C] against labels [B] (as published)."""
    fused = F.cross_entropy(fused_logits.float(), labels)
    text = F.cross_entropy(text_logits.float(), labels)
    return FUSED_WEIGHT * fused + (1 - FUSED_WEIGHT) * text
