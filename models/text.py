"""The text encoder: transformers' BertModel with bidirectional attention and cross-attention to an image.

On the CPU, the texts of a batch are packed one after another, so that only attention computes anything for padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, BertConfig, BertModel
from transformers.models.bert.modeling_bert import BertCrossAttention

from models.options import Sizes

_ATTENTION = "tsn_text"  # name of `text_attention` in transformers' registry


@dataclass(frozen=True)
class TextLayout:
    """The memory layout of a batch of N texts of up to L tokens, and the image that each of them attends to.

    Attributes:
        mask: [N, L], True on real tokens.
        token_index: [T], indices of the real tokens in [N * L], for texts packed into [1, T, D]; None for texts that
            are padded, [N, L, D].
        image_index: [N], row of each text's image in the image tokens; None if text i belongs to image i.
    """

    mask: Tensor
    token_index: Tensor | None = None
    image_index: Tensor | None = None

    @classmethod
    def from_mask(cls, mask: Tensor, *, image_index: Tensor | None = None) -> TextLayout:
        """Return the layout of texts with this mask [N, L], packed if `should_pack` says so."""
        mask = mask.bool()
        return cls(mask, mask.flatten().nonzero()[:, 0] if should_pack(mask) else None, image_index)

    def pack(self, padded: Tensor) -> Tensor:
        """Pack [N, L, ...] into [1, T, ...]; unchanged in a padded layout."""
        if self.token_index is None:
            return padded
        return padded.flatten(0, 1).index_select(0, self.token_index)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """Return the inverse of `pack`, [N, L, ...], with zeros for padding."""
        if self.token_index is None:
            return packed
        padded = packed.new_zeros(self.mask.numel(), *packed.shape[2:])
        return padded.index_copy(0, self.token_index, packed[0]).unflatten(0, tuple(self.mask.shape))

    def first_tokens(self, packed: Tensor) -> Tensor:
        """Return the first token of each text, [N, D]."""
        if self.token_index is None:
            return packed[:, 0]
        lengths = self.mask.sum(dim=1)
        return packed[0].index_select(0, lengths.cumsum(0) - lengths)

    def pack_ids(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return token ids [N, L] and their positions in their texts, both in this layout."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        return self.pack(input_ids), self.pack(positions)


def should_pack(mask: Tensor) -> bool:
    """Return whether to pack: only on the CPU, since a GPU would have to synchronize for the lengths of the texts."""
    return mask.device.type == "cpu"


def text_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    layout: TextLayout,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute bidirectional attention over texts in a `TextLayout`, with the signature that transformers expects.

    Args:
        query: [1, H, T, d] or [N, H, L, d]; key and value alike, or, in cross-attention, [images, H, P, d].

    Returns:
        [1, T, H, d] or [N, L, H, d], and None for the weights.
    """
    query = _unpack_heads(layout, query)
    if not isinstance(module, BertCrossAttention):
        key, value, mask = _unpack_heads(layout, key), _unpack_heads(layout, value), layout.mask[:, None, None, :]
    else:
        mask = None
        if layout.image_index is not None:
            key, value = key.index_select(0, layout.image_index), value.index_select(0, layout.image_index)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return layout.pack(mixed.transpose(1, 2)), None


def _unpack_heads(layout: TextLayout, heads: Tensor) -> Tensor:
    return layout.unpack(heads.transpose(1, 2)).transpose(1, 2)


AttentionInterface.register(_ATTENTION, text_attention)


def build_text_encoder(sizes: Sizes, *, dropout: float = 0.1) -> BertModel:
    """Build a BERT that encodes a text alone, or together with an image, with the same weights.

    Without `encoder_hidden_states` the cross-attention is skipped: that is the text encoder. With them it is the
    matching encoder. Parameter names are those of BLIP's `text_encoder`, plus the token-type embedding, which BLIP
    does not have: here it is zero and frozen.
    """
    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.text_width,
        num_hidden_layers=sizes.text_depth,
        num_attention_heads=sizes.text_width // 64,
        intermediate_size=sizes.text_mlp,
        max_position_embeddings=sizes.positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # BERT's 0.02 suits 768 channels; with 128, the words would hardly influence the output at [CLS].
        initializer_range=sizes.text_width**-0.5,
        is_decoder=True,
        add_cross_attention=True,
    )
    encoder = BertModel(config, add_pooling_layer=False)
    # transformers allows cross-attention only in decoders and makes those causal, but BLIP's BERT is bidirectional:
    # only the layers stay decoders, which enables their cross-attention.
    encoder.config.is_decoder = False
    encoder.config._attn_implementation = _ATTENTION
    for layer in layers_of(encoder):
        layer.attention.self.is_causal = False
    _resize_cross_attention(encoder, sizes)
    types = encoder.embeddings.token_type_embeddings
    types.weight.data.zero_()
    types.weight.requires_grad_(False)
    return encoder


def _resize_cross_attention(encoder: BertModel, sizes: Sizes) -> None:
    """Make the cross-attention accept image tokens of another width than the text's (BLIP-large: 1024 and 768)."""
    for layer in layers_of(encoder):
        attention = layer.crossattention.self
        for name in ("key", "value"):
            projection = type(attention.key)(sizes.vision_width, attention.all_head_size)
            projection.weight.data.normal_(std=encoder.config.initializer_range)
            projection.bias.data.zero_()
            setattr(attention, name, projection)


def encode_texts(
    encoder: BertModel, input_ids: Tensor, layout: TextLayout, image_tokens: Tensor | None = None
) -> Tensor:
    """Encode token ids [N, L] alone, or together with image tokens [images, P, D].

    Returns:
        Tokens in the given layout, [1, T, D] or [N, L, D].
    """
    ids, positions = layout.pack_ids(input_ids)
    output = encoder(ids, position_ids=positions, encoder_hidden_states=image_tokens, layout=layout)
    hidden: Tensor = output.last_hidden_state
    return hidden


def encode_pairs(encoder: BertModel, input_ids: Tensor, layout: TextLayout, image_tokens: Tensor) -> Tensor:
    """Encode token ids [N, L] together with image tokens, and return only the first token of each text, [N, D].

    In the last layer, cross-attention and feed-forward are computed for the first token alone.
    """
    ids, positions = layout.pack_ids(input_ids)
    hidden = encoder.embeddings(ids, position_ids=positions)
    *layers, last = layers_of(encoder)
    for layer in layers:
        hidden = layer(hidden, None, image_tokens, layout=layout)
    attended, _ = last.attention(hidden, layout=layout)
    first = layout.first_tokens(attended)[:, None]
    first_layout = TextLayout(layout.mask[:, :1], image_index=layout.image_index)
    crossed, _ = last.crossattention(first, None, image_tokens, layout=first_layout)
    encoded: Tensor = last.feed_forward_chunk(crossed)[:, 0]
    return encoded


def layers_of(encoder: BertModel) -> Iterable[Any]:
    """Return the layers of the encoder."""
    layers: Iterable[Any] = encoder.encoder.layer
    return layers
