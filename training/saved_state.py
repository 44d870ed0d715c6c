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
from typing import Annotated, Any, Literal

import torch
from pydantic import AliasChoices, BaseModel, Field, FiniteFloat, ValidationError

from models.checkpoint import check_weights, read_checkpoint
from utils.errors import UserError
from utils.files import atomic_write
from utils.options import NonNegativeInt

LAST = "last.pth"
RESUME = "resume_*.pth"

_ONLY_IN_LAST = ("memory", "copies", "log_bytes")  # of version 0.1, whose last.pth holds everything


class _MidEpoch(BaseModel):
    """The state in the middle of an epoch; the second names are those of version 0.1."""

    step: NonNegativeInt
    loss_sums: dict[str, Any] = Field(validation_alias=AliasChoices("loss_sums", "sums"))
    rng_states: list[Any] = Field(validation_alias=AliasChoices("rng_states", "random"))


class _Memory(BaseModel):
    """What resuming needs beside the weights."""

    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    best: FiniteFloat
    best_of_round: FiniteFloat
    epochs_without_improvement: NonNegativeInt = Field(
        validation_alias=AliasChoices("epochs_without_improvement", "fruitless")
    )
    eps: Annotated[FiniteFloat, Field(ge=0)] | None
    mid_epoch: _MidEpoch | None = Field(None, validation_alias=AliasChoices("mid_epoch", "midway"))


class _State(BaseModel):
    """The content of `last.pth`, with the memory."""

    model: dict[str, Any]
    round: Annotated[int, Field(ge=-1)]
    epoch: NonNegativeInt
    memory: _Memory
    copies: list[Literal["best.pth", "round.pth"]]
    log_bytes: NonNegativeInt


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
    try:
        _State.model_validate(state)
    except ValidationError as error:
        wrong = dict.fromkeys(".".join(map(str, each["loc"][:3])) for each in error.errors())
        raise UserError(
            f"{path} is no checkpoint to resume from (a copy of best.pth?): it has no usable {', '.join(wrong)}; "
            f"restore it, or remove {folder}"
        ) from None
    check_weights(state["model"], path)
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
