"""Spread work over processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from utils.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


def available_cores() -> int:
    """Return the number of cores that this process may use, its equal share if a launcher started several here."""
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, len(os.sched_getaffinity(0)) // max(1, int(local) if local.isdecimal() else 1))


def map_in_processes(
    function: Callable[[T], R], items: Sequence[T], workers: int, *, chunk_size: int
) -> Generator[R, None, None]:
    """Yield `function(item)` of each item, in order; with one worker, the calling process computes them.

    Only this process handles Ctrl-C; the workers exit with it, or when the generator is closed.

    Args:
        function: a module-level function, so that it can be pickled.
        items: its arguments.
        workers: number of processes.
        chunk_size: items that a worker receives at once.

    Raises:
        UserError: a worker was killed.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("forkserver")  # this process may have threads, which break fork
    pool = ProcessPoolExecutor(workers, context, initializer=_exit_with_parent)
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the workers, which start in `map`
        try:
            results = pool.map(function, items, chunksize=chunk_size)
        finally:
            signal.signal(signal.SIGINT, before)
        yield from results
    except BrokenProcessPool:
        raise UserError("a worker process was killed (out of memory?): run again") from None
    finally:  # also when the generator is closed early: finish running tasks, cancel pending ones
        pool.shutdown(cancel_futures=True)


def _exit_with_parent() -> None:
    """Exit when the parent process has ended, for whatever reason."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
