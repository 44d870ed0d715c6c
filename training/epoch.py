"""One epoch over pseudo-labelled pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from transformers import BertTokenizer

from models.tokenizer import MAX_TOKENS, tokenize
from models.tsn import TSN
from training.schedule import set_learning_rate
from utils.errors import UserError
from utils.progress import Progress

Batch = tuple[Tensor, list[str], Tensor]
OnStep = Callable[..., object]


def train_epoch(
    model: TSN,
    tokenizer: BertTokenizer,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    labels: Tensor,
    *,
    learning_rates: Sequence[float],
    matching: bool = True,
    clip_norm: float | None = None,
    log_every: int = 10,
    on_step: OnStep = lambda **_: None,
    desc: str = "training",
) -> dict[str, float]:
    """Train on each batch of (pixels [B, 3, H, W], captions, indices [B]) with the sum of the itc, itm and id losses.

    Args:
        labels: [N] int64, pseudo-label of every pair, looked up by the batch's indices.
        learning_rates: one for each batch.
        matching: False leaves the itm loss out.
        on_step: called every `log_every` steps with the losses, which are read from the device then and only then.

    Returns:
        The mean of each loss, and of their sum as `loss`.

    Raises:
        UserError: the loss is not finite.
    """
    model.train()
    device = model.cross_proj.weight.device
    steps = len(learning_rates)
    sums: dict[str, Tensor] = {}
    with Progress(steps, desc=desc, unit="step") as bar:
        for step, (pixels, captions, indices) in enumerate(batches):
            ids, mask = tokenize(tokenizer, list(captions), pad_to=MAX_TOKENS if model.fuse_padding else None)
            targets = labels[indices].to(device)
            losses = model(pixels.to(device), ids.to(device), mask.to(device), targets, matching=matching)
            loss = torch.stack(list(losses.values())).sum()
            set_learning_rate(optimizer, learning_rates[step])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if clip_norm is not None:
                clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            for name, value in (losses | {"loss": loss}).items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
            if step % log_every == 0 or step == steps - 1:
                now = {name: float(value.detach()) for name, value in (losses | {"loss": loss}).items()}
                _check_finite(now, step)
                on_step(step=step, **now)
                bar.advance(0, f"loss {now['loss']:.3f}")
            bar.advance()
    means = {name: float(total) / steps for name, total in sums.items()}
    _check_finite(means, steps - 1)
    return means


def _check_finite(losses: dict[str, float], step: int) -> None:
    if not all(math.isfinite(value) for value in losses.values()):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        raise UserError(f"the loss is not finite at step {step} ({shown}): lower train.lr or set train.clip_norm=1")
