"""Processes that train one model together, as `utils/launch.py` or torchrun starts them; one process is a group too."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from utils.errors import UserError

_FIRST_SAYS_IT = 3.0  # seconds in which whoever started them ends the others, so that what all meet is said once
_PATIENCE = timedelta(hours=12)  # the others wait while the first clusters; who dies is seen by who started them


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the group that the environment tells of (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), if it does.

    All but the first process say nothing while they are in it: what it says would be said by each.

    Raises:
        UserError: another process of the group ended before its time.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        with contextlib.ExitStack() as silence:
            if not is_first():
                nowhere = silence.enter_context(open(os.devnull, "w"))  # noqa: PTH123 - no file of anybody's
                silence.enter_context(contextlib.redirect_stdout(nowhere))
                silence.enter_context(contextlib.redirect_stderr(nowhere))
            try:
                yield
            except UserError:
                if not is_first():
                    time.sleep(_FIRST_SAYS_IT)
                raise
    except RuntimeError as error:
        if not any(word in str(error) for word in ("gloo", "NCCL", "Connection", "connection")):
            raise
        time.sleep(_FIRST_SAYS_IT)
        raise UserError(f"another process of this run ended ({str(error).splitlines()[0]})") from error
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process in its group."""
    return distributed.get_rank() if _together() else 0


def size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _together() else 1


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def share(count: int) -> slice:
    """The part of `count` things in a row that is this process's."""
    return slice(count * rank() // size(), count * (rank() + 1) // size())


def ends(count: int) -> list[int]:
    """Where the `share` of each process of `count` things ends."""
    return [count * (number + 1) // size() for number in range(size())]


def in_order(mine: NDArray, count: int) -> NDArray:
    """What the processes have of their `share`s of `count` rows, [count, ...], the same in all of them."""
    return concatenated(mine, np.diff([0, *ends(count)]).tolist())


def concatenated(mine: NDArray, rows: Sequence[int]) -> NDArray:
    """Arrays of so many rows in each process, one after the other, the same in all of them."""
    if size() == 1:
        return mine
    padded = torch.zeros((max(rows), *mine.shape[1:]), dtype=torch.from_numpy(mine[:0]).dtype)
    padded[: len(mine)] = torch.from_numpy(mine)
    parts = [torch.empty_like(padded) for _ in range(size())]
    distributed.all_gather(parts, padded)
    return np.concatenate([part[:count].numpy() for part, count in zip(parts, rows, strict=True)])


def stacked(mine: Tensor) -> Tensor:
    """[...] of each process, the same shape in all, as [processes, ...] on the CPU."""
    if size() == 1:
        return mine.cpu()[None]
    each = [torch.empty_like(mine, device="cpu") for _ in range(size())]
    distributed.all_gather(each, mine.cpu())
    return torch.stack(each)


def most(value: int) -> int:
    """The largest of a number that every process has."""
    if size() == 1:
        return value
    number = torch.tensor(value)
    distributed.all_reduce(number, distributed.ReduceOp.MAX)
    return int(number)


def mean(value: Tensor) -> Tensor:
    """The mean [...] of a tensor that every process has, without gradient."""
    if size() == 1:
        return value.detach()
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / size()


def from_first(tensor: Tensor) -> Tensor:
    """A tensor as the first process has it; the others have one of the same shape and kind."""
    if size() > 1:
        distributed.broadcast(tensor, 0)
    return tensor


def of_first(make: Callable[[], Any]) -> Any:
    """What `make` returns in the first process, where alone it is called: plain values, as JSON has them.

    Raises:
        UserError: it was raised there.
    """
    if size() == 1:
        return make()
    told = b""
    if is_first():
        try:
            told = json.dumps({"value": make()}).encode()
        except UserError as error:
            told = json.dumps({"error": str(error)}).encode()
    length = torch.tensor(len(told))
    distributed.broadcast(length, 0)
    content = torch.frombuffer(bytearray(told), dtype=torch.uint8) if is_first() else torch.empty(int(length)).byte()
    distributed.broadcast(content, 0)
    answer = json.loads(content.numpy().tobytes())
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["value"]


def gathered(mine: Tensor) -> Tensor:
    """[B, ...] of every process, one after the other, [processes x B, ...]; gradients go back to where they belong.

    A loss that each process computes from it is to be averaged over the processes, as DistributedDataParallel does.
    """
    return mine if size() == 1 else _Gathered.apply(mine)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, mine: Tensor) -> Tensor:
        mine = mine.contiguous()
        whole = mine.new_empty(size() * len(mine), *mine.shape[1:])
        distributed.all_gather(list(whole.chunk(size())), mine)
        return whole

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        distributed.all_reduce(gradient)
        return gradient.chunk(size())[rank()]


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
