"""What was asked and what it cost."""

from __future__ import annotations

import time
from collections.abc import Sequence

from captioning.captioner import Answer


class Tally:
    """Counts answers, failures, tokens and their price while they come.

    Args:
        price: of a million tokens read and of a million written, in any currency; None where there is none.
    """

    def __init__(self, price: Sequence[float] | None = None) -> None:
        self.price = price
        self.fit = self.failed = self.read = self.written = 0
        self._start = time.monotonic()

    def count(self, answer: Answer) -> None:
        """Take note of an answer."""
        self.fit += answer.settled
        self.failed += not answer.settled
        self.read += answer.prompt_tokens
        self.written += answer.reply_tokens

    def note(self) -> str:
        """What stands beside the progress bar: "3 failed, 120,000 tokens, cost 0.31"; empty while there is nothing."""
        parts = [f"{self.failed} failed"] if self.failed else []
        return ", ".join(parts + self._spent())

    def summary(self) -> str:
        """One line at the end."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        asked = self.fit + self.failed
        return ", ".join([f"{asked} asked in {seconds:.1f} s ({asked / seconds:.1f}/s)", *self._spent()])

    def _spent(self) -> list[str]:
        if not self.read + self.written:
            return []
        parts = [f"{self.read + self.written:,} tokens"]
        return parts + ([f"cost {cost(self.read, self.written, self.price):.2f}"] if self.price else [])


def cost(read: float, written: float, price: Sequence[float]) -> float:
    """Price of tokens, in the currency of `price` (a million read, a million written)."""
    return (read * price[0] + written * price[1]) / 1e6
