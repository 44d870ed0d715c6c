"""Attention of texts that lie one after another without padding, and that may look at an image together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.models.bert.modeling_bert import BertCrossAttention

NAME = "texts"  # of this attention among those of transformers


@dataclass(frozen=True)
class Layout:
    """How a batch of texts lies in memory, and which image each of them looks at.

    Attributes:
        mask: [N, L], True on real tokens.
        places: [T], where the real tokens stand in [N x L], for texts that are packed into [1, T, D]: all but
            attention then computes nothing for padding. None for texts that stand padded, as [N, L, D].
        image: [N], the image of each text among those whose keys and values are computed; None: one each, in order.
    """

    mask: Tensor
    places: Tensor | None = None
    image: Tensor | None = None

    @classmethod
    def of(cls, mask: Tensor, *, image: Tensor | None = None) -> Layout:
        """The layout of texts with this mask [N, L]: packed where `packs` says so."""
        mask = mask.bool()
        return cls(mask, mask.flatten().nonzero()[:, 0] if packs(mask) else None, image)

    def pack(self, padded: Tensor) -> Tensor:
        """[N, L, ...] -> [1, T, ...]; as it is where texts stand padded."""
        if self.places is None:
            return padded
        return padded.flatten(0, 1).index_select(0, self.places)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """The inverse of `pack`, with zeros for padding."""
        if self.places is None:
            return packed
        padded = packed.new_zeros(self.mask.numel(), *packed.shape[2:])
        return padded.index_copy(0, self.places, packed[0]).unflatten(0, tuple(self.mask.shape))

    def first(self, packed: Tensor) -> Tensor:
        """The first token of each text, [N, D]."""
        if self.places is None:
            return packed[:, 0]
        lengths = self.mask.sum(dim=1)
        return packed[0].index_select(0, lengths.cumsum(0) - lengths)


def packs(mask: Tensor) -> bool:
    """Whether to pack: on the CPU, where arithmetic is dear. A GPU's host would have to wait for the texts' lengths."""
    return mask.device.type == "cpu"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    layout: Layout,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Fused attention in both directions, as transformers calls it.

    Args:
        query: [1, H, T, d] or [N, H, L, d]; key and value alike, or, of the cross-attention, [images, H, P, d].

    Returns:
        [1, T, H, d] or [N, L, H, d], and no weights.
    """
    query = _unpack_heads(layout, query)
    if not isinstance(module, BertCrossAttention):
        key, value, mask = _unpack_heads(layout, key), _unpack_heads(layout, value), layout.mask[:, None, None, :]
    else:
        mask = None
        if layout.image is not None:
            key, value = key.index_select(0, layout.image), value.index_select(0, layout.image)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return layout.pack(mixed.transpose(1, 2)), None


def _unpack_heads(layout: Layout, heads: Tensor) -> Tensor:
    return layout.unpack(heads.transpose(1, 2)).transpose(1, 2)


AttentionInterface.register(NAME, attend)
