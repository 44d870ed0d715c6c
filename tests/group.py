"""Several processes as torchrun starts them, but without torchrun, which takes longer to start than they run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
_SECONDS = 150  # a group whose members wait for each other forever must not hold up the other tests


def in_a_group(size: int, *command: str) -> str:
    """Run a script, or a module after `-m`, in `size` processes on the CPU; return the output of each, in order.

    Raises:
        AssertionError: one of them failed, or they did not end in time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / str(rank) for rank in range(size)]
        members = [
            subprocess.Popen(
                [sys.executable, *command],
                cwd=REPOSITORY,
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.DEVNULL,
                stdout=log.open("w"),
                stderr=subprocess.STDOUT,
            )
            for rank, log in enumerate(logs)
        ]
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end and any(member.poll() is None for member in members):
            if any(member.poll() for member in members):  # the others would wait for it
                end = min(end, time.monotonic() + 10)
            time.sleep(0.05)
        for member in members:
            member.kill()
            member.wait()
        output = [log.read_text() for log in logs]
    assert all(member.returncode == 0 for member in members), "\n--- the next process ---\n".join(output)
    return "".join(output)
