"""The folder of one run: config, log, checkpoints and pseudo-labels, locked and protected against mixing runs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clustering.pseudo_labels import are_labels
from models.checkpoint import read_model
from models.tsn import TSN
from training.saved_state import RESUME, complete_copies, read_state, write_state
from utils import distributed
from utils.errors import UserError
from utils.files import atomic_write, read_jsonl, read_npz, read_object, write_json

FEATURE_SAMPLE = 2000  # images whose features are kept, for the plot of the clusters in the report

_WRITTEN = ("config.yaml", "log.jsonl", "vocab.txt", "model.safetensors", "config.json", "round.pth")
_DERIVED = ("best.pth", "round.pth", "vocab.txt", "pseudo_labels_*.npz", RESUME)


class RunFolder:
    """`output/<name>/`, used by one run at a time. In a process group, rank 0 writes and all ranks read.

    Args:
        path: the folder, created if it is missing.
        identity: everything that the weights depend on, as plain values by name: options and `fingerprint`s of the
            data. A folder is resumed only by a run of the same identity.
        settings: the resolved config, kept in every checkpoint.
        upgrade_identity: translates the identity of a run of an earlier version.
        tensorboard: also write the log as TensorBoard events.

    Raises:
        UserError: another process uses the folder, it holds another run (the differing options are named), or it holds
            weights that training would replace.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        settings: Mapping[str, Any] | None = None,
        *,
        upgrade_identity: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        tensorboard: bool = False,
    ) -> None:
        self.path = path
        self.settings = dict(settings or {})
        self._saved = time.monotonic()
        self._board: _TensorBoard | None = None
        distributed.run_on_main(lambda: self._open(dict(identity), upgrade_identity))
        self._wants_board = tensorboard and distributed.is_main_process()

    def _open(self, identity: dict[str, Any], upgrade_identity: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"run.dir: cannot write to {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {self.path}: wait for it, or set run.dir") from None
        except OSError as error:  # such as Lustre that is mounted without flock
            raise UserError(
                f"run.dir: the file system of {self.path} has no locks ({error.strerror}): mount it with them, or set "
                "run.dir to a folder on another one"
            ) from None
        stamp, last, best = (self.path / name for name in ("run.json", "last.pth", "best.pth"))
        if not stamp.exists() and not last.exists():
            foreign = sorted(name for name in _WRITTEN if (self.path / name).exists())
            if foreign:
                raise UserError(
                    f"run.dir: {self.path} is no run folder, and holds {', '.join(foreign)}, which a run would "
                    "replace: set run.dir to a new folder"
                )
        if not last.exists():
            if best.exists():  # a run writes last.pth before best.pth
                raise UserError(
                    f"{best} exists without a last.pth to resume from, and training would replace it: move it away, or "
                    "use another folder with --set run.dir=output/NAME"
                )
            write_json(stamp, identity)  # without a checkpoint there is nothing to resume or lose
            return
        if not stamp.exists():
            raise UserError(f"{self.path} holds a checkpoint of an unknown run: set run.dir to another folder")
        found = upgrade_identity(read_object(stamp))
        differing = [key for key in sorted({*found, *identity}) if found.get(key) != identity.get(key)]
        if differing:
            shown = ", ".join(f"{key} was {found.get(key)}, now {identity.get(key)}" for key in differing[:4])
            more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
            raise UserError(
                f"{self.path} holds a run with other settings ({shown}{more}): remove that folder, or use another one "
                "with --set run.dir=output/NAME"
            )

    def log(self, event: str, **values: Any) -> None:
        """Append one line to `log.jsonl`."""
        if not distributed.is_main_process():
            return
        if self._board:
            self._board.draw(event, **values)
        path = self.path / "log.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event, **values}) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; every finished epoch is kept") from error

    def save_epoch(
        self, checkpoint: dict[str, Any], memory: dict[str, Any], *, best: bool, best_of_round: bool
    ) -> None:
        """Write the checkpoint of a finished epoch to `last.pth`; if it is the best, `best.pth` and `round.pth` are it.

        Args:
            checkpoint: weights and their description.
            memory: what else resuming needs.
            best: it is the best epoch of the run.
            best_of_round: it is the best epoch of its round.
        """
        copies = ["best.pth"] * best + ["round.pth"] * best_of_round
        distributed.run_on_main(lambda: self._save(checkpoint, memory, copies))

    def save_mid_epoch(self, checkpoint: dict[str, Any], memory: dict[str, Any]) -> None:
        """Write the state in the middle of an epoch to `last.pth`."""
        distributed.run_on_main(lambda: self._save(checkpoint, memory, []))

    def seconds_since_save(self) -> float:
        """Seconds since `last.pth` was written, or since the run started."""
        return time.monotonic() - self._saved

    def load_state(self) -> dict[str, Any] | None:
        """Read `last.pth` and truncate the log to its state; None, with an empty log, if there is no checkpoint."""
        resumes = distributed.run_on_main(self._restore_files)
        if self._wants_board:
            self._board = _TensorBoard(self.path)
        if not resumes:
            return None
        return read_state(self.path)

    def load_round(self, model: TSN) -> TSN:
        """Load the best weights of the previous round, if there was one, into `model`, except the classifier."""
        if (self.path / "round.pth").exists():
            _, weights = read_model(self.path / "round.pth")
            kept = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
            try:
                model.load_state_dict(kept, strict=False)
            except (RuntimeError, TypeError, AttributeError) as error:
                reason = str(error).strip().splitlines()[-1].strip()
                source = self.path / "round.pth"
                raise UserError(f"{source} belongs to another model ({reason}): remove {self.path}") from None
        return model

    def save_labels(
        self,
        round_number: int,
        labels: NDArray[np.int64],
        *,
        eps: float,
        silhouette: float,
        names: Sequence[str],
        features: NDArray[Any],
    ) -> None:
        """Write a round's pseudo-labels with their image names, and the features of a sample of the images."""
        if not distributed.is_main_process():
            return
        sample = np.sort(np.random.default_rng(0).permutation(len(labels))[:FEATURE_SAMPLE])
        sampled = features[sample].astype(np.float16)
        with atomic_write(self.path / f"pseudo_labels_{round_number}.npz") as temporary, temporary.open("wb") as file:
            arrays = {"labels": labels, "names": np.array(names), "sample": sample, "features": sampled}
            np.savez_compressed(file, allow_pickle=False, eps=eps, silhouette=silhouette, **arrays)

    def load_labels(self, round_number: int) -> tuple[NDArray[np.int64], float, float] | None:
        """A round's pseudo-labels, eps and silhouette, or None if it has not been clustered yet."""
        path = self.path / f"pseudo_labels_{round_number}.npz"
        if not path.exists():
            return None
        content = read_npz(path, ["labels", "eps"], optional=["silhouette"])
        labels, eps = content["labels"], content["eps"]
        silhouette = content.get("silhouette", np.array(float("nan")))
        numbers = all(each.ndim == 0 and each.dtype.kind == "f" for each in (eps, silhouette))
        if not are_labels(labels) or not numbers or not 0 <= eps < np.inf:
            raise UserError(f"{path} is damaged: remove it, and the round is clustered again")
        return labels, float(eps), float(silhouette)

    def _save(self, checkpoint: dict[str, Any], memory: dict[str, Any], copies: list[str]) -> None:
        log = self.path / "log.jsonl"
        size = log.stat().st_size if log.exists() else 0
        write_state(self.path, checkpoint, memory, copies=copies, log_bytes=size)
        self._saved = time.monotonic()

    def _restore_files(self) -> bool:
        """Restore log and copies to the state of `last.pth`, or delete stale files; return whether it exists."""
        log, last = self.path / "log.jsonl", self.path / "last.pth"
        for partial in self.path.glob(".*.partial"):
            partial.unlink()  # of a killed process
        if not last.exists():
            log.unlink(missing_ok=True)
            for stale in (file for pattern in _DERIVED for file in self.path.glob(pattern)):
                stale.unlink()
            return False
        state = read_state(self.path)
        if log.exists():
            os.truncate(log, min(state["log_bytes"], log.stat().st_size))
        complete_copies(self.path, state)
        return True


class _TensorBoard:
    """Writes the numbers of `log.jsonl` as TensorBoard events in `tensorboard/`; a resumed run rewrites them all."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._count: Counter[str] = Counter()
        for line in read_jsonl(folder / "log.jsonl"):
            self.draw(**line)

    def draw(self, event: str, **values: Any) -> None:
        """Write the numbers of one log line; the x-axis counts the log lines of the same event."""
        for name, value in values.items():
            if isinstance(value, int | float) and name not in ("round", "epoch", "step"):
                self._writer.add_scalar(f"{event}/{name}", value, self._count[event])
        self._count[event] += 1
        if event != "step":
            self._writer.flush()


def fingerprint(parts: Sequence[str]) -> str:
    """A short hash of a list of strings."""
    return hashlib.sha256(json.dumps(list(parts), ensure_ascii=False).encode()).hexdigest()[:16]
