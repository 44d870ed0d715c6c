"""Start a script once per GPU of this machine and report one exit status for all processes.

Unlike torchrun, it forwards SIGTERM and, after a failure, leaves one error line and that process's exit status.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

import torch

from utils.distributed import launched_processes
from utils.errors import UserError
from utils.logs import log
from utils.processes import available_cores

MIN_PAIRS = 32  # of each process, in a batch
_GRACE = 20.0  # seconds for the other processes to exit after one has failed


def processes_to_start(processes: int | None, device: str, batch_size: int | None = None) -> int:
    """How many processes to start: as configured, else one per visible GPU.

    For a batch, it is the most that divide it and leave each at least `MIN_PAIRS` pairs: with fewer, a step takes as
    long as with one GPU, and more GPUs are of use for further runs only. It is 1 in a process that a launcher has
    already started.

    Args:
        batch_size: the training batch size; None for work that any number of processes can share.

    Raises:
        UserError: the batch cannot be divided by the number of processes.
    """
    started = launched_processes() if os.environ.get("WORLD_SIZE") else 0
    if count := started or processes:
        if batch_size and batch_size % count:
            raise UserError(f"train.batch_size={batch_size} is no multiple of the {count} processes that share it")
        return 1 if started else count
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return 1
    gpus = torch.cuda.device_count()
    if not batch_size:
        return gpus
    most = next(n for n in range(gpus, 0, -1) if n == 1 or (batch_size % n == 0 and batch_size >= n * MIN_PAIRS))
    if most < gpus:
        log.warning(
            f"training on {most} of {gpus} GPUs: each needs {MIN_PAIRS} of the train.batch_size={batch_size} pairs, "
            "and an equal share; raise it (and train.lr), or use the others for other seeds (run.device=cuda:N)"
        )
    return most


def launch(command: Sequence[str], processes: int) -> int:
    """Run a command in several processes of one group; return one exit status for all.

    SIGTERM is forwarded to all of them; Ctrl-C reaches them through the terminal. If one fails, the others are stopped.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    group |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    threads = {"OMP_NUM_THREADS": str(max(1, available_cores() // processes))}
    members = [
        subprocess.Popen(command, env=threads | os.environ | group | {"RANK": str(number), "LOCAL_RANK": str(number)})
        for number in range(processes)
    ]

    def pass_on(number: int, frame: FrameType | None) -> None:
        for member in members:
            if member.poll() is None:
                member.send_signal(number)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _common_status(members)
    finally:
        for member in members:
            member.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def _common_status(members: Sequence[subprocess.Popen[bytes]]) -> int:
    deadline = float("inf")
    failed: int | None = None
    while any(member.poll() is None for member in members) and time.monotonic() <= deadline:
        if failed is None and (failed := next((one.returncode for one in members if one.returncode), None)):
            deadline = time.monotonic() + _GRACE
            for member in members:
                if member.poll() is None:
                    member.terminate()
        time.sleep(0.05)
    if failed is None:
        failed = next((one.returncode for one in members if one.returncode), 0)
    if failed < 0:
        log.error(f"error: a process of the run was ended by {signal.Signals(-failed).name}")
        return 1
    return failed
