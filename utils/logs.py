"""Messages of the program: results on stdout, warnings and progress on stderr, from the main process only."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_LONGEST_LINE = 2000  # letters of an error: a name may have thousands, and its advice is at the end


def printable(text: str) -> str:
    """Return the text on one line, with characters that no terminal shows written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def one_line(text: str) -> str:
    """Return a message as `printable`, without the middle of one that is too long to read."""
    line = printable(text)
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


class OutputError(SystemExit):
    """Standard output cannot be written to; the script ends, and has said why if there is anybody to be told."""


def prepare_output() -> None:
    """Make output of any text possible, whatever its encoding, and none if it was closed before the start."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show(text: str = "", *, end: str = "\n") -> None:
    """Print a result.

    Raises:
        OutputError: nobody reads it any more (status 141, as of a program that SIGPIPE ends), or it cannot be written
            (status 2).
    """
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        with suppress(OSError):  # what is left in the buffer is written at the exit, and must not fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise OutputError(128 + signal.SIGPIPE) from None
        tell(f"error: cannot write to standard output: {error.strerror}")
        raise OutputError(2) from None


def tell(message: str) -> None:
    """Print a message on standard error, if that is possible."""
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)


class _Console(logging.Handler):
    """Warnings go to stderr, the rest to stdout, both looked up for each message, because callers may redirect them."""

    def emit(self, record: logging.LogRecord) -> None:
        (tell if record.levelno >= logging.WARNING else show)(self.format(record))


def is_main_rank() -> bool:
    """Whether this process writes messages: the one with RANK 0, as set by the launcher of several."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


log = logging.getLogger("tsn")
log.setLevel(logging.INFO)
log.propagate = False
_console = _Console()
_console.addFilter(lambda record: is_main_rank())
log.addHandler(_console)
