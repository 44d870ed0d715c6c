"""Saves a round's weights while it trains, and remembers which epoch was the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.amp import GradScaler
from torch.optim import Optimizer

from models.tsn import TSN
from training.epoch import Midway
from training.run_folder import RunFolder
from utils import distributed
from utils.interrupts import GracefulShutdown

_SAVE, _END = 1, 2
NONE_YET = -1.0  # below every figure


class Keeper:
    """Keeps one round in its run's folder.

    Args:
        run: where.
        model, optimizer, scaler: what; where the run goes on from `resumed`, they get its state.
        round_number: which round.
        eps: DBSCAN's radius of the run so far.
        best: the best figure of the run so far.
        config: the settings, for whoever opens the file.
        minutes: between two savings within an epoch.
        resumed: the state of `last.pth`, if it is of this round.
        name: figure that chooses the best epoch.

    Attributes:
        epoch: epochs of the round that are done.
        fruitless: epochs since the best of the round.
        midway: where the next epoch was left, or None where it begins at its beginning.
    """

    def __init__(
        self,
        run: RunFolder,
        model: TSN,
        optimizer: Optimizer,
        scaler: GradScaler,
        *,
        round_number: int,
        eps: float | None,
        best: float,
        config: Mapping[str, Any],
        minutes: float,
        resumed: Mapping[str, Any] | None,
        name: str,
    ) -> None:
        self._run, self._model, self._optimizer, self._scaler = run, model, optimizer, scaler
        self._round, self._eps, self._config, self._seconds, self._name = round_number, eps, config, 60 * minutes, name
        self.epoch, self.fruitless, self.best, self._best_of_round = 0, 0, best, NONE_YET
        self.midway: Midway | None = None
        if resumed:
            model.load_state_dict(resumed["model"])
            optimizer.load_state_dict(resumed["memory"]["optimizer"])
            scaler.load_state_dict(resumed["memory"]["scaler"])
            self.epoch, self._best_of_round = resumed["epoch"], resumed["memory"]["best_of_round"]
            self.fruitless = resumed["memory"]["fruitless"]
            midway = resumed["memory"].get("midway")
            self.midway = Midway(**midway) if midway else None

    def after_step(self, shutdown: GracefulShutdown, where: Callable[[], Midway]) -> bool:
        """Save in between where it is time to, or where the run is told to end, which the answer says.

        In a group of processes, what one of them is told all do.
        """
        due = distributed.is_main_process() and self._run.seconds_since_save() >= self._seconds
        wanted = distributed.all_reduce_max(_END if shutdown.requested else _SAVE if due else 0)
        if wanted:
            self._run.save_midway(self._checkpoint({}), self._memory() | {"midway": vars(where())})
        return wanted == _END

    def after_epoch(self, figures: Mapping[str, float]) -> None:
        """Save an epoch, also as the best where it is; without figures every epoch is better than the one before."""
        figure = figures.get(self._name, self.best + 1)
        is_best, is_best_of_round = figure > self.best, figure > self._best_of_round
        self.best, self._best_of_round = max(self.best, figure), max(self._best_of_round, figure)
        self.epoch, self.midway = self.epoch + 1, None
        self.fruitless = 0 if is_best_of_round else self.fruitless + 1
        self._run.save_epoch(self._checkpoint(figures), self._memory(), best=is_best, best_of_round=is_best_of_round)

    def _checkpoint(self, figures: Mapping[str, float]) -> dict[str, Any]:
        return {
            "model": self._model.state_dict(),
            "sizes": self._model.sizes.to_dict(),
            "round": self._round,
            "epoch": self.epoch,
            "validation": dict(figures),
            "config": dict(self._config),
        }

    def _memory(self) -> dict[str, Any]:
        return {
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "best": self.best,
            "best_of_round": self._best_of_round,
            "fruitless": self.fruitless,
            "eps": self._eps,
        }
