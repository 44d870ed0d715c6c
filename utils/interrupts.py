"""Ctrl-C and SIGTERM. Scripts import this first, so that Ctrl-C prints one line even while libraries load."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from utils.logs import is_main_rank, tell

RESUME_HINT = "interrupted: run the same command again to resume"


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        tell(RESUME_HINT)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _excepthook


@contextmanager
def exit_cleanly_on_sigterm() -> Iterator[None]:
    """Within this context, SIGTERM, which schedulers send on preemption, exits with status 0 after cleaning up."""
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            _print(RESUME_HINT)
            sys.exit(0)
        os._exit(0)  # a forked worker

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


class GracefulShutdown:
    """Context in which the first Ctrl-C or SIGTERM only requests a stop, and another Ctrl-C raises KeyboardInterrupt.

    Schedulers repeat SIGTERM, which changes nothing; within `uninterrupted`, neither does Ctrl-C.

    The loop inside checks `requested`, finishes the work in progress and ends. Outside the main thread, the
    only one that receives signals, it does nothing.

    Args:
        notice: printed to stderr at the first signal.

    Attributes:
        requested: the first signal, or None.
    """

    def __init__(self, notice: str) -> None:
        self.notice = notice
        self.requested: signal.Signals | None = None
        self._shielded = False
        self._process = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> GracefulShutdown:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Context in which no signal interrupts what it takes to end well, such as saving."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False

    def exit_status(self) -> int:
        """The exit status after a requested stop: 0 for SIGTERM, or if only another process was signaled.

        Raises:
            KeyboardInterrupt: the stop was requested by Ctrl-C.
        """
        if self.requested == signal.SIGINT:
            raise KeyboardInterrupt
        _print(RESUME_HINT)
        return 0

    def _request(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker forked inside the block: its parent handles the signal
            return
        if self.requested:
            if number == signal.SIGINT and not self._shielded:
                raise KeyboardInterrupt
            return
        _print(self.notice)
        self.requested = signal.Signals(number)


def _print(message: str) -> None:
    if is_main_rank():
        tell(message)
