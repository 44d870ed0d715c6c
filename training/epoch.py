"""One epoch over pseudo-labelled pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from transformers import BertTokenizer

from models.tokenizer import MAX_TOKENS, tokenize
from models.tsn import TSN
from training.schedule import set_learning_rate
from utils import distributed
from utils.errors import UserError
from utils.progress import Progress

Batch = tuple[Tensor, list[str], Tensor]
OnStep = Callable[..., object]

BUCKET = 8  # captions are padded to a multiple of so many tokens: few shapes to compile, and whole tiles of a GPU


@dataclass(frozen=True)
class Midway:
    """Where an epoch was left, and what it takes to go on from there as if nothing had been.

    Attributes:
        step: steps that were taken.
        sums: [processes] of each loss over those steps.
        random: states of the random numbers, [processes, bytes], of the CPU, and of the GPU where there is one.
    """

    step: int
    sums: dict[str, Tensor]
    random: list[Tensor]

    @classmethod
    def here(cls, step: int, sums: dict[str, Tensor], device: torch.device) -> Midway:
        """The state at this moment of every process of the group, each of which must ask for it."""
        random = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
        return cls(
            step,
            {name: distributed.all_gather_stack(value) for name, value in sums.items()},
            [distributed.all_gather_stack(state) for state in random],
        )

    def restore(self, device: torch.device) -> dict[str, Tensor]:
        """Go on drawing random numbers where they were left; returns the sums of this process."""
        # Copies: torch reads a state from where a tensor's storage begins, not from where the tensor does.
        random = [states[distributed.rank()].cpu().clone() for states in self.random]
        torch.set_rng_state(random[0])
        if device.type == "cuda" and len(random) > 1:
            torch.cuda.set_rng_state(random[1], device)
        return {name: value[distributed.rank()].to(device) for name, value in self.sums.items()}


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
    midway: Midway | None = None,
    after_step: Callable[[Callable[[], Midway]], bool] | None = None,
    names: Sequence[str] = (),
    desc: str = "training",
) -> dict[str, float] | None:
    """Train on each batch of (pixels [B, 3, H, W], captions, indices [B]) with the sum of the itc, itm and id losses.

    The host never waits for the device but for the losses that are logged. In a group of processes, each gets its part
    of every batch, and the gradients are averaged over them.

    Args:
        batches: those of the epoch, or where it was left, those that are to come.
        labels: [N] int64 on the CPU, pseudo-label of every pair, looked up by the batch's indices.
        learning_rates: one for each batch of the whole epoch; with `accumulate`, that of the last batch before each
            update counts.
        matching: False leaves the itm loss out.
        accumulate: batches before each update, which takes the mean of their gradients; at the end of the epoch there
            may be fewer. It smooths gradients, but does not replace a larger batch: ITC contrasts a pair with those of
            its own batch alone, and ITM finds its negatives there.
        scaler: from `build_scaler`, for fp16.
        on_step: called every `log_every` steps with the losses, which are read from the device then and only then.
        midway: where the epoch was left, to go on from there.
        after_step: called after each update with what tells where the epoch stands; True ends it there, in all
            processes of a group alike.
        names: [N], what to call a pair by.

    Returns:
        The mean of each loss, and of their sum as `loss`; None where `after_step` ended the epoch.

    Raises:
        UserError: the loss is not finite.
    """
    model.train()
    device = model.cross_proj.weight.device
    scaler = scaler or GradScaler(device.type, enabled=False)
    steps = len(learning_rates)
    sums = midway.restore(device) if midway else {}
    done = midway.step if midway else 0
    shared = averaging(model, matching=matching)
    optimizer.zero_grad(set_to_none=True)
    with Progress(steps, desc=desc, unit="step", done=done) as bar:
        for step, (pixels, captions, indices) in enumerate(batches, done):
            # Where padding is attended to, it must be the published one, whatever stands in the batch.
            pad_to = MAX_TOKENS if model.fuse_padding else None
            ids, mask = tokenize(tokenizer, list(captions), pad_to=pad_to, multiple_of=BUCKET)
            longest = distributed.all_reduce_max(ids.shape[1])
            ids, mask = (F.pad(each, (0, longest - each.shape[1])) for each in (ids, mask))
            pixels, ids, mask, targets = (_send(each, device) for each in (pixels, ids, mask, labels[indices]))
            first = step - step % accumulate
            updates = step == min(first + accumulate, steps) - 1
            with nullcontext() if updates or shared is model else shared.no_sync():
                losses = shared(pixels, ids, mask, targets, matching=matching)
                loss = torch.stack(list(losses.values())).sum()
                scaler.scale(loss / min(accumulate, steps - first)).backward()
            if updates:
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
                now = {
                    name: float(distributed.all_reduce_mean(value)) for name, value in (losses | {"loss": loss}).items()
                }
                _check_finite(now, step, [names[index] for index in indices.tolist()] if names else [])
                on_step(step=step, **now)
                bar.advance(0, f"loss {now['loss']:.3f}")
            bar.advance()
            if updates and after_step is not None and after_step(partial(Midway.here, step + 1, sums, device)):
                return None
    means = {name: float(distributed.all_reduce_mean(total)) / steps for name, total in sums.items()}
    _check_finite(means, steps - 1, [])
    return means


def averaging(model: TSN, *, matching: bool) -> Any:
    """The model, so that its gradients are averaged over the processes of a group, where there are several."""
    if distributed.world_size() == 1:
        return model
    for parameter in model.matching_parameters():
        # Without matching they get no gradient, and must not be waited for. To look for such by itself,
        # DistributedDataParallel would have to see the whole graph, which recomputed blocks hide.
        parameter.requires_grad_(matching)
    device = model.cross_proj.weight.device
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device; from pinned memory to a GPU, so that the host does not wait."""
    if device.type != "cuda" or tensor.device == device:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _check_finite(losses: dict[str, float], step: int, batch: Sequence[str]) -> None:
    if not all(math.isfinite(value) for value in losses.values()):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        where = f", batch of {', '.join(batch)}" if batch else ""
        raise UserError(
            f"the loss is not finite at step {step} ({shown}): lower train.lr or set train.clip_norm=1; what was saved "
            f"before is kept{where}"
        )
