"""Errors that the user can correct: reported as one line with exit status 2, without a traceback."""

from __future__ import annotations

import sys
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
    except ReportedError:
        status = 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print(RESUME_HINT, file=sys.stderr)
        status = 130
    sys.exit(status)
