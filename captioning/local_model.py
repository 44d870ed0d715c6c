"""A transformers model on this machine: prompts with or without a photograph in, replies out, side by side."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)

from captioning.local_prompts import Prompt
from utils.device import pick_device
from utils.errors import UserError

_LONGEST_CAUSE = 200  # characters


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes:
        text: without special tokens.
        prompt_tokens, tokens: lengths of prompt and reply, without padding.
        finished: whether the model came to an end by itself.
    """

    text: str
    prompt_tokens: int
    tokens: int
    finished: bool


class LocalModel:
    """An image-text model with its processor, or a model of text alone with its tokenizer.

    Args:
        model: on its device, in evaluation mode.
        reader: the processor of a model that sees, else the tokenizer.
        sees: whether prompts may have photographs.

    Raises:
        UserError: the model cannot be talked to: it has no chat template or no vocabulary.
    """

    def __init__(self, model: Any, reader: Any, *, sees: bool) -> None:
        self.sees = sees
        self._model, self._reader = model, reader
        self._tokenizer = reader.tokenizer if sees else reader
        self._template = getattr(reader, "chat_template", None) or self._tokenizer.chat_template
        # A template that can do without a model's thoughts is told to.
        self._options = {"enable_thinking": False} if "enable_thinking" in str(self._template) else {}
        special = [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]
        placeholders = [getattr(reader, f"{kind}_token", None) for kind in ("image", "video")]
        self._special = [token for token in (*special, *placeholders) if token]
        self._check()
        self._tokenizer.padding_side = "left"  # where a prompt ends, its reply has to begin
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._ends = _ids(model.generation_config.eos_token_id) | _ids(self._tokenizer.eos_token_id)
        # Released models come with settings for sampling, and with a penalty of repetition, which would count the words
        # of the prompt, the caption template's among them.
        model.generation_config.update(
            **{"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
            **{"temperature": None, "top_p": None, "top_k": None, "min_p": None, "max_length": None},
            **{"eos_token_id": sorted(self._ends), "pad_token_id": self._tokenizer.pad_token_id},
        )

    def reply(self, prompts: Sequence[Prompt], max_tokens: int) -> list[Reply] | None:
        """Answer prompts side by side, each as it would be alone, with the likeliest token at each step.

        Args:
            prompts: all with a photograph, or all without.
            max_tokens: replies are cut there.

        Returns:
            A reply for each prompt; None where the GPU's memory does not suffice for so many.
        """
        with suppress(torch.OutOfMemoryError):
            return self._reply(prompts, max_tokens)
        gc.collect()  # only here, behind the error, nothing holds what did not fit any more
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _check(self) -> None:
        """transformers makes an empty tokenizer where its files are missing; a template can lack anything."""
        if not self._template:
            raise UserError("it has no chat template: take an instruction-tuned one")
        if self._model.config.is_encoder_decoder:
            raise UserError("it is an encoder-decoder, which does not continue its prompt")
        words = "a person in a red coat"
        if words not in self._tokenizer.decode(self._tokenizer(words)["input_ids"], skip_special_tokens=True).lower():
            raise UserError("its tokenizer knows no words: tokenizer.json is missing or not its own")
        text = self._render(Prompt(words))
        if words not in text or (self.sees and self._render(Prompt(words, Image.new("RGB", (1, 1)))) == text):
            raise UserError("its chat template leaves out what it is asked")

    @torch.inference_mode()
    def _reply(self, prompts: Sequence[Prompt], max_tokens: int) -> list[Reply]:
        texts = [self._render(prompt) for prompt in prompts]
        inputs = self._encode(texts, [[prompt.image] for prompt in prompts if prompt.image is not None])
        sequences = self._model.generate(**inputs, max_new_tokens=max_tokens)
        replies = sequences[:, inputs["input_ids"].shape[1] :].tolist()
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._decode(*parts) for parts in zip(texts, lengths, replies, strict=True)]

    def _render(self, prompt: Prompt) -> str:
        text = prompt.text
        for token in self._special:  # in a query it is data, and ends no turn
            text = text.replace(token, " ")
        image = [{"type": "image"}] if prompt.image is not None else []
        talk = [{"role": "user", "content": [*image, {"type": "text", "text": text}] if self.sees else text}]
        return self._reader.apply_chat_template(
            talk, chat_template=self._template, tokenize=False, add_generation_prompt=True, **self._options
        )

    def _encode(self, texts: list[str], images: list[list[Image.Image]]) -> dict[str, Tensor]:
        """All that the reader makes goes to the model: Qwen takes an image for text where `mm_token_type_ids` lack."""
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt", "add_special_tokens": False}
        if self.sees:
            begin = self._tokenizer.bos_token
            options["add_special_tokens"] = not (begin and texts[0].startswith(begin))
            inputs = self._reader(text=texts, images=images or None, **options)
        else:
            inputs = self._reader(texts, return_token_type_ids=False, **options)
        return {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if isinstance(value, Tensor)
        }

    def _decode(self, prompt: str, prompt_tokens: int, ids: list[int]) -> Reply:
        length = next((count for count, token in enumerate(ids, 1) if token in self._ends), None)
        text = self._tokenizer.decode(ids[:length], skip_special_tokens=True)
        if prompt.rstrip().endswith("<think>"):  # the template opened the thoughts that the reply closes
            text = f"<think>{text}"
        return Reply(text, prompt_tokens, length or len(ids), finished=length is not None)


_loaded: dict[tuple[str, torch.device], LocalModel] = {}


def load_model(name: str, device_name: str, *, images: bool) -> LocalModel:
    """Load a model of an architecture that transformers has, from safetensors; the last one is kept for the next call.

    Args:
        name: a folder, or a name on the hub.
        device_name: as in `pick_device`; a GPU computes in bfloat16, the CPU in float32.
        images: whether it has to see.

    Raises:
        UserError: there is no such model, or it cannot do this.
    """
    device = pick_device(device_name)
    found = _loaded.get((name, device))
    if found is not None and (found.sees or not images):
        return found
    _loaded.clear()  # before the other one is there: two may not fit
    try:
        _loaded[name, device] = _load(name, device, images=images)
    except UserError as error:
        raise UserError(f"captioner.model: '{name}' cannot be used: {error}") from None
    except torch.OutOfMemoryError:
        raise UserError(f"captioner.model: '{name}' does not fit into the memory of {device}") from None
    except Exception as error:  # of transformers, of the hub, of a template: all are about files that are not ours
        cause = " ".join(str(error).split())[:_LONGEST_CAUSE] or type(error).__name__
        raise UserError(f"captioner.model: '{name}' cannot be loaded ({cause})") from error
    return _loaded[name, device]


def _load(name: str, device: torch.device, *, images: bool) -> LocalModel:
    path = Path(name)
    if not path.is_dir() and (path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2):
        raise UserError("there is no such folder")
    # With trust_remote_code=None, transformers would ask at the terminal whether to run code that comes with a model.
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if images and not sees:
        raise UserError(f"it sees no images ({config.model_type} is no image-text model)")
    reader = (AutoProcessor if sees else AutoTokenizer).from_pretrained(name, trust_remote_code=False)
    if sees and not (hasattr(reader, "image_processor") and hasattr(reader, "tokenizer")):
        raise UserError("it has no processor of images (preprocessor_config.json)")
    architectures: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model, report = architectures.from_pretrained(
        name,
        dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # to be named below
        output_loading_info=True,
    )
    # transformers fills these at random.
    if absent := sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}):
        more = f" and {len(absent) - 1} more" if absent[1:] else ""
        raise UserError(f"its weights lack {absent[0]}{more}, or have another shape")
    return LocalModel(model.to(device).eval(), reader, sees=sees)


def _ids(ids: int | list[int] | None) -> set[int]:
    return set() if ids is None else {ids} if isinstance(ids, int) else set(ids)
