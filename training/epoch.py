"""One epoch over pseudo-labelled pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

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


@dataclass(frozen=True)
class Midway:
    """Where an epoch was left, and what it takes to go on from there as if nothing had been.

    Attributes:
        step: steps that were taken.
        sums: of each loss over those steps.
        random: states of the random numbers, of the CPU and of each GPU.
    """

    step: int
    sums: dict[str, Tensor]
    random: list[Tensor]

    @classmethod
    def here(cls, step: int, sums: dict[str, Tensor]) -> Midway:
        """The state at this moment."""
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return cls(step, {name: value.clone() for name, value in sums.items()}, [torch.get_rng_state(), *gpus])

    def restore(self) -> None:
        """Go on drawing random numbers where they were left."""
        torch.set_rng_state(self.random[0].cpu())
        if torch.cuda.is_available() and len(self.random) > 1:
            torch.cuda.set_rng_state_all([state.cpu() for state in self.random[1:]])


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
    midway: Midway | None = None,
    after_step: Callable[[Callable[[], Midway]], bool] | None = None,
    desc: str = "training",
) -> dict[str, float] | None:
    """Train on each batch of (pixels [B, 3, H, W], captions, indices [B]) with the sum of the itc, itm and id losses.

    Args:
        batches: those of the epoch, or where it was left, those that are to come.
        labels: [N] int64, pseudo-label of every pair, looked up by the batch's indices.
        learning_rates: one for each batch of the whole epoch.
        matching: False leaves the itm loss out.
        on_step: called every `log_every` steps with the losses, which are read from the device then and only then.
        midway: where the epoch was left, to go on from there.
        after_step: called after each step with what tells where the epoch stands; True ends it there.

    Returns:
        The mean of each loss, and of their sum as `loss`; None where `after_step` ended the epoch.

    Raises:
        UserError: the loss is not finite.
    """
    model.train()
    device = model.cross_proj.weight.device
    steps = len(learning_rates)
    sums: dict[str, Tensor] = {name: value.to(device) for name, value in midway.sums.items()} if midway else {}
    first = midway.step if midway else 0
    if midway:
        midway.restore()
    with Progress(steps, desc=desc, unit="step", done=first) as bar:
        for step, (pixels, captions, indices) in enumerate(batches, first):
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
            if after_step is not None and after_step(partial(Midway.here, step + 1, sums)):
                return None
    means = {name: float(total) / steps for name, total in sums.items()}
    _check_finite(means, steps - 1)
    return means


def _check_finite(losses: dict[str, float], step: int) -> None:
    if not all(math.isfinite(value) for value in losses.values()):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        raise UserError(f"the loss is not finite at step {step} ({shown}): lower train.lr or set train.clip_norm=1")
