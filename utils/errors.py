"""Errors that are the user's to mend: one clear line and exit status 2, never a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from utils.interrupts import RESUME_HINT


class UserError(Exception):
    """Something outside the code is wrong: a file, a key or a value.

    The message is one line that names what is wrong and says what to do about it.
    """


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's `main` and leave with its exit status: 2 for a `UserError`, 130 for Ctrl-C."""
    try:
        status = main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print(RESUME_HINT, file=sys.stderr)
        status = 130
    sys.exit(status)
