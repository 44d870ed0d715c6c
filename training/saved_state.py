"""The saved state of a run: `last.pth`, its copies, and in a file of its own what only resuming needs.

Optimizers hold twice as much as the weights. Apart from them, `last.pth` is a checkpoint like any other, so that
`best.pth` and `round.pth` are hard links to it instead of being written once more.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import read_checkpoint
from utils.errors import UserError
from utils.files import atomic_write

LAST = "last.pth"
RESUME = "resume_*.pth"

_ONLY_IN_LAST = ("memory", "copies", "log_bytes")  # of version 0.1, whose last.pth holds everything


def write_state(
    folder: Path, checkpoint: dict[str, Any], memory: dict[str, Any], *, copies: Sequence[str], log_bytes: int
) -> None:
    """Write `last.pth`, `copies` of it, and `memory`; after a kill at any point, `read_state` finds all old or all new.

    Args:
        checkpoint: weights and their description, with `round` and `epoch`.
        memory: what else resuming needs.
        copies: names of files; `complete_copies` writes those that a kill has left out.
        log_bytes: size of the log.
    """
    step = memory.get("mid_epoch", {}).get("step", 0)
    resume = f"resume_{checkpoint['round']}_{checkpoint['epoch']}_{step}.pth"
    _save(folder / resume, memory)
    _save(folder / LAST, checkpoint | {"copies": list(copies), "log_bytes": log_bytes, "resume": resume})
    _link_copies(folder, copies)
    for stale in folder.glob(RESUME):
        if stale.name != resume:
            stale.unlink()


def read_state(folder: Path) -> dict[str, Any]:
    """Read `last.pth` with its `memory`, and check that a run can be resumed from it.

    Raises:
        UserError: a file is missing, damaged, or cannot be resumed from.
    """
    path = folder / LAST
    state = read_checkpoint(path)
    resume = state.get("resume")
    if isinstance(resume, str) and re.fullmatch(r"resume_[-\d]+_\d+_\d+\.pth", resume):
        if not (folder / resume).is_file():
            raise UserError(
                f"{path} needs {resume} to resume, which is missing (is it a copy of best.pth?): restore it, or remove "
                f"{folder}"
            )
        state["memory"] = read_checkpoint(folder / resume)
    kinds = {"model": dict, "round": int, "epoch": int, "memory": dict, "copies": list, "log_bytes": int}
    wrong = [name for name, kind in kinds.items() if not isinstance(state.get(name), kind)]
    lowest = {"round": -1, "epoch": 0, "log_bytes": 0}
    wrong += [name for name, value in lowest.items() if name not in wrong and state[name] < value]
    needed = ("optimizer", "scaler")
    wrong += [f"memory.{name}" for name in needed if not wrong and name not in state["memory"]]
    if not wrong and not {"best.pth", "round.pth"}.issuperset(map(str, state["copies"])):  # no file outside the folder
        wrong.append("possible copies")
    if wrong:
        raise UserError(
            f"{path} is no checkpoint to resume from (a copy of best.pth?): it has no {', '.join(wrong)}; restore it, "
            f"or remove {folder}"
        )
    return state


def complete_copies(folder: Path, state: dict[str, Any]) -> None:
    """Write the copies that `last.pth`, read as `state`, names; a kill may have come before them."""
    if "resume" in state:
        _link_copies(folder, state["copies"])
        return
    for name in state["copies"]:
        _save(folder / name, {key: value for key, value in state.items() if key not in _ONLY_IN_LAST})


def _link_copies(folder: Path, copies: Sequence[str]) -> None:
    for name in copies:
        with atomic_write(folder / name) as temporary:
            try:
                os.link(folder / LAST, temporary)
            except OSError:  # some file systems have no hard links
                shutil.copyfile(folder / LAST, temporary)


def _save(path: Path, content: dict[str, Any]) -> None:
    # Given a path instead of a file, torch hides that the disk is full.
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # raised while torch closes its archive; the cause is in the context
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
