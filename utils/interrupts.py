"""Ctrl-C: imported first by every script, so that one while libraries load, which takes seconds, leaves a line too."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

ADVICE = "interrupted: run the same command again to go on"


def _say(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(ADVICE, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, where)


sys.excepthook = _say


@contextmanager
def left_to_parent() -> Iterator[None]:
    """Processes that are started in this block never see Ctrl-C: who started them answers it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent() -> None:
    """Called in a process that others start: it ends when they are gone, however they went."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def ending_well() -> Iterator[None]:
    """In this block SIGTERM, with which a scheduler makes room, ends the process like Ctrl-C, with exit status 0."""
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            print(ADVICE, file=sys.stderr)
            sys.exit(0)
        os._exit(0)  # a worker

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


class Patient:
    """While it is entered, the first Ctrl-C or SIGTERM only asks to stop; a second one interrupts.

    Whoever enters it looks at `stopping`, brings home what is on its way, and then ends. Outside the main thread, which
    alone receives signals, it does nothing.

    Args:
        notice: told on stderr at the first signal.

    Attributes:
        stopping: the signal that came first, or None.
    """

    def __init__(self, notice: str) -> None:
        self.notice = notice
        self.stopping: signal.Signals | None = None
        self._process = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Patient:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def leave(self) -> int:
        """How to end after it was asked to: as Ctrl-C does, or with exit status 0, also where another was asked.

        Raises:
            KeyboardInterrupt: it was Ctrl-C.
        """
        if self.stopping == signal.SIGINT:
            raise KeyboardInterrupt
        print(ADVICE, file=sys.stderr)
        return 0

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that was forked meanwhile: who started it answers
            return
        if self.stopping:
            raise KeyboardInterrupt
        print(self.notice, file=sys.stderr, flush=True)
        self.stopping = signal.Signals(number)
