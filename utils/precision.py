"""In what precision to compute: float32, or matrix products in half of it."""

from __future__ import annotations

from typing import Literal

import torch

from utils.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]

_KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_precision(name: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """`auto` takes bf16 on a GPU that computes in it, fp16 on one that does not, and fp32 on the CPU.

    Raises:
        UserError: fp16 on the CPU, whose backward pass would have no scaler.
    """
    if name == "fp16" and device.type == "cpu":
        raise UserError("train.precision=fp16 needs a GPU: set train.precision=fp32 on the CPU")
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fp32"
    with torch.cuda.device(device):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """What runs within computes its matrix products in `precision`; weights and what is sensitive stay in float32."""
    kind = _KINDS.get(precision)
    return torch.autocast(device.type, dtype=kind, enabled=kind is not None)
