"""Optimizer, learning rates and seeds. Rates and seeds are functions of the position in a run, so they need
not be saved to resume it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from utils.device import Precision


def build_optimizer(model: nn.Module, *, lr: float, weight_decay: float, beta2: float = 0.999) -> AdamW:
    """AdamW over all trainable parameters, in one group with weight decay (as published).

    The fused implementation is used on CPU and CUDA; build the optimizer after moving the model to its device.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, beta2), fused=fused)


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Restore the state of an optimizer that was built as this one.

    Raises:
        ValueError: it is of other parameters, or of an optimizer with other settings; torch would find that out at the
            next step, or never.
    """
    settings = [
        {name: group[name] for name in group if name not in ("params", "lr")} for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        if any(group.get(name) != value for name, value in own.items()):
            raise ValueError("the optimizer has other settings")
    for parameter, moments in optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            moment = moments[name]
            if moment.shape != parameter.shape or moment.layout != torch.strided or not moment.isfinite().all():
                raise ValueError(f"{name} of the optimizer does not fit")
        if float(moments["step"]) < 0:
            raise ValueError("the number of steps of the optimizer is negative")


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """The gradient scaler of fp16, disabled in other precisions. Its state belongs in a checkpoint."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def learning_rates(lr: float, *, epoch: int, epochs: int, steps: int, warmup_steps: int = 0) -> list[float]:
    """The learning rate of each of the `steps` of an epoch.

    A cosine from `lr` to 0 over the `epochs` of a round, constant within an epoch (as published), with a linear warm-up
    over the first `warmup_steps` of the round, because a full first step could derail random weights.
    """
    rate = lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    first = epoch * steps
    return [rate * min(1.0, (step + 1) / max(1, warmup_steps)) for step in range(first, first + steps)]


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = lr


def derived_seed(seed: int, *position: int) -> int:
    """A seed for one position in a run (round, epoch, ...), independent of that of any other position."""
    return int(np.random.SeedSequence((seed, *position)).generate_state(1, np.uint64)[0] >> 1)
