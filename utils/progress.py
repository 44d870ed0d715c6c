"""Progress that a person can watch and a program can read."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_SECONDS = 15.0  # between two lines where there is no terminal


class Progress:
    """A bar with rate and remaining time on a terminal; elsewhere a line every few seconds.

    Args:
        done: how much was done before; it counts for the total, and not for the rate.
    """

    def __init__(self, total: int, *, desc: str, unit: str, done: int = 0) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, desc=desc, unit=unit, initial=done, disable=not self.terminal, leave=False)
        self.before = self.done = done
        self.start = time.monotonic()
        self.said = self.start

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more as done; `note` stands beside the bar ("loss 3.21")."""
        self.done += count
        if note and self.terminal:
            self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(count)
        now = time.monotonic()
        if not self.terminal and now - self.said >= _SECONDS:
            self.said = now
            rate = (self.done - self.before) / max(now - self.start, 1e-9)
            left = f"{(self.total - self.done) / rate:.0f} s left" if rate else "no end in sight yet"
            tail = f", {note}" if note else ""
            print(
                f"{self.desc}: {self.done}/{self.total} {self.unit}s, {rate:.1f}/s, {left}{tail}",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Take the bar away."""
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
