"""A transformers chat model on this machine: batches of prompts with or without a photograph in, replies out."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import suppress
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
    GenerationConfig,
)

from captioning.captioner import Reply
from captioning.local import Prompt
from utils.device import pick_device
from utils.errors import UserError

_MAX_CAUSE = 200  # characters


class LocalModel:
    """An image-text model with its processor, or a model for text alone with its tokenizer.

    Args:
        model: on its device, in evaluation mode.
        processor: of an image-text model; otherwise the tokenizer.
        accepts_images: whether prompts may have photographs.

    Raises:
        UserError: it cannot be used for chat: there is no chat template or no vocabulary.
    """

    def __init__(self, model: Any, processor: Any, *, accepts_images: bool) -> None:
        self.accepts_images = accepts_images
        self._model, self._processor = model, processor
        self._tokenizer = processor.tokenizer if accepts_images else processor
        self._template = getattr(processor, "chat_template", None) or self._tokenizer.chat_template
        # Thinking is switched off where the template offers it.
        self._options = {"enable_thinking": False} if "enable_thinking" in str(self._template) else {}
        special = [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]
        placeholders = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video")]
        self._special = [token for token in (*special, *placeholders) if token]
        self._check()
        self._tokenizer.padding_side = "left"  # a reply follows directly after its prompt
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._end_ids = _ids(model.generation_config.eos_token_id) | _ids(self._tokenizer.eos_token_id)
        # Greedy decoding: released models come with settings for sampling, and with a repetition penalty, which would
        # also penalize the words of the prompt, among them the caption template's.
        tokens = {"eos_token_id": sorted(self._end_ids), "pad_token_id": self._tokenizer.pad_token_id}
        model.generation_config = GenerationConfig.from_dict(tokens)

    def reply(self, prompts: Sequence[Prompt], max_tokens: int) -> list[Reply] | None:
        """Answer a batch of prompts by greedy decoding, each as it would be answered alone.

        Args:
            prompts: all with a photograph, or all without.
            max_tokens: maximum length of a reply.

        Returns:
            A reply for each prompt; None if the batch does not fit into the GPU's memory.
        """
        with suppress(torch.OutOfMemoryError):
            return self._reply(prompts, max_tokens)
        gc.collect()  # only here, after the exception is gone, can the memory be freed
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _check(self) -> None:
        """Check tokenizer and template: transformers creates an empty tokenizer if files are missing."""
        if not self._template:
            raise UserError("it has no chat template: use an instruction-tuned model")
        words = "a person in a red coat"
        if words not in self._tokenizer.decode(self._tokenizer(words)["input_ids"], skip_special_tokens=True).lower():
            raise UserError("its tokenizer cannot encode English text: tokenizer.json is missing or of another model")
        text, pixel = self._render(Prompt(words)), Image.new("RGB", (1, 1))
        if words not in text or (self.accepts_images and self._render(Prompt(words, pixel)) == text):
            raise UserError("its chat template drops the text or the image of a prompt")

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
        for token in self._special:  # in a query they are data, and must not end the turn
            text = text.replace(token, " ")
        image = [{"type": "image"}] if prompt.image is not None else []
        content = [*image, {"type": "text", "text": text}] if self.accepts_images else text
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
            **self._options,
        )

    def _encode(self, texts: list[str], images: list[list[Image.Image]]) -> dict[str, Tensor]:
        """Tokenize; the model gets every output: without `mm_token_type_ids`, Qwen would treat an image as text."""
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt", "add_special_tokens": False}
        if self.accepts_images:
            begin = self._tokenizer.bos_token
            options["add_special_tokens"] = not (begin and texts[0].startswith(begin))
            inputs = self._processor(text=texts, images=images or None, **options)
        else:
            inputs = self._processor(texts, return_token_type_ids=False, **options)
        return {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if isinstance(value, Tensor)
        }

    def _decode(self, prompt: str, prompt_tokens: int, ids: list[int]) -> Reply:
        length = next((count for count, token in enumerate(ids, 1) if token in self._end_ids), None)
        text = self._tokenizer.decode(ids[:length], skip_special_tokens=True)
        if prompt.rstrip().endswith("<think>"):  # the template opened the block that the reply closes
            text = f"<think>{text}"
        return Reply(text, prompt_tokens, length or len(ids), finished=length is not None)


_loaded: dict[tuple[str, torch.device], LocalModel] = {}


def load_model(name: str, device_name: str, *, images: bool) -> LocalModel:
    """Load a model of an architecture in transformers, from safetensors; the last one is kept for the next call.

    Args:
        name: a folder, or a name on the hub.
        device_name: as in `pick_device`; bfloat16 is used on a GPU, float32 on the CPU.
        images: whether it must accept images.

    Raises:
        UserError: there is no such model, or it cannot be used for this.
    """
    device = pick_device(device_name)
    loaded = _loaded.get((name, device))
    if loaded is not None and (loaded.accepts_images or not images):
        return loaded
    _loaded.clear()  # before loading: two models may not fit into memory
    try:
        _loaded[name, device] = _load(name, device, images=images)
    except UserError as error:
        raise UserError(f"captioner.model: '{name}' cannot be used: {error}") from None
    except torch.OutOfMemoryError:
        raise UserError(f"captioner.model: '{name}' does not fit into the memory of {device}") from None
    except Exception as error:  # transformers, the hub and templates raise many types for broken files
        cause = " ".join(str(error).split())[:_MAX_CAUSE] or type(error).__name__
        raise UserError(f"captioner.model: '{name}' cannot be loaded ({cause})") from error
    return _loaded[name, device]


def _load(name: str, device: torch.device, *, images: bool) -> LocalModel:
    path = Path(name)
    if not path.is_dir() and (path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2):
        raise UserError("there is no such folder")
    # With trust_remote_code=None, transformers would prompt at the terminal whether to run the model's own code.
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    accepts_images = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if images and not accepts_images:
        raise UserError(f"it accepts no images ({config.model_type} is not an image-text model)")
    processor = (AutoProcessor if accepts_images else AutoTokenizer).from_pretrained(name, trust_remote_code=False)
    architectures: Any = AutoModelForImageTextToText if accepts_images else AutoModelForCausalLM
    model, report = architectures.from_pretrained(
        name,
        dtype=torch.bfloat16 if device.type == "cuda" else torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # they are reported below
        output_loading_info=True,
    )
    # transformers would initialize these at random.
    if missing := sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise UserError(f"weights are missing or have another shape: {missing[0]}{more}")
    return LocalModel(model.to(device).eval(), processor, accepts_images=accepts_images)


def _ids(ids: int | list[int] | None) -> set[int]:
    return set() if ids is None else {ids} if isinstance(ids, int) else set(ids)
