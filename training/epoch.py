"""One epoch over pseudo-labelled pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.amp import GradScaler
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

BUCKET = 8  # captions are padded to a multiple of so many tokens: few shapes to compile, and whole tiles of a GPU


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
    accumulate: int = 1,
    scaler: GradScaler | None = None,
    log_every: int = 10,
    on_step: OnStep = lambda **_: None,
    desc: str = "training",
) -> dict[str, float]:
    """Train on each batch of (pixels [B, 3, H, W], captions, indices [B]) with the sum of the itc, itm and id losses.

    The host never waits for the device but for the losses that are logged.

    Args:
        labels: [N] int64 on the CPU, pseudo-label of every pair, looked up by the batch's indices.
        learning_rates: one for each batch; with `accumulate`, that of the last batch before each update counts.
        matching: False leaves the itm loss out.
        accumulate: batches before each update, which takes the mean of their gradients; at the end of the epoch there
            may be fewer. It smooths gradients, but does not replace a larger batch: ITC contrasts a pair with those of
            its own batch alone, and ITM finds its negatives there.
        scaler: from `build_scaler`, for fp16.
        on_step: called every `log_every` steps with the losses, which are read from the device then and only then.

    Returns:
        The mean of each loss, and of their sum as `loss`.

    Raises:
        UserError: the loss is not finite.
    """
    model.train()
    device = model.cross_proj.weight.device
    scaler = scaler or GradScaler(device.type, enabled=False)
    steps = len(learning_rates)
    sums: dict[str, Tensor] = {}
    optimizer.zero_grad(set_to_none=True)
    with Progress(steps, desc=desc, unit="step") as bar:
        for step, (pixels, captions, indices) in enumerate(batches):
            # Where padding is attended to, it must be the published one, whatever stands in the batch.
            pad_to = MAX_TOKENS if model.fuse_padding else None
            ids, mask = tokenize(tokenizer, list(captions), pad_to=pad_to, multiple_of=BUCKET)
            pixels, ids, mask, targets = (_send(each, device) for each in (pixels, ids, mask, labels[indices]))
            losses = model(pixels, ids, mask, targets, matching=matching)
            loss = torch.stack(list(losses.values())).sum()
            first = step - step % accumulate
            scaler.scale(loss / min(accumulate, steps - first)).backward()
            if step == min(first + accumulate, steps) - 1:
                set_learning_rate(optimizer, learning_rates[step])
                if clip_norm is not None:
                    scaler.unscale_(optimizer)
                    clip_grad_norm_(model.parameters(), clip_norm)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
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


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device; from pinned memory to a GPU, so that the host does not wait."""
    if device.type != "cuda" or tensor.device == device:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _check_finite(losses: dict[str, float], step: int) -> None:
    if not all(math.isfinite(value) for value in losses.values()):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        raise UserError(f"the loss is not finite at step {step} ({shown}): lower train.lr or set train.clip_norm=1")
