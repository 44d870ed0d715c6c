"""Imported first by every script: Ctrl-C while the libraries load, which takes seconds, leaves a line, no traceback."""

from __future__ import annotations

import sys
from types import TracebackType

ADVICE = "interrupted: run the same command again to go on"


def _say(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(ADVICE, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, where)


sys.excepthook = _say
