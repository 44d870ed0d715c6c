"""Learning rate and seeds, each a function of where the run stands: a resumed run needs no memory of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from utils.device import Precision


def build_optimizer(model: nn.Module, *, lr: float, weight_decay: float, beta2: float = 0.999) -> AdamW:
    """AdamW over everything that learns, one group with weight decay, as published.

    One kernel updates each weight, on the CPU and on CUDA's GPUs; build it where the model will train.
    """
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in learning)
    return AdamW(learning, lr=lr, weight_decay=weight_decay, betas=(0.9, beta2), fused=fused)


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """What keeps fp16's gradients from vanishing; in other precisions it does nothing.

    Its scale is found within the first steps, and belongs into a checkpoint.
    """
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def learning_rates(lr: float, *, epoch: int, epochs: int, steps: int, warmup_steps: int = 0) -> list[float]:
    """The rate of each of an epoch's `steps`, [steps].

    It is `lr` times a cosine that falls from 1 to 0 over a round's `epochs`, constant within an epoch (as published).
    Over the first `warmup_steps` of a round it rises from nothing: a full first step throws random weights far off.
    """
    rate = lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    first = epoch * steps
    return [rate * min(1.0, (step + 1) / max(1, warmup_steps)) for step in range(first, first + steps)]


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def derived_seed(seed: int, *place: int) -> int:
    """A seed for one place in the run (round, epoch, ...), unrelated to that of any other place."""
    return int(np.random.SeedSequence((seed, *place)).generate_state(1, np.uint64)[0] >> 1)
