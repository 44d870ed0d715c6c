"""Collective operations over the processes that train one model; a single process is a group of one.

Names follow torch.distributed and accelerate. The processes are started by `utils/launch.py` or by torchrun.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch import distributed as dist

from utils.errors import ReportedError, UserError, report
from utils.logs import is_main_rank

# Seconds that other ranks wait after an error, so that the main one prints it and the launcher can stop the others.
_ERROR_GRACE = 3.0
# Until all processes have connected, and in NCCL, whose collectives lie within a step: nothing between two of them but
# a checkpoint takes long. A process that stays away is then an error, not a GPU that idles until the job's time is up.
_TIMEOUT = timedelta(minutes=15)
# In gloo, in which the other ranks wait while the main one clusters or evaluates. It notices by itself that a process
# has ended, because the connection is closed; only a machine that loses its power is waited for.
_GLOO_TIMEOUT = timedelta(hours=12)
_LAUNCHER_HINT = "start the processes by torchrun or Slurm, or unset the variables of the launcher"


def launched_processes() -> int:
    """Return the number of processes that a launcher has started, by WORLD_SIZE; 1 without one.

    Raises:
        UserError: WORLD_SIZE is no such number.
    """
    return _launcher_number("WORLD_SIZE", 1, 1, 2**20)


def _check_launcher(size: int) -> None:
    """Check the variables of a launcher that has started several processes.

    Raises:
        UserError: RANK, LOCAL_RANK, MASTER_ADDR or MASTER_PORT is missing or impossible.
    """
    _launcher_number("RANK", None, 0, size - 1)
    _launcher_number("LOCAL_RANK", 0, 0, size - 1)
    _launcher_number("MASTER_PORT", None, 1, 65535)
    if not os.environ.get("MASTER_ADDR"):
        raise UserError(f"the environment variable MASTER_ADDR is not set: {_LAUNCHER_HINT}")


def _launcher_number(name: str, default: int | None, low: int, high: int) -> int:
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if text.isascii() and text.isdecimal() and low <= int(text[:20]) <= high:
        return int(text)
    found = f"{name}={text} is set, but should be a number from {low} to {high}" if text else f"{name} is not set"
    raise UserError(f"the environment variable {found}: {_LAUNCHER_HINT}")


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Initialise the process group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe, if they are set.

    Raises:
        UserError: one of these variables is missing or impossible, or another process of the group ended early.
    """
    size = launched_processes()
    if size > 1:
        _check_launcher(size)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # otherwise some calls open a context on the first GPU, too
    if size == 1:
        yield
        return
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:  # torch's errors of connections are RuntimeErrors
        raise UserError(
            f"the processes of this run cannot connect ({str(error).splitlines()[0]}): check MASTER_ADDR and "
            "MASTER_PORT, and set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface that connects the machines"
        ) from None
    dist.group.WORLD._get_backend(torch.device("cpu"))._set_default_timeout(_GLOO_TIMEOUT)  # type: ignore[union-attr]
    try:
        with warnings.catch_warnings():
            if not is_main_rank():
                warnings.simplefilter("ignore")
            yield
    except BaseException as raised:
        reported = _explain(raised)
        if device.type == "cuda":
            _abort(reported)
        dist.destroy_process_group()
        if reported is raised:
            raise
        raise reported from raised
    dist.destroy_process_group()


def _explain(error: BaseException) -> BaseException:
    """Return the error to report: another one for that of a group which another process has left.

    Ranks other than the main one wait, so that this one's error, which may be the cause, is printed first.
    """
    lost = isinstance(error, RuntimeError) and any(word in str(error) for word in ("gloo", "NCCL", "onnection"))
    if lost or (isinstance(error, UserError) and not is_main_rank()):
        time.sleep(_ERROR_GRACE)
    return UserError(f"another process of this run ended ({str(error).splitlines()[0]})") if lost else error


def _abort(error: BaseException) -> NoReturn:
    """Print an error, then leave without waiting for the GPU: its queue may hold a collective that nobody else joins.

    Unwinding would synchronize with it, and the exit of Python destroys communicators, which may wait, too.
    """
    status = report(error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def rank() -> int:
    """Rank of this process."""
    return dist.get_rank() if _initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _initialized() else 1


def is_main_process() -> bool:
    """Whether this process is rank 0, which writes files and messages."""
    return rank() == 0


def shard(count: int) -> slice:
    """The contiguous part of `count` items that this process handles."""
    return slice(count * rank() // world_size(), count * (rank() + 1) // world_size())


def shard_ends(count: int) -> list[int]:
    """The end index of the `shard` of each rank, [world size]."""
    return [count * (number + 1) // world_size() for number in range(world_size())]


def gather_shards(local: NDArray[Any], count: int) -> NDArray[Any]:
    """Concatenate the `shard`s [*, ...] of all ranks into [count, ...], on every rank."""
    return all_gather_rows(local, np.diff([0, *shard_ends(count)]).tolist())


def all_gather_rows(local: NDArray[Any], rows: Sequence[int]) -> NDArray[Any]:
    """Concatenate arrays of different lengths, `rows[r]` on rank r, on every rank."""
    if world_size() == 1:
        return local
    padded = torch.zeros((max(rows), *local.shape[1:]), dtype=torch.from_numpy(local[:0]).dtype)
    padded[: len(local)] = torch.from_numpy(local)
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    return np.concatenate([part[:count].numpy() for part, count in zip(parts, rows, strict=True)])


def all_gather_stack(local: Tensor) -> Tensor:
    """Stack a tensor [...] of every rank, the same shape on all, into [world size, ...] on the CPU."""
    if world_size() == 1:
        return local.cpu()[None]
    parts = [torch.empty_like(local, device="cpu") for _ in range(world_size())]
    dist.all_gather(parts, local.cpu())
    return torch.stack(parts)


def all_reduce_max(value: int) -> int:
    """The maximum of a number over all ranks."""
    if world_size() == 1:
        return value
    number = torch.tensor(value)
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return int(number)


def all_reduce_mean(value: Tensor) -> Tensor:
    """The mean of a tensor [...] over all ranks, without gradient."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def broadcast(tensor: Tensor) -> Tensor:
    """The tensor of rank 0 on every rank; the others pass a tensor of the same shape and type, which is overwritten."""
    if world_size() > 1:
        dist.broadcast(tensor, 0)
    return tensor


def run_on_main(function: Callable[[], Any]) -> Any:
    """Call `function` on rank 0 alone and return its result, which must be JSON-serializable, on every rank.

    Raises:
        UserError: it was raised on rank 0; `ReportedError` on the others.
    """
    if world_size() == 1:
        return function()
    message = b""
    if is_main_process():
        try:
            message = json.dumps({"value": function()}).encode()
        except UserError as error:
            message = json.dumps({"error": str(error)}).encode()
    length = torch.tensor(len(message))
    dist.broadcast(length, 0)
    content = torch.frombuffer(bytearray(message), dtype=torch.uint8) if message else torch.empty(int(length)).byte()
    dist.broadcast(content, 0)
    result = json.loads(content.numpy().tobytes())
    if "error" in result:
        raise (UserError if is_main_process() else ReportedError)(result["error"])
    return result["value"]


def all_gather_with_grad(local: Tensor) -> Tensor:
    """Concatenate [B, ...] of every rank into [world size x B, ...]; gradients flow back to the rank of each part.

    Backward sums over ranks: averaged by DistributedDataParallel, gradients then equal those of one process.
    """
    return local if world_size() == 1 else _AllGather.apply(local)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, local: Tensor) -> Tensor:
        local = local.contiguous()
        whole = local.new_empty(world_size() * len(local), *local.shape[1:])
        dist.all_gather(list(whole.chunk(world_size())), local)
        return whole

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(world_size())[rank()]


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()
