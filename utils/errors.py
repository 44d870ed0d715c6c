"""Errors that the user can correct: reported as one line with exit status 2, without a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from utils.interrupts import RESUME_HINT


class UserError(Exception):
    """A file, a key or a value is wrong; the message is one line that names it and says what to do."""


class ReportedError(UserError):
    """An error of rank 0 on another rank, which exits with the same status, but does not print it once more."""


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main` and exit with its status: 2 for a `UserError`, 130 for Ctrl-C."""
    try:
        status = main() or 0
    except (UserError, KeyboardInterrupt) as error:
        status = report(error)
    sys.exit(status)


def report(error: BaseException) -> int:
    """Print an error that ends a script, in one line unless it is a fault of the program; return the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, UserError):
        if not isinstance(error, ReportedError):
            print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, KeyboardInterrupt):
        print(RESUME_HINT, file=sys.stderr)
        return 130
    traceback.print_exception(error)
    return 1
