"""How to treat a server well: when to send, where to, how long to wait after a failure, and when to give up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from utils.errors import UserError
from utils.interrupts import GracefulShutdown

Client = TypeVar("Client")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds
_LONGEST_RETRY_AFTER = 300.0
UNFIT_FACTOR = 10  # times as many unfit answers as failures of the server
_NAP = 0.2  # seconds between two looks at whether to go on sleeping
_REST = 5.0  # seconds that an endpoint which could not be reached is passed over


def backoff(failures: int, retry_after: float | None = None) -> float:
    """Seconds to wait after this many failures: twice as long each time, at random, and never less than was asked for.

    The jitter (half to all of the time) keeps requests that failed together from coming back together.
    """
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
    return max(wait, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))


class HaltedError(Exception):
    """Nothing more is to be asked: whoever was waiting to ask gives up."""


class Halt:
    """Says whether questions may still be asked: not after Ctrl-C, and not when it is known to be pointless."""

    def __init__(self, shutdown: GracefulShutdown) -> None:
        self._shutdown, self._called = shutdown, False

    def call(self) -> None:
        """Let nobody ask any more."""
        self._called = True

    @property
    def interrupted(self) -> bool:
        """Whether it was Ctrl-C."""
        return self._shutdown.requested is not None

    def check(self) -> None:
        """Go on, or raise `HaltedError`."""
        if self._called or self.interrupted:
            raise HaltedError

    async def sleep(self, seconds: float) -> None:
        """Sleep, and wake up early to raise `HaltedError`: a server may want to be left alone for minutes."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            await asyncio.sleep(min(left, _NAP))
        self.check()


class Pace:
    """Lets requests go one after the other, so many a minute."""

    def __init__(self, per_minute: float | None, halt: Halt) -> None:
        self._gap, self._halt = 60.0 / per_minute if per_minute else 0.0, halt
        self._next = 0.0

    async def turn(self) -> None:
        """Return when it is one's turn."""
        if self._gap:
            now = time.monotonic()
            self._next = max(now, self._next + self._gap)
            await self._halt.sleep(self._next - now)


@dataclass
class Endpoint(Generic[Client]):
    """One server that has the model."""

    url: str
    client: Client
    in_flight: int = 0
    rests_until: float = 0.0

    def could_not_be_reached(self) -> None:
        """Pass it over for a while where there are others."""
        self.rests_until = time.monotonic() + _REST


def least_busy(endpoints: Sequence[Endpoint[Client]]) -> Endpoint[Client]:
    """The endpoint with the fewest requests in flight, of those that do not rest if there is one."""
    now = time.monotonic()
    return min(endpoints, key=lambda endpoint: (endpoint.rests_until > now, endpoint.in_flight))


class Patience:
    """Counts failures in a row, and ends everything when there are too many.

    A server that answers something unfit works: of such answers it takes ten times as many, so that images which are
    always refused can be asked again without an end in front of the others.

    Args:
        limit: failures in a row that are too many.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._failures, self._unfit = limit, 0, 0

    def success(self) -> None:
        """Start counting anew."""
        self._failures = self._unfit = 0

    def failure(self, reason: str, *, unfit: bool = False) -> None:
        """Count one, of a server that failed or of an answer that was unfit.

        Raises:
            UserError: it was one too many; the message says what the last one was.
        """
        self._failures, self._unfit = self._failures + (not unfit), self._unfit + unfit
        if self._failures >= self._limit or self._unfit >= UNFIT_FACTOR * self._limit:
            count = self._failures + self._unfit
            raise UserError(f"stopped after {count} failures in a row, the last one: {reason}")
