"""The three losses of a training step: pure functions computed in float32."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ITC_SCALE = 50.0  # multiplies the cosine; fixed, as published
ITM_TEMPERATURE = 0.07  # of the softmax that ranks negatives, as published
ID_FUSED_WEIGHT = 0.8  # as published; the text alone gets the rest
VIEW_SCALE = 20.0  # multiplies the cosine of two images or of two texts, a temperature of 0.05
_EPSILON = 1e-8  # keeps the logarithm of a zero target finite

Negatives = Literal["hardest", "sampled"]


def itc_loss(image_embed: Tensor, text_embed: Tensor, labels: Tensor) -> Tensor:
    """Contrast images with texts, where pairs of the same pseudo-label are positives.

    With targets `y_ij = [label_i = label_j]` normalized by rows and `p = softmax(50 cos)`: the symmetric
    Kullback-Leibler divergence of p and y, averaged over all entries, plus the cross-entropy of p against y,
    from image to text and from text to image (the published `global` loss).

    Args:
        image_embed, text_embed: [B, E], of any length; they are normalized here.
        labels: [B] int64.

    Returns:
        Scalar, float32.
    """
    cosine = F.normalize(image_embed.float(), dim=-1) @ F.normalize(text_embed.float(), dim=-1).T
    same = (labels[:, None] == labels[None, :]).float()
    target = same / same.sum(dim=1, keepdim=True)
    logits = ITC_SCALE * cosine
    return (_itc_one_way(logits, target) + _itc_one_way(logits.T, target)) / 2


def _itc_one_way(logits: Tensor, target: Tensor) -> Tensor:
    log_p = F.log_softmax(logits, dim=1)
    log_y = torch.log(target + _EPSILON)
    divergence = (log_p.exp() * (log_p - log_y) + target * (log_y - log_p)).mean()
    return divergence + F.cross_entropy(logits, target)


def image_image_loss(image_embed: Tensor, labels: Tensor) -> Tensor:
    """Contrast the images of a batch with one another, where images of the same pseudo-label are positives.

    With `s_ij = 20 cos(v_i, v_j)` and the positives `P_i`, the other images with the label of i: the mean of
    `log sum_{j != i} exp(s_ij) - mean over P_i of s_ij` over the images that have a positive (SupCon, Khosla et al.
    2020); 0 if none has.

    Args:
        image_embed: [B, E], of any length; they are normalized here.
        labels: [B] int64.

    Returns:
        Scalar, float32.
    """
    embed = F.normalize(image_embed.float(), dim=-1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    log_p = F.log_softmax((VIEW_SCALE * embed @ embed.T).masked_fill(itself, -torch.inf), dim=1)
    count = positive.sum(dim=1)
    loss = -log_p.masked_fill(~positive, 0).sum(dim=1) / count.clamp(min=1)
    return loss.sum() / (count > 0).sum().clamp(min=1)


def text_text_loss(first: Tensor, second: Tensor, captions: Tensor) -> Tensor:
    """Contrast two wordings of each caption; texts that word the same caption are positives.

    With `s_ij = 20 cos(first_i, second_j)` and the positives `P_i`, the j of equal captions, i among them: the mean of
    `log sum_j exp(s_ij) - mean over P_i of s_ij`, averaged with that from second to first (NT-Xent, Chen et al. 2020).

    Args:
        first, second: [B, E], of any length; they are normalized here.
        captions: [B] int64, equal for equal captions.

    Returns:
        Scalar, float32.
    """
    logits = VIEW_SCALE * F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).T
    positive = (captions[:, None] == captions[None, :]).float()
    target = positive / positive.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def hard_negatives(
    image_proj: Tensor, text_proj: Tensor, labels: Tensor, *, choice: Negatives = "hardest"
) -> tuple[Tensor, Tensor]:
    """Choose for each text a similar image, and for each image a similar text, of another label.

    `hardest` takes the most similar by the dot product of the projections, *not* normalized (as published).
    `sampled` draws one with the softmax of the cosines, as BLIP does: while a model does not yet rank true pairs
    first, the hardest negatives would teach it that similar pairs do not match. A batch of a single label has no
    negatives; index 0 is returned instead (as published).

    Args:
        image_proj, text_proj: [B, E], before normalization.
        labels: [B] int64.

    Returns:
        image_index [B] (for each text) and text_index [B] (for each image), int64, without gradient.
    """
    with torch.no_grad():
        images, texts = image_proj.float(), text_proj.float()
        if choice == "sampled":
            images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
        logits = (images @ texts.T / ITM_TEMPERATURE).masked_fill(labels[:, None] == labels[None, :], -torch.inf)
        if choice == "sampled":
            return _sample_columns(logits.T), _sample_columns(logits)
        return logits.T.argmax(dim=1), logits.argmax(dim=1)


def _sample_columns(logits: Tensor) -> Tensor:
    """Draw one column for each row of logits [B, B] by its softmax; column 0 where the entire row is -inf."""
    weights = F.softmax(logits, dim=1).nan_to_num(0.0)
    weights[:, 0] += (weights.sum(dim=1) == 0).to(weights)
    return torch.multinomial(weights, 1)[:, 0]


def itm_loss(logits: Tensor) -> Tensor:
    """Return the cross-entropy of matching logits [3B, 2]: first the B true pairs, then two negatives for each."""
    targets = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    targets[: len(logits) // 3] = 1
    return F.cross_entropy(logits.float(), targets)


def id_loss(fused_logits: Tensor, text_logits: Tensor, labels: Tensor) -> Tensor:
    """Return `0.8 CE(fused) + 0.2 CE(text)` of pseudo-identity logits [B, C] against labels [B] (as published)."""
    fused = F.cross_entropy(fused_logits.float(), labels)
    text = F.cross_entropy(text_logits.float(), labels)
    return ID_FUSED_WEIGHT * fused + (1 - ID_FUSED_WEIGHT) * text
