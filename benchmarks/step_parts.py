"""The measurements of `benchmarks.train_step`, each of which runs in a separate process."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import BertTokenizer

from benchmarks.published_step import PublishedTSN, published_optimizer, published_step
from data.transforms import RawPixels, normalize
from models.options import PRESETS
from models.tokenizer import MAX_TOKENS, enc_token_id, load_tokenizer, tokenize
from models.tsn import TSN, TSNOptions
from training.batches import TextInputs
from training.epoch import Epoch, Learner, train_epoch
from training.schedule import build_optimizer, build_scaler
from utils.device import Precision

Kind = TypeVar("Kind", bound=TSN)
CLOSE = 1e-4  # maximum difference between the losses of both implementations, in float32
CLASSES = 500
_WORDS = 2000
_KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matmul_rate(device: torch.device, precision: Precision) -> dict[str, float]:
    """Return the `rate` of products of square matrices in FLOP/s: the best of 21, as other processes may slow them."""
    side = 8192 if device.type == "cuda" else 2048
    if _matmul_seconds(device, precision, 512, times=1) > 0.05:
        side = 512  # this device has no hardware for this precision and would take too long
    return {"rate": 2 * side**3 / _matmul_seconds(device, precision, side, times=21)}


def check(preset: str, device: torch.device) -> dict[str, float]:
    """Return the absolute differences between the losses of both implementations in evaluation mode.

    Raises:
        AssertionError: a difference exceeds `CLOSE`, so that a comparison would be meaningless.
    """
    (images, captions, indices), labels = batch_of(preset, 6)
    tokenizer = _tokenizer()
    losses = []
    for kind, pad_to in ((PublishedTSN, MAX_TOKENS), (TSN, None)):
        model = _model(kind, preset, tokenizer, device).eval()
        ids, mask = tokenize(tokenizer, captions, pad_to=pad_to)
        with torch.no_grad():
            found = model(normalize(images, device), ids.to(device), mask.to(device), labels[indices].to(device))
        losses.append({name: float(value) for name, value in found.items()})
    apart = {name: abs(value - losses[1][name]) for name, value in losses[0].items()}
    assert max(apart.values()) < CLOSE, f"{preset}: the losses differ: {losses}"
    return apart


def published(preset: str, device: torch.device, *, batch: int, steps: int) -> dict[str, float]:
    """Measure the `seconds` per step and peak `memory` in bytes of the published step."""
    tokenizer = _tokenizer()
    model = _model(PublishedTSN, preset, tokenizer, device).train()
    optimizer = published_optimizer(model)
    (images, captions, indices), labels = batch_of(preset, batch)
    pairs = (normalize(images), captions, indices)
    return _timed(
        lambda count: [published_step(model, tokenizer, optimizer, pairs, labels) for _ in range(count)], steps, device
    )


def ours(
    preset: str, device: torch.device, precision: Precision, *, batch: int, steps: int, compiled: bool = False
) -> dict[str, float]:
    """Measure the `seconds` per step, peak `memory` in bytes and `flops` of a training epoch as in train.py."""
    torch.use_deterministic_algorithms(device.type == "cpu")  # as train.py
    tokenizer = _tokenizer()
    model = _model(TSN, preset, tokenizer, device, precision)
    optimizer = build_optimizer(model, lr=1e-5, weight_decay=0.05)
    (images, *texts), labels = batch_of(preset, batch)
    learner = Learner(model, optimizer, build_scaler(precision, device))
    collate, items = TextInputs(tokenizer).collate, list(zip(map(RawPixels, *images), *texts, strict=True))

    def run(count: int) -> None:
        # Tokenized for every step, as by a loader without workers.
        train_epoch(learner, Epoch((collate(items) for _ in range(count)), labels, [1e-5] * count))

    counter = FlopCounterMode(display=False, custom_mapping=_ON_THE_CPU)
    with mock.patch("models.text.should_pack", return_value=True), counter:  # padding is not counted as work
        run(1)
    if compiled:
        model.compile_encoders()
    return _timed(run, steps, device, warm_up=3 if compiled else 1) | {"flops": counter.get_total_flops()}


def batch_of(preset: str, size: int) -> tuple[tuple[RawPixels, list[str], Tensor], Tensor]:
    """Return random pixels with captions of 20 to 55 tokens, 35 on average; two pairs have the same pseudo-label."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randint(256, (size, 3, *PRESETS[preset].image), generator=draw, dtype=torch.uint8)
    images = RawPixels(values, torch.zeros(size, 4, dtype=torch.int64))
    lengths = (35 + 8 * torch.randn(size, generator=draw)).round().clamp(20, 55).long() - 2  # [CLS] and [SEP]
    captions = [
        " ".join(f"w{word}" for word in torch.randint(_WORDS, (int(length),), generator=draw)) for length in lengths
    ]
    return (images, captions, torch.arange(size)), torch.arange(size) // 2


def _timed(run: Callable[[int], object], steps: int, device: torch.device, *, warm_up: int = 1) -> dict[str, float]:
    run(warm_up)
    _wait(device)
    start = time.perf_counter()
    run(steps)
    _wait(device)
    seconds = (time.perf_counter() - start) / steps
    if device.type == "cuda":
        return {"seconds": seconds, "memory": torch.cuda.max_memory_allocated(device)}
    return {"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _matmul_seconds(device: torch.device, precision: Precision, side: int, *, times: int) -> float:
    one, other = (torch.randn(side, side, device=device).to(_KINDS[precision]) for _ in range(2))
    one @ other
    taken = []
    for _ in range(times):
        _wait(device)
        start = time.perf_counter()
        one @ other
        _wait(device)
        taken.append(time.perf_counter() - start)
    return min(taken)


def _tokenizer() -> BertTokenizer:
    """Return a tokenizer for which every word is one token."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(_WORDS))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        return load_tokenizer(file)


def _model(
    kind: type[Kind], preset: str, tokenizer: BertTokenizer, device: torch.device, precision: Precision = "fp32"
) -> Kind:
    """Build a model with a vocabulary as large as BLIP's; the same weights for each `kind`."""
    torch.manual_seed(0)
    options = TSNOptions(precision=precision)
    return kind(PRESETS[preset], enc_token=enc_token_id(tokenizer), classes=CLASSES, options=options).to(device)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


_ON_THE_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
