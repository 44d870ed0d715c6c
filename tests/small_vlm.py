"""Models of some ten thousand parameters, of real classes and with real processors, saved as released ones are.

With random weights, replies are random and depend on the photograph. A model with a given `reply` has weights that are
set by hand: its layers add nothing, and its output matrix maps each token to the next, so that its reply is always the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from captioning.style.prompts import image_prompt, query_prompt

Family = Literal["qwen2_5_vl", "qwen3_vl", "qwen2"]

CAPTION = ("The person is wearing", " a red coat", " with blue trousers.")
SYSTEM = "You are a helpful assistant."
TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_MARKS = ("im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
_WIDTH = 32


def write_model(
    folder: Path,
    family: Family,
    *,
    reply: Sequence[str] | None = None,
    template: str | None = TEMPLATE,
    tied: bool = False,
) -> Path:
    """Write a model, its processor or tokenizer, and its chat template to `folder`.

    Args:
        family: an image-text model, or "qwen2", which accepts no images.
        reply: its constant reply, in pieces that all differ; None for random weights.
        template: None for a model without chat template.
        tied: whether input and output embeddings share their weights.
    """
    tokenizer = _tokenizer(reply or ())
    torch.manual_seed(0)
    model = _model(family, tokenizer, tied=tied)
    if reply is not None:
        _teach(model, [_id(tokenizer, token) for token in ("\u010a", *reply, "<|im_end|>")])  # \u010a: a new line
    settings: Any = model.generation_config  # as in released models
    settings.update(do_sample=True, temperature=0.1, top_p=0.8, top_k=20, repetition_penalty=1.5)
    settings.update(eos_token_id=[_id(tokenizer, "<|im_end|>"), _id(tokenizer, "<|endoftext|>")])
    model.save_pretrained(folder)
    if family == "qwen2":
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
    else:
        _processor(family, tokenizer, template).save_pretrained(folder)
    return folder


def _id(tokenizer: Qwen2Tokenizer, token: str) -> int:
    number = tokenizer.get_vocab()[token]
    assert isinstance(number, int)
    return number


def _tokenizer(words: Sequence[str]) -> Qwen2Tokenizer:
    """Byte pairs learned from the prompts, so that these are few tokens; each of `words` is a single token."""
    texts = [SYSTEM, *(image_prompt(form) + query_prompt(form, "") for form in ("text", "json"))]
    marks = [f"<|{mark}|>" for mark in _MARKS]
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(texts, 600, new_special_tokens=marks, show_progress=False)
    tokenizer.add_tokens(list(words))
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


def _model(family: Family, tokenizer: Qwen2Tokenizer, *, tied: bool) -> PreTrainedModel:
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**text, tie_word_embeddings=tied))
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    vision = {"depth": 2, "hidden_size": _WIDTH, "intermediate_size": 2 * _WIDTH, "num_heads": 2}
    sight: dict[str, Any] = vision | {"out_hidden_size": _WIDTH, "initializer_range": 0.3}
    both: dict[str, Any] = {f"{kind}_token_id": _id(tokenizer, f"<|{kind}_pad|>") for kind in ("image", "video")}
    both |= {f"vision_{end}_token_id": _id(tokenizer, f"<|vision_{end}|>") for end in ("start", "end")}
    both["tie_word_embeddings"] = tied
    if family == "qwen2_5_vl":
        sight |= {"fullatt_block_indexes": [1], "window_size": 56}
        text |= {"rope_parameters": rope}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=sight, **both)
        return Qwen2_5_VLForConditionalGeneration(config)
    sight |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    text |= {"head_dim": 8, "rope_parameters": rope | {"mrope_interleaved": True}}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=sight, **both))


def _processor(
    family: Family, tokenizer: Qwen2Tokenizer, template: str | None
) -> Qwen2_5_VLProcessor | Qwen3VLProcessor:
    """As released, except for the minimum size of Qwen3-VL's photographs, which is 65,536 pixels there."""
    if family == "qwen2_5_vl":
        return Qwen2_5_VLProcessor(Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(), chat_template=template)
    sizes: dict[str, Any] = {"patch_size": 16, "size": {"shortest_edge": 64**2, "longest_edge": 2**24}}
    reader = Qwen2VLImageProcessor(**sizes, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return Qwen3VLProcessor(reader, tokenizer, Qwen3VLVideoProcessor(), chat_template=template)


@torch.no_grad()
def _teach(model: Any, chain: Sequence[int]) -> None:
    """Make each token of `chain` predict the next one, and all others none."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")) and "visual" not in name:
            weight.zero_()
    seen, output = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    output.zero_()
    for token, following in pairwise(chain):
        output[following] = seen[token]
