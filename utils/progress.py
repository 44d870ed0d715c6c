"""Progress, shown as a bar on a terminal and as log lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from utils.logs import log

Item = TypeVar("Item")
_LINE_SECONDS = 15.0  # between two lines if there is no terminal


class Progress:
    """A bar with rate and remaining time on a terminal; otherwise a line every 15 seconds on stderr.

    Args:
        done: items finished earlier; they count in the total, but not in the rate.
    """

    def __init__(self, total: int, *, desc: str, unit: str, done: int = 0) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, desc=desc, unit=unit, initial=done, disable=not self.terminal, leave=False)
        self.initial = self.done = done
        self.start = self.last_line = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more items as done; `note` is shown with the bar ("loss 3.21")."""
        self.done += count
        if note and self.terminal:
            self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(count)
        now = time.monotonic()
        if self.terminal or now - self.last_line < _LINE_SECONDS:
            return
        self.last_line = now
        rate = (self.done - self.initial) / max(now - self.start, 1e-9)
        remaining = f"{(self.total - self.done) / rate:.0f} s left" if rate else "remaining time unknown"
        line = f"{self.desc}: {self.done}/{self.total} {self.unit}s, {rate:.1f}/s, {remaining}"
        log.warning(f"{line}, {note}" if note else line)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def progress(items: Iterable[Item], *, total: int, desc: str, unit: str) -> Iterator[Item]:
    """Iterate over `items` with a `Progress`."""
    with Progress(total, desc=desc, unit=unit) as bar:
        for item in items:
            yield item
            bar.advance()
