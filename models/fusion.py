"""The fusion encoder: image tokens attend to text tokens, followed by one transformer block."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class FusionEncoder(nn.Module):
    """`ln_post(block(cross_attn(ln_pre_t(v), ln_pre_i(t), ln_pre_i(t))))`, as published.

    The names of the norms are the published ones, although `ln_pre_t` is applied to the image and `ln_pre_i` to the
    text.
    """

    def __init__(self, image_width: int, text_width: int) -> None:
        super().__init__()
        heads = image_width // 64
        key_sizes = {} if text_width == image_width else {"kdim": text_width, "vdim": text_width}
        self.cross_attn = nn.MultiheadAttention(image_width, heads, batch_first=True, **key_sizes)
        self.cross_modal_transformer = Transformer(PreNormBlock(image_width, heads))
        self.ln_pre_t = nn.LayerNorm(image_width)
        self.ln_pre_i = nn.LayerNorm(text_width)
        self.ln_post = nn.LayerNorm(image_width)

    def forward(self, image_tokens: Tensor, text_tokens: Tensor, text_mask: Tensor | None = None) -> Tensor:
        """Fuse image tokens [B, P, Dv] with text tokens [B, L, Dt] and return the class token, [B, Dv].

        `text_mask` [B, L] is 1 on real tokens; None attends to every position, padding included (as published).
        """
        keys = self.ln_pre_i(text_tokens)
        padding = None if text_mask is None else text_mask == 0
        fused, _ = self.cross_attn(
            self.ln_pre_t(image_tokens), keys, keys, key_padding_mask=padding, need_weights=False
        )
        return self.ln_post(self.cross_modal_transformer(fused))[:, 0]


class Transformer(nn.Module):
    """A transformer of one block, with CLIP's parameter names, that computes only the class token's output."""

    def __init__(self, block: PreNormBlock) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(block)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, D] -> [B, 1, D]."""
        return self.resblocks[0](tokens, queries=1)


class PreNormBlock(nn.Module):
    """CLIP's transformer block: pre-norm self-attention, then a feed-forward layer with QuickGELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, *, queries: int | None = None) -> Tensor:
        """[B, P, D] -> [B, P, D], or only its first `queries` tokens."""
        normed = self.ln_1(tokens)
        tokens = tokens[:, :queries] + self.attn(normed[:, :queries], normed, normed, need_weights=False)[0]
        return tokens + self.mlp(self.ln_2(tokens))


class QuickGELU(nn.Module):
    """`x * sigmoid(1.702 x)`, CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)
