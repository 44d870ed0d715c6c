"""The text encoder: transformers' BertModel with cross-attention in every layer, read in both directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from models.attention import NAME, Layout
from models.sizes import Sizes


def build_text_encoder(sizes: Sizes, *, dropout: float = 0.1) -> BertModel:
    """Build a BERT that encodes a text alone, or a text that looks at an image's tokens, with the same weights.

    Without `encoder_hidden_states` the cross-attention is skipped: that is the text tower. With them it is the
    matching encoder. Parameter names are those of BLIP's `text_encoder`, but for the token-type embedding, which BLIP
    has not: here it is zero and does not learn.
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
        # BERT's own 0.02 suits 768 channels; at 128 it would drown the words in what [CLS] is anyway.
        initializer_range=sizes.text_width**-0.5,
        is_decoder=True,
        add_cross_attention=True,
    )
    encoder = BertModel(config, add_pooling_layer=False)
    # transformers gives cross-attention to decoders alone and makes those causal. BLIP's BERT reads both ways: only
    # the layers stay decoders, which is what switches their cross-attention on.
    encoder.config.is_decoder = False
    encoder.config._attn_implementation = NAME
    for layer in _layers(encoder):
        layer.attention.self.is_causal = False
    widen_cross_attention(encoder, sizes)
    types = encoder.embeddings.token_type_embeddings
    types.weight.data.zero_()
    types.weight.requires_grad_(False)
    return encoder


def read_texts(encoder: BertModel, input_ids: Tensor, layout: Layout, image_tokens: Tensor | None = None) -> Tensor:
    """Token ids [N, L] through the text tower, or, with image tokens [images, P, D], the matching encoder.

    Returns:
        Tokens as they lie in `layout`, [1, T, D] or [N, L, D].
    """
    ids, places = _packed(input_ids, layout)
    read = encoder(ids, position_ids=places, encoder_hidden_states=image_tokens, layout=layout)
    hidden: Tensor = read.last_hidden_state
    return hidden


def match_texts(encoder: BertModel, input_ids: Tensor, layout: Layout, image_tokens: Tensor) -> Tensor:
    """The first token [N, D] of each text through the matching encoder, which is all that its head looks at.

    In the last layer, nothing is computed of the others but what the first one attends to.
    """
    ids, places = _packed(input_ids, layout)
    hidden = encoder.embeddings(ids, position_ids=places)
    *layers, last = _layers(encoder)
    for layer in layers:
        hidden = layer(hidden, None, image_tokens, layout=layout)
    attended, _ = last.attention(hidden, layout=layout)
    first = layout.first(attended)[:, None]
    alone = Layout(layout.mask[:, :1], image=layout.image)
    looked, _ = last.crossattention(first, None, image_tokens, layout=alone)
    matched: Tensor = last.feed_forward_chunk(looked)[:, 0]
    return matched


def _packed(input_ids: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Token ids and their places in their texts, as they lie in the layout."""
    places = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    if layout.places is None:
        return input_ids, places
    return layout.pack(input_ids), layout.pack(places)


def widen_cross_attention(encoder: BertModel, sizes: Sizes) -> None:
    """Let the cross-attention read image tokens of another width than the text's (BLIP-large: 1024 beside 768)."""
    for layer in _layers(encoder):
        attention = layer.crossattention.self
        for name in ("key", "value"):
            projection = type(attention.key)(sizes.vision_width, attention.all_head_size)
            projection.weight.data.normal_(std=encoder.config.initializer_range)
            projection.bias.data.zero_()
            setattr(attention, name, projection)


def _layers(encoder: BertModel) -> Iterable[Any]:
    layers: Iterable[Any] = encoder.encoder.layer
    return layers
