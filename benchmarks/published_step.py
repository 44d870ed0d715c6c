"""The published training step, reimplemented from its description: the same losses, computed like in the release."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor
from torch.optim import AdamW
from transformers import BertTokenizer

from models.losses import ITM_TEMPERATURE, id_loss, itc_loss, itm_loss
from models.tokenizer import MAX_TOKENS, tokenize
from models.tsn import TSN

Pairs = tuple[Tensor, list[str], Tensor]
"""Pixels, captions and indices of a batch."""


class PublishedTSN(TSN):
    """TSN with eager attention, two passes of each encoder per step, a Python loop over hard negatives, and padding.

    As in `TSN`, the fusion masks padding unless `fuse_padding` is set, so that both have the same losses.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.text_encoder.config._attn_implementation = "eager"
        for layer in self.visual_encoder.modules():
            if isinstance(layer, Attention):
                layer.fused_attn = False  # type: ignore[misc]

    def forward(
        self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any
    ) -> dict[str, Tensor]:
        """Return the same losses as `TSN`."""
        image_tokens = self.visual_encoder(pixels)
        text_tokens = self.text_encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        image_proj, text_proj = self.vision_proj(image_tokens[:, 0]), self.text_proj(text_tokens[:, 0])
        losses = {"itc": itc_loss(image_proj, text_proj, labels)}

        images, texts = _hard_negatives(image_proj.detach(), text_proj.detach(), labels)
        own = self._joint(image_tokens, input_ids, attention_mask)
        others = self._joint(
            torch.cat([torch.stack([image_tokens[index] for index in images]), image_tokens]),
            torch.cat([input_ids, torch.stack([input_ids[index] for index in texts])]),
            torch.cat([attention_mask, torch.stack([attention_mask[index] for index in texts])]),
        )
        losses["itm"] = itm_loss(self.itm_head(torch.cat([own, others])))

        with torch.no_grad():
            image_tokens = self.visual_encoder(pixels)
            text_tokens = self.text_encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        fused = self._fuse_every_token(image_tokens, text_tokens, None if self.fuse_padding else attention_mask)
        losses["id"] = id_loss(self.classifier(fused), self.classifier(text_proj), labels)
        return losses

    def _joint(self, image_tokens: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        marked = input_ids.clone()
        marked[:, 0] = self.enc_token
        read = self.text_encoder(marked, attention_mask=attention_mask, encoder_hidden_states=image_tokens)
        joint: Tensor = read.last_hidden_state[:, 0]
        return joint

    def _fuse_every_token(self, image_tokens: Tensor, text_tokens: Tensor, text_mask: Tensor | None) -> Tensor:
        cross = self.image_cross_model
        keys = cross.ln_pre_i(text_tokens)
        padding = None if text_mask is None else text_mask == 0
        queries = cross.ln_pre_t(image_tokens)
        mixed, _ = cross.cross_attn(queries, keys, keys, key_padding_mask=padding, need_weights=False)
        mixed = cross.cross_modal_transformer.get_submodule("resblocks.0")(mixed, queries=None)
        return self.cross_proj(cross.ln_post(mixed)[:, 0])


def published_step(
    model: PublishedTSN, tokenizer: BertTokenizer, optimizer: AdamW, batch: Pairs, labels: Tensor
) -> dict[str, float]:
    """Run one step, then wait for the losses and empty the GPU's cache."""
    device = model.cross_proj.weight.device
    pixels, captions, indices = batch
    ids, mask = tokenize(tokenizer, list(captions), pad_to=MAX_TOKENS)
    losses = model(pixels.to(device), ids.to(device), mask.to(device), labels[indices].to(device))
    optimizer.zero_grad()
    sum(losses.values(), torch.zeros((), device=device)).backward()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    return {name: value.item() for name, value in losses.items()}


def published_optimizer(model: PublishedTSN) -> AdamW:
    """Return AdamW with the published settings, not fused."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return AdamW(learning, lr=1e-5, weight_decay=0.05, fused=False)


def _hard_negatives(image_proj: Tensor, text_proj: Tensor, labels: Tensor) -> tuple[list[int], list[int]]:
    """Choose for each text the image, and for each image the text, of another label with the highest softmax."""
    products = image_proj @ text_proj.T / ITM_TEMPERATURE
    same = labels[:, None] == labels[None, :]
    of_texts = F.softmax(products, dim=1).masked_fill(same, 0)
    of_images = F.softmax(products.T, dim=1).masked_fill(same, 0)
    images, texts = [], []
    for number in range(len(labels)):
        images.append(int(of_images[number].argmax().item()))
    for number in range(len(labels)):
        texts.append(int(of_texts[number].argmax().item()))
    return images, texts
