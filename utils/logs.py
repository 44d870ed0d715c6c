"""Messages of the program: results and progress on stdout, warnings on stderr, from the main process alone."""

from __future__ import annotations

import logging
import os
import sys


class _Console(logging.Handler):
    """Warnings go to stderr, the rest to stdout, looked up at each message because callers may redirect them."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=stream, flush=True)


def is_main_rank() -> bool:
    """Whether this process is the one of its group that writes messages, as the launcher numbered them (RANK)."""
    return os.environ.get("RANK", "0") == "0"


log = logging.getLogger("tsn")
log.setLevel(logging.INFO)
log.propagate = False
_console = _Console()
_console.addFilter(lambda record: is_main_rank())
log.addHandler(_console)
