"""Messages of the program: results on stdout, warnings and progress on stderr, from the main process only."""

from __future__ import annotations

import logging
import os
import sys


class _Console(logging.Handler):
    """Warnings go to stderr, the rest to stdout, both looked up for each message, because callers may redirect them."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=stream, flush=True)


def is_main_rank() -> bool:
    """Whether this process writes messages: the one with RANK 0, as set by the launcher."""
    return os.environ.get("RANK", "0") == "0"


log = logging.getLogger("tsn")
log.setLevel(logging.INFO)
log.propagate = False
_console = _Console()
_console.addFilter(lambda record: is_main_rank())
log.addHandler(_console)
