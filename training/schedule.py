"""Learning rate and seeds, each a function of where the run stands: a resumed run needs no memory of them."""

from __future__ import annotations

import math

import numpy as np
from torch import nn
from torch.optim import AdamW, Optimizer


def build_optimizer(model: nn.Module, *, lr: float, weight_decay: float, beta2: float = 0.999) -> AdamW:
    """AdamW over everything that learns, one group with weight decay, as published."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return AdamW(learning, lr=lr, weight_decay=weight_decay, betas=(0.9, beta2))


def learning_rates(lr: float, *, epoch: int, epochs: int, steps: int, ramp_steps: int = 0) -> list[float]:
    """The rate of each of an epoch's `steps`, [steps].

    It is `lr` times a cosine that falls from 1 to 0 over a round's `epochs`, constant within an epoch (as published).
    Over the first `ramp_steps` of a round it rises from nothing: a full first step throws random weights far off.
    """
    rate = lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    first = epoch * steps
    return [rate * min(1.0, (step + 1) / max(1, ramp_steps)) for step in range(first, first + steps)]


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def derived_seed(seed: int, *place: int) -> int:
    """A seed for one place in the run (round, epoch, ...), unrelated to that of any other place."""
    return int(np.random.SeedSequence((seed, *place)).generate_state(1, np.uint64)[0] >> 1)
