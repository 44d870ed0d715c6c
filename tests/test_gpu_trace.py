"""The step as it would run on a GPU, traced with tensors that have shapes, types and a device, but no values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from models.options import PRESETS
from models.text import TextLayout
from models.tsn import TSN, Rewordings, TSNOptions

CASTS = 667  # of the forward pass of `base`; lower it with every cast that is saved
SAVED = 7.5  # GiB that the forward pass of 36 pairs of 56 tokens keeps for the backward pass
BATCH, LENGTH = 36, 56
CUDA = torch.device("cuda")


class Trace(TorchDispatchMode):
    """Counts casts, and copies from one device to another, which make the host wait or wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.casts = self.copies = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default:
            self.casts += found.dtype != args[0].dtype
            self.copies += found.device != args[0].device
        return found


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """One fused kernel, as on a GPU; torch would choose by the card, and there is none."""
    bias = None
    if attn_mask is not None:
        allowed = attn_mask if attn_mask.dtype == torch.bool else attn_mask == 0
        bias = torch.zeros_like(allowed, dtype=query.dtype).masked_fill(~allowed, -torch.inf)
        bias = bias.expand(*query.shape[:3], key.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, bias, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale)[0]


@contextmanager
def a_gpu_without_one() -> Iterator[FakeTensorMode]:
    """Tensors on "cuda" without memory, and autocast as if there were such a device."""
    with (
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
        mock.patch("torch.nn.functional.scaled_dot_product_attention", attention),
        FakeTensorMode() as mode,
    ):
        yield mode


def on_cuda(model: nn.Module) -> None:
    """Replace parameters and buffers by those of a GPU."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                empty = torch.empty(value.shape, device=CUDA)
                module._parameters[name] = nn.Parameter(empty, requires_grad=value.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=CUDA)


def model_of(preset: str, **options: Any) -> TSN:
    """A model in training, without values; timm's initialization needs some, so it is not built in a trace."""
    with torch.device("meta"):
        model = TSN(PRESETS[preset], enc_token=30523, classes=500, options=TSNOptions(precision="bf16", **options))
    return model.train()


def batch(preset: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels, token ids, mask and labels of a batch of `BATCH` pairs."""
    pixels = torch.empty(BATCH, 3, *PRESETS[preset].image, device=CUDA)
    ids, mask = (torch.ones(BATCH, LENGTH, dtype=torch.long, device=CUDA) for _ in range(2))
    return pixels, ids, mask, torch.zeros(BATCH, dtype=torch.long, device=CUDA)


def test_a_step_of_base_neither_waits_nor_casts_more_than_it_did() -> None:
    """A value that the host needs, or a tensor whose shape depends on values, raises in such a trace."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept[storage._cdata] = storage
        return saved

    model = model_of("base")
    with a_gpu_without_one():
        on_cuda(model)
        with Trace() as trace, torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            losses = model(*batch("base"))
        for weight in model.parameters():
            kept.pop(weight.untyped_storage()._cdata, None)
    assert {name: loss.dtype for name, loss in losses.items()} == dict.fromkeys(("itc", "itm", "id"), torch.float32)
    assert all(loss.device.type == "cuda" for loss in losses.values())
    assert trace.copies == 0
    assert 0 < trace.casts <= CASTS
    assert 0 < sum(storage.nbytes() for storage in kept.values()) / 2**30 <= SAVED


def test_no_loss_and_no_part_of_the_evaluation_waits() -> None:
    """All losses of the small model, and what embeds, fuses and matches."""
    model = model_of("tiny", negatives="sampled")
    with a_gpu_without_one(), Trace() as trace:
        on_cuda(model)
        pixels, ids, mask, labels = batch("tiny")
        losses = model(pixels, ids, mask, labels, image_image=True, rewordings=Rewordings(ids, mask, labels))
        with torch.no_grad():
            tokens, _ = model.eval().encode_image(pixels)
            model.fuse(tokens, model.encode_text(ids, mask)[0], mask)
            model.match(tokens, ids, mask, image_index=labels)
    assert len(losses) == 5
    assert trace.copies == 0


@pytest.mark.parametrize("wait", [lambda x: float(x.sum()), lambda x: x.nonzero(), lambda x: x[x > 0]])
def test_a_trace_finds_what_makes_the_host_wait(wait: Any) -> None:
    """Otherwise the test above could not fail; packed texts are among it, so there are none on a GPU."""
    with a_gpu_without_one(), pytest.raises(Exception, match=r"aten\.(_local_scalar_dense|nonzero)"):
        wait(torch.ones(3, device=CUDA))
    with a_gpu_without_one():
        assert TextLayout.from_mask(torch.ones(2, 3, device=CUDA)).token_index is None
