"""Where to compute."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from utils.errors import UserError


def pick_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one, `cuda` insists on it; of several processes, each takes its own.

    Raises:
        UserError: what is asked for is not there, or is one GPU for several processes.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and several:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    elif name.startswith("cuda:") and several:
        raise UserError(f"run.device={name} is one GPU, and there are several processes: set run.device=auto")
    device = torch.device(name)
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise UserError(f"run.device={name}: there is no such GPU here ({torch.cuda.device_count()} found)")
    return device


@contextmanager
def out_of_memory_explained() -> Iterator[None]:
    """A GPU that is too small for the run: say which keys to turn."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            "the GPU's memory is too small for this run: set model.checkpointed_blocks (and model.offload=true), or a "
            "smaller train.batch_size, perhaps with train.accumulate; eval.batch_size if it was not training"
        ) from error
