"""One training epoch over pseudo-labelled pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from data.transforms import normalize
from models.tsn import TSN, Rewordings
from training.batches import PairBatch
from training.schedule import set_learning_rate
from utils import distributed
from utils.device import send
from utils.errors import UserError
from utils.progress import Progress

OnLog = Callable[..., object]


@dataclass(frozen=True)
class MidEpochState:
    """Everything that is needed to resume an epoch after an update with bit-identical results.

    Attributes:
        step: steps taken so far.
        loss_sums: {name: [ranks]}, each loss summed over those steps.
        rng_states: [ranks, bytes], states of the CPU generator, and of the GPU generator if there is one.
    """

    step: int
    loss_sums: dict[str, Tensor]
    rng_states: list[Tensor]

    @classmethod
    def capture(cls, step: int, loss_sums: Mapping[str, Tensor], device: torch.device) -> MidEpochState:
        """The current state of all ranks; a collective call."""
        states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
        return cls(
            step,
            {name: distributed.all_gather_stack(value) for name, value in loss_sums.items()},
            [distributed.all_gather_stack(state) for state in states],
        )

    def check(self, device: torch.device) -> None:
        """Make sure that the state can be restored; it may come from a damaged file.

        Raises:
            KeyError, IndexError, RuntimeError, TypeError, ValueError: it cannot.
        """
        sums = self.restore(device)
        if "loss" not in sums or not all(math.isfinite(float(value)) for value in sums.values()):
            raise ValueError("the sums of the losses are damaged")

    def restore(self, device: torch.device) -> dict[str, Tensor]:
        """Restore the generators of this rank and return its loss sums."""
        # Copies, because torch reads a state from the start of a tensor's storage, whatever the tensor's offset.
        states = [of_ranks[distributed.rank()].cpu().clone() for of_ranks in self.rng_states]
        torch.set_rng_state(states[0])
        if device.type == "cuda" and len(states) > 1:
            torch.cuda.set_rng_state(states[1], device)
        return {name: value[distributed.rank()].to(device) for name, value in self.loss_sums.items()}


@dataclass
class Learner:
    """A model with its optimizer and update settings.

    Attributes:
        scaler: from `build_scaler`; it has no effect except in fp16.
        accumulate: batches per update, which uses the mean of their gradients (the last update of an epoch may have
            fewer). It smooths gradients but does not replace a larger batch: ITC contrasts a pair with the pairs of its
            own batch only, and ITM takes its negatives from there.
        clip_norm: maximum norm of the gradient, or None.
        log_every: steps between two logged losses; only then does the host wait for the device.
        weights: of the losses in their sum; 1 for those without an entry.
    """

    model: TSN
    optimizer: Optimizer
    scaler: GradScaler
    accumulate: int = 1
    clip_norm: float | None = None
    log_every: int = 10
    weights: Mapping[str, float] = field(default_factory=dict)
    _parallel: Any = field(default=None, init=False)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.cross_proj.weight.device

    def parallel(self, *, matching: bool) -> Any:
        """Return `data_parallel` of the model, made at the first call, since it sends all weights to all ranks.

        `matching` must be the same at every call.
        """
        if self._parallel is None:
            self._parallel = data_parallel(self.model, matching=matching)
        return self._parallel

    def update(self, lr: float) -> None:
        """Apply the accumulated gradients at this learning rate."""
        set_learning_rate(self.optimizer, lr)
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def to_device(self, batch: PairBatch, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the pixels, token ids, attention mask and labels of a batch on the device."""
        ids, mask = self._send_texts(batch.input_ids, batch.attention_mask)
        return normalize(batch.pixels, self.device), ids, mask, send(labels[batch.indices], self.device)

    def rewordings(self, batch: PairBatch, captions: Tensor | None) -> Rewordings | None:
        """Return the second wordings of a batch on the device, if it has any."""
        if batch.second is None or captions is None:
            return None
        return Rewordings(*self._send_texts(*batch.second), send(captions[batch.indices], self.device))

    def _send_texts(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pad texts to the longest of all ranks and return them on the device."""
        if missing := distributed.all_reduce_max(ids.shape[1]) - ids.shape[1]:
            ids, mask = (F.pad(each, (0, missing)) for each in (ids, mask))
        return send(ids, self.device), send(mask, self.device)


@dataclass(frozen=True)
class Epoch:
    """What one epoch trains on.

    Attributes:
        batches: the remaining ones if the epoch is resumed.
        labels: [N] int64 on the CPU, the pseudo-label of every pair, looked up by a batch's indices.
        learning_rates: one per batch of the whole epoch; an update uses that of its last batch.
        matching: whether the ITM loss is trained.
        image_names: [N], for error messages.
        captions: [N] int64 on the CPU, equal for equal captions; only the text-text loss needs them.
        image_image: whether images of one label are of one person, so that the image-image loss applies.
        name: for the progress bar.
    """

    batches: Iterable[PairBatch]
    labels: Tensor
    learning_rates: Sequence[float]
    matching: bool = True
    image_names: Sequence[str] = ()
    captions: Tensor | None = None
    image_image: bool = True
    name: str = "training"


def train_epoch(
    learner: Learner,
    epoch: Epoch,
    *,
    resume: MidEpochState | None = None,
    on_log: OnLog = lambda **_: None,
    after_update: Callable[[Callable[[], MidEpochState]], bool] | None = None,
) -> dict[str, float] | None:
    """Train on every batch with the sum of the ITC, ITM and ID losses.

    In a process group, each rank trains on its part of every batch, and gradients are averaged over ranks.

    Args:
        resume: the state in which the epoch was interrupted.
        on_log: called every `log_every` steps with `step` and the losses.
        after_update: called after each update with a function that captures the state; if it returns True, which it
            must do on all ranks or none, the epoch stops.

    Returns:
        The mean of each loss, and of their sum as `loss`; None if `after_update` stopped the epoch.

    Raises:
        UserError: a loss is not finite.
    """
    model, device = learner.model, learner.device
    model.train()
    steps = len(epoch.learning_rates)
    sums = resume.restore(device) if resume else {}
    done = resume.step if resume else 0
    parallel = learner.parallel(matching=epoch.matching)
    learner.optimizer.zero_grad(set_to_none=True)
    with Progress(steps, desc=epoch.name, unit="step", done=done) as bar:
        for step, batch in enumerate(epoch.batches, done):
            first = step - step % learner.accumulate
            updates = step == min(first + learner.accumulate, steps) - 1
            inputs = learner.to_device(batch, epoch.labels)
            with nullcontext() if updates or parallel is model else parallel.no_sync():
                losses = parallel(
                    *inputs,
                    matching=epoch.matching,
                    image_image=epoch.image_image and learner.weights.get("image_image", 0) > 0,
                    rewordings=learner.rewordings(batch, epoch.captions),
                )
                weighted = [learner.weights.get(name, 1.0) * value for name, value in losses.items()]
                losses |= {"loss": torch.stack(weighted).sum()}
                learner.scaler.scale(losses["loss"] / min(learner.accumulate, steps - first)).backward()
            if updates:
                learner.update(epoch.learning_rates[step])
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
            if step % learner.log_every == 0 or step == steps - 1:
                means = {name: float(distributed.all_reduce_mean(value)) for name, value in losses.items()}
                names = [epoch.image_names[index] for index in batch.indices.tolist()] if epoch.image_names else []
                _check_finite(means, step, names)
                on_log(step=step, **means)
                bar.advance(0, f"loss {means['loss']:.3f}")
            bar.advance()
            if updates and after_update and after_update(partial(MidEpochState.capture, step + 1, sums, device)):
                return None
    means = {name: float(distributed.all_reduce_mean(total)) / steps for name, total in sums.items()}
    _check_finite(means, steps - 1, [])
    return means


def data_parallel(model: TSN, *, matching: bool) -> Any:
    """The model itself, or wrapped so that gradients are averaged over the ranks of a process group."""
    if distributed.world_size() == 1:
        return model
    for parameter in model.matching_parameters():
        # Without matching these get no gradient, and DistributedDataParallel must not wait for one. Its own search for
        # unused parameters would need the whole graph, which recomputed blocks hide.
        parameter.requires_grad_(matching)
    device = model.cross_proj.weight.device
    ids = [device] if device.type == "cuda" else None
    # The buffers are constants, which the first rank need not send before every step; renamed in torch 2.13.
    known = signature(DistributedDataParallel).parameters
    sends = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"gradient_as_bucket_view": True, sends: False}
    return DistributedDataParallel(model, device_ids=ids, **options)


def _check_finite(losses: Mapping[str, float], step: int, batch: Sequence[str]) -> None:
    if not all(math.isfinite(value) for value in losses.values()):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        where = f"; the batch was {', '.join(batch)}" if batch else ""
        raise UserError(
            f"the loss is not finite at step {step} ({shown}): lower train.lr or set train.clip_norm=1; the last "
            f"checkpoint is kept{where}"
        )
