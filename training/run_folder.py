"""The folder of one run: its config, its log, what resumes it, and a guard against mixing it with another."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import read_checkpoint
from models.tsn import TSN
from training.board import Board
from utils import distributed
from utils.errors import UserError
from utils.files import atomic_write, read_json, write_json

_OF_COPIES = ("copies", "log_bytes")  # kept in last.pth to mend its copies and the log
SAMPLE = 2000  # images whose features are kept for a picture of the clusters
_MADE_ON_THE_WAY = ("best.pth", "round.pth", "vocab.txt")


class RunFolder:
    """`output/<name>/`, held by one run at a time. Of a group of processes, the first writes, and the others read.

    Args:
        path: the folder; made if it is missing.
        identity: what makes this run this run, as plain values by name: settings, and `fingerprint`s of the data.

    Attributes:
        board: draws what is logged, too, if it is set.

    Raises:
        UserError: another process holds the folder, it holds another run (the settings that differ are named), or it
            holds weights that a run would replace.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._saved = time.monotonic()
        self.board: Board | None = None
        distributed.run_on_main(lambda: self._hold(dict(identity)))

    def _hold(self, identity: dict[str, Any]) -> None:
        path = self.path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"run.dir: cannot write to {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is training in {path}: wait for it, or set run.dir") from None
        self._claim(identity)

    def _claim(self, identity: dict[str, Any]) -> None:
        stamp = self.path / "run.json"
        if not (self.path / "last.pth").exists():
            if (self.path / "best.pth").exists():  # a run of ours writes last.pth first
                raise UserError(
                    f"{self.path / 'best.pth'} stands there without a last.pth to go on from, and training would "
                    "replace it: move it away, or give this run a folder of its own with --set run.dir=output/NAME"
                )
            write_json(stamp, identity)  # whatever was begun here has left nothing to lose
            return
        if not stamp.exists():
            raise UserError(f"{self.path} holds a checkpoint of an unknown run: set run.dir to another folder")
        found = read_json(stamp)
        differing = [key for key in sorted({*found, *identity}) if found.get(key) != identity.get(key)]
        if differing:
            shown = ", ".join(f"{key} {found.get(key)} there, {identity.get(key)} now" for key in differing[:4])
            more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
            raise UserError(
                f"{self.path} holds a run with other settings ({shown}{more}): remove that folder, or give this run "
                "its own with --set run.dir=output/NAME"
            )

    def log(self, event: str, **values: Any) -> None:
        """Append one line to `log.jsonl`."""
        if not distributed.is_main_process():
            return
        if self.board:
            self.board.draw(event, **values)
        path = self.path / "log.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event, **values}) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; every finished epoch is kept") from error

    def save_epoch(
        self, checkpoint: dict[str, Any], memory: dict[str, Any], *, best: bool, best_of_round: bool
    ) -> None:
        """Write an epoch's checkpoint to `last.pth`, and to `best.pth` and `round.pth` where it is the best.

        Args:
            checkpoint: weights and what they are.
            memory: what it takes besides to go on from them, kept in `last.pth` alone.
            best: no epoch of the run was better.
            best_of_round: no epoch of its round was better.
        """
        copies = ["best.pth"] * best + ["round.pth"] * best_of_round

        def write() -> None:
            # last.pth knows its copies before they are written: a kill in between is mended by `load_state`.
            self._save_last(checkpoint, memory, copies)
            for name in copies:
                self._save(name, checkpoint)

        distributed.run_on_main(write)

    def save_midway(self, checkpoint: dict[str, Any], memory: dict[str, Any]) -> None:
        """Write to `last.pth` where an epoch stands, as `save_epoch` does at its end."""
        distributed.run_on_main(lambda: self._save_last(checkpoint, memory, []))

    def _save_last(self, checkpoint: dict[str, Any], memory: dict[str, Any], copies: list[str]) -> None:
        log = self.path / "log.jsonl"
        size = log.stat().st_size if log.exists() else 0
        self._save("last.pth", checkpoint | {"memory": memory, "copies": copies, "log_bytes": size})
        self._saved = time.monotonic()

    def seconds_since_save(self) -> float:
        """Seconds since `last.pth` was written, or since the run began."""
        return time.monotonic() - self._saved

    def _save(self, name: str, content: dict[str, Any]) -> None:
        # Given a path, torch writes by itself and hides that the disk is full.
        with atomic_write(self.path / name) as aside, aside.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:  # of torch's own ending, which stands before what the disk said
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None

    def load_state(self) -> dict[str, Any] | None:
        """Read `last.pth` and cut the log back to what it knows of; None, and a fresh log, where there is none."""
        if not distributed.run_on_main(self._clear_up):
            return None
        return {key: value for key, value in read_checkpoint(self.path / "last.pth").items() if key not in _OF_COPIES}

    def _clear_up(self) -> bool:
        """Take away what `last.pth` does not know of, and write what it does; whether there is one."""
        log, last = self.path / "log.jsonl", self.path / "last.pth"
        if not last.exists():
            log.unlink(missing_ok=True)
            for stale in (*self.path.glob("pseudo_labels_*.npz"), *map(self.path.joinpath, _MADE_ON_THE_WAY)):
                stale.unlink(missing_ok=True)
            return False
        state = read_checkpoint(last)
        if log.exists():
            os.truncate(log, min(state["log_bytes"], log.stat().st_size))
        for name in state["copies"]:
            self._save(name, {key: value for key, value in state.items() if key not in ("memory", *_OF_COPIES)})
        return True

    def load_round(self, model: TSN) -> TSN:
        """Put the best weights of the round before into `model`, all but its classifier's; before any it stays."""
        if (self.path / "round.pth").exists():
            weights = read_checkpoint(self.path / "round.pth")["model"]
            kept = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
            model.load_state_dict(kept, strict=False)
        return model

    def save_labels(
        self,
        round_number: int,
        labels: NDArray[np.int64],
        *,
        eps: float,
        silhouette: float,
        names: Sequence[str],
        features: NDArray,
    ) -> None:
        """Write a round's pseudo-labels, with the images that they belong to, and a sample's features for a picture."""
        if not distributed.is_main_process():
            return
        sample = np.sort(np.random.default_rng(0).permutation(len(labels))[:SAMPLE])
        seen = features[sample].astype(np.float16)
        with atomic_write(self.path / f"pseudo_labels_{round_number}.npz") as aside, aside.open("wb") as file:
            arrays = {"labels": labels, "names": np.array(names), "sample": sample, "features": seen}
            np.savez_compressed(file, allow_pickle=False, eps=eps, silhouette=silhouette, **arrays)

    def load_labels(self, round_number: int) -> tuple[NDArray[np.int64], float, float] | None:
        """A round's pseudo-labels, eps and silhouette, or None where it has not been clustered yet."""
        path = self.path / f"pseudo_labels_{round_number}.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as content:
            silhouette = float(content["silhouette"]) if "silhouette" in content else float("nan")
            return content["labels"], float(content["eps"]), silhouette


def fingerprint(parts: Sequence[str]) -> str:
    """A short hash of a list of texts: the same list, the same hash."""
    return hashlib.sha256(json.dumps(list(parts), ensure_ascii=False).encode()).hexdigest()[:16]
