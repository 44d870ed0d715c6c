"""Checkpoints of one round: saved after and within epochs, with a record of the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from training.epoch import Learner, MidEpochState
from training.run_folder import RunFolder
from training.schedule import load_optimizer
from utils import distributed
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

NO_METRIC = -1.0  # below every metric
_SAVE, _STOP = 1, 2
_RENAMED = {"fruitless": "epochs_without_improvement", "midway": "mid_epoch"}  # names in checkpoints of version 0.1
_RENAMED_MID_EPOCH = {"sums": "loss_sums", "random": "rng_states"}


class RoundCheckpoints:
    """Saves the state of one round to the run folder, and restores it.

    Args:
        run: the run folder.
        learner: model, optimizer and scaler; they are restored from `resumed`.
        round_number: number of the round.
        eps: the DBSCAN radius of the round; None before the first clustering.
        best: the best validation metric of the run so far.
        metric: name of the metric that selects the best epoch.
        minutes: time between two checkpoints within an epoch.
        resumed: the content of `last.pth` if it belongs to this round.

    Attributes:
        epoch: number of finished epochs of the round.
        epochs_without_improvement: epochs since the best one of the round.
        mid_epoch: the state in which the next epoch was interrupted, or None.
    """

    def __init__(
        self,
        run: RunFolder,
        learner: Learner,
        *,
        round_number: int,
        eps: float | None,
        best: float,
        metric: str,
        minutes: float,
        resumed: Mapping[str, Any] | None,
    ) -> None:
        self._run, self._learner, self._round, self._eps = run, learner, round_number, eps
        self._metric, self._seconds = metric, 60 * minutes
        self.epoch, self.epochs_without_improvement = 0, 0
        self.best, self._best_of_round = best, NO_METRIC
        self.mid_epoch: MidEpochState | None = None
        if resumed:
            self._restore(resumed)

    def after_update(self, shutdown: GracefulShutdown, capture: Callable[[], MidEpochState]) -> bool:
        """Save if a save is due or a stop was requested; return whether to stop, the same value on all ranks."""
        due = distributed.is_main_process() and self._run.seconds_since_save() >= self._seconds
        action = distributed.all_reduce_max(_STOP if shutdown.requested else _SAVE if due else 0)
        if action:
            with shutdown.uninterrupted():
                self._run.save_mid_epoch(self._checkpoint({}), self._memory() | {"mid_epoch": vars(capture())})
        return action == _STOP

    def after_epoch(self, metrics: Mapping[str, float]) -> None:
        """Save a finished epoch, also as the best if it is; without metrics, each epoch counts as the best so far."""
        value = metrics.get(self._metric, self.best + 1)
        is_best, is_best_of_round = value > self.best, value > self._best_of_round
        self.best, self._best_of_round = max(self.best, value), max(self._best_of_round, value)
        self.epoch, self.mid_epoch = self.epoch + 1, None
        self.epochs_without_improvement = 0 if is_best_of_round else self.epochs_without_improvement + 1
        self._run.save_epoch(self._checkpoint(metrics), self._memory(), best=is_best, best_of_round=is_best_of_round)

    def _restore(self, state: Mapping[str, Any]) -> None:
        memory = {_RENAMED.get(name, name): value for name, value in state["memory"].items()}
        try:
            self._learner.model.load_state_dict(state["model"])
            load_optimizer(self._learner.optimizer, memory["optimizer"])
            self._learner.scaler.load_state_dict(memory["scaler"])
            if mid_epoch := memory.get("mid_epoch"):
                fields = {_RENAMED_MID_EPOCH.get(name, name): value for name, value in mid_epoch.items()}
                self.mid_epoch = MidEpochState(**fields)
                self.mid_epoch.check(self._learner.device)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise UserError(
                f"{self._run.path / 'last.pth'} belongs to another model or optimizer ({reason}): restore it, or "
                f"remove {self._run.path}"
            ) from None
        self.epoch, self._best_of_round = state["epoch"], memory["best_of_round"]
        self.epochs_without_improvement = memory["epochs_without_improvement"]

    def _checkpoint(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        return {
            "model": self._learner.model.state_dict(),
            "sizes": self._learner.model.sizes.to_dict(),
            "round": self._round,
            "epoch": self.epoch,
            "validation": dict(metrics),
            "config": self._run.settings,
        }

    def _memory(self) -> dict[str, Any]:
        return {
            "optimizer": self._learner.optimizer.state_dict(),
            "scaler": self._learner.scaler.state_dict(),
            "best": self.best,
            "best_of_round": self._best_of_round,
            "epochs_without_improvement": self.epochs_without_improvement,
            "eps": self._eps,
        }
