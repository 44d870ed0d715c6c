"""Errors that the user can correct: reported as one line with exit status 2, without a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from utils.interrupts import RESUME_HINT
from utils.logs import OutputError, one_line, prepare_output, show, tell


class UserError(Exception):
    """A file, a key or a value is wrong; the message is one line that names it and says what to do."""

    def __str__(self) -> str:
        return one_line(super().__str__())  # names may hold line feeds, and bytes that are not UTF-8


class ReportedError(UserError):
    """An error of rank 0 on another rank, which exits with the same status, but does not print it once more."""


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main` and exit with its status: 2 for a `UserError`, 130 for Ctrl-C.

    An error of the operating system is the user's, too: a folder without permission, a disk that is full. Output that
    nobody reads any more, as of `head`, ends the script without a word.
    """
    prepare_output()
    status: int
    try:
        status = main() or 0
    except (UserError, OSError, KeyboardInterrupt, SystemExit) as error:
        status = report(error)
    try:
        show(end="")  # what print has left in the buffer
    except OutputError as error:
        status = status or report(error)
    sys.exit(status)


def report(error: BaseException) -> int:
    """Print an error that ends a script, in one line unless it is a fault of the program; return the exit status."""
    if isinstance(error, SystemExit):  # of argparse, of SIGTERM
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, UserError):
        if not isinstance(error, ReportedError):
            tell(f"error: {error}")
        return 2
    if isinstance(error, OSError):
        names = " to ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        reason = error.strerror or str(error) or type(error).__name__
        tell(f"error: {one_line(f'{names}: {reason}' if names else reason)}")
        return 2
    if isinstance(error, KeyboardInterrupt):
        tell(RESUME_HINT)
        return 130
    tell("".join(traceback.format_exception(error)).rstrip())
    return 1
