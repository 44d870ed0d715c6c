"""Ctrl-C: imported first by every script, so that one while libraries load, which takes seconds, leaves a line too."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

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
