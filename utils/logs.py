"""Messages of the program: results on stdout, warnings and progress on stderr, from the main process only."""

from __future__ import annotations

import logging
import os
import sys

_LONGEST_LINE = 2000  # letters of an error: a name may have thousands, and its advice is at the end


def printable(text: str) -> str:
    """Return the text on one line, with characters that no terminal shows written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def one_line(text: str) -> str:
    """Return a message as `printable`, without the middle of one that is too long to read."""
    line = printable(text)
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


class _Console(logging.Handler):
    """Warnings go to stderr, the rest to stdout, both looked up for each message, because callers may redirect them."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=stream, flush=True)


def is_main_rank() -> bool:
    """Whether this process writes messages: the one with RANK 0, as set by the launcher of several."""
    return os.environ.get("WORLD_SIZE", "1") in ("", "1") or os.environ.get("RANK", "0") == "0"


log = logging.getLogger("tsn")
log.setLevel(logging.INFO)
log.propagate = False
_console = _Console()
_console.addFilter(lambda record: is_main_rank())
log.addHandler(_console)
