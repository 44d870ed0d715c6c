"""Failures of a server: what they mean, how long to wait after one, and when they stop the run."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from captioning.options import LanguageModelOptions
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

_UNFIT_FACTOR = 10  # times as many unfit answers as server failures stop the run
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds
_LONGEST_RETRY_AFTER = 300.0
_POLL_SECONDS = 0.2  # between two checks for a stop during a wait
_SHORTEST_SECRET = 8  # letters


@dataclass
class Failure(Exception):
    """A request that brought no reply.

    Attributes:
        reason: one line, without secrets.
        retryable: whether the same request may succeed later.
        rate_limited: whether the server only asks for fewer requests.
        retry_after: seconds that the server asks to wait; None where it names none.
        status: HTTP status; 0 where there was no response.
    """

    reason: str
    retryable: bool = True
    rate_limited: bool = False
    retry_after: float | None = None
    status: int = 0


@dataclass(frozen=True)
class RequestContext:
    """What messages about a failed request name, and the key that they must not contain."""

    url: str
    options: LanguageModelOptions
    key: str

    def one_line(self, text: object) -> str:
        """Make text from a server printable: one line of at most 300 characters, without the key."""
        printable = "".join(letter if letter.isprintable() else " " for letter in str(text))
        return self.without_key(" ".join(printable.split())[:300])

    def without_key(self, text: str) -> str:
        """Mask the key; one of a few letters is no secret and occurs in every text."""
        return text.replace(self.key, "[key]") if len(self.key) >= _SHORTEST_SECRET else text


class StoppedError(Exception):
    """No more requests may be sent."""


class StopSignal:
    """Whether requests may still be sent: not after Ctrl-C or SIGTERM, nor after an `error` that concerns all."""

    def __init__(self, shutdown: GracefulShutdown) -> None:
        self._shutdown = shutdown
        self.error: UserError | None = None

    def set(self, error: UserError) -> None:
        """Stop because of `error`."""
        self.error = self.error or error

    def check(self) -> None:
        """Raise `StoppedError` if stopped."""
        if self.error or self._shutdown.requested:
            raise StoppedError

    async def wait_for(self, waiting: Coroutine[Any, Any, object]) -> None:
        """Await `waiting`, which may take minutes; if stopped meanwhile, cancel it and raise `StoppedError`."""
        task = asyncio.create_task(waiting)
        try:
            while not task.done():
                self.check()
                await asyncio.wait([task], timeout=_POLL_SECONDS)
        finally:
            task.cancel()
        self.check()


class FailureBudget:
    """Stops the run after too many failures in a row.

    A server that returns unfit answers works: of those, ten times as many are accepted, so that images that a model
    always refuses do not keep the others from being captioned.

    Args:
        limit: failures in a row that are too many.
        stop: is set then, to an error that contains the reason of the last failure.
    """

    def __init__(self, limit: int, stop: StopSignal) -> None:
        self._limit, self._stop = limit, stop
        self._failures = self._unfit = 0

    def record_success(self) -> None:
        """Start counting again."""
        self._failures = self._unfit = 0

    def record_failure(self, reason: str, *, unfit: bool = False) -> None:
        """Count a failure of the server, or an unfit answer."""
        self._failures, self._unfit = self._failures + (not unfit), self._unfit + unfit
        if self._failures >= self._limit or self._unfit >= _UNFIT_FACTOR * self._limit:
            count = self._failures + self._unfit
            self._stop.set(UserError(f"stopped after {count} failures in a row, the last one: {reason}"))


def backoff(failures: int, retry_after: float | None = None) -> float:
    """Return the seconds to wait: doubled with each failure, with jitter, and at least what the server asked for.

    The jitter (half to all of the time) keeps requests that failed together from being repeated together.
    """
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
    return max(wait, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))


def read_key(variable: str) -> str:
    """Return the key in an environment variable; empty where it is not set.

    Raises:
        UserError: the value cannot be a key.
    """
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"the environment variable {variable} holds no key: it has blanks or non-ASCII characters")
    return key


def failure_of(error: Exception, context: RequestContext, *, answered: bool) -> Failure:
    """Translate an exception of the client.

    Args:
        answered: whether the model has answered before; a 403 or 404 then concerns this request alone.

    Raises:
        UserError: every other request would fail in the same way (wrong key, unknown model, no credit).
    """
    if isinstance(error, openai.APIStatusError):
        return _status_failure(error, context, answered)
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return Failure(f"{context.url} gave no answer within {context.options.timeout:g} s")
    if isinstance(error, openai.APIConnectionError):  # the client calls some of these timeouts: the root cause is exact
        root = causes[-1]
        words = root.strerror if isinstance(root, OSError) and root.strerror else root
        return Failure(f"cannot reach {context.url} ({context.one_line(words)})")
    if isinstance(error, ValueError):  # from the JSON decoder
        return Failure(f"{context.url} returned broken JSON")
    raise error


def _status_failure(error: openai.APIStatusError, context: RequestContext, answered: bool) -> Failure:
    body, status = error.body, error.status_code
    # The server's own message where there is one; the client wraps it in more words.
    message = context.one_line(body["message"] if isinstance(body, dict) and "message" in body else error.message)
    reason = f"{context.url} returned {status}: {message}"
    if answered and status in (403, 404):  # one moderated image, or one of several servers
        return Failure(reason, retryable=status == 404, status=status)
    if status in (401, 403) and not context.key:
        raise UserError(
            f"{context.url} wants a key: set the environment variable {context.options.api_key_env} ({message})"
        )
    if status in (401, 403):
        raise UserError(
            f"{context.url} refuses the key in the environment variable {context.options.api_key_env} ({message})"
        )
    if status == 404:
        raise UserError(
            f"{context.url} does not have the model {context.options.model!r} (captioner.model), or is no such service "
            f"(captioner.base_url): {message}"
        )
    if status == 402 or (status == 429 and error.code == "insufficient_quota"):
        raise UserError(f"{context.url}: the account has no credit left ({message})")
    retryable = status in (408, 409, 429) or status >= 500
    return Failure(reason, retryable, status == 429, _retry_after(error.response.headers.get("retry-after")), status)


def _retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or an HTTP date."""
    if header:
        with suppress(ValueError):
            return float(header)
        with suppress(ValueError, OverflowError):
            return parsedate_to_datetime(header).timestamp() - time.time()
    return None
