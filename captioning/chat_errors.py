"""What can go wrong between here and a chat server, in words, and whether to try again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import openai

from utils.errors import UserError

_SHORTEST_SECRET = 8  # letters


@dataclass
class Failure(Exception):
    """One request that brought no reply.

    Attributes:
        reason: in one line, with no secret in it.
        again: whether the same request may do better later.
        limited: whether the server only asks to be slower.
        wait: seconds that the server asks to wait.
        status: of HTTP, 0 where there was none.
    """

    reason: str
    again: bool = True
    limited: bool = False
    wait: float | None = None
    status: int = 0

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Caller:
    """Who asks whom: what messages about failures name."""

    url: str
    model: str
    api_key_env: str
    key: str
    timeout: float

    def one_line(self, text: object) -> str:
        """Squeezed, cut, and without the key, whatever a server puts into its answers."""
        printable = "".join(letter if letter.isprintable() else " " for letter in str(text))
        return self.without_key(" ".join(printable.split())[:300])

    def without_key(self, text: str) -> str:
        """The text with the key made unreadable; a key of a few letters is no secret, and in every text."""
        return text.replace(self.key, "[key]") if len(self.key) >= _SHORTEST_SECRET else text


def read_key(variable: str) -> str:
    """The key in an environment variable; empty where there is none.

    Raises:
        UserError: it cannot be a key.
    """
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"the environment variable {variable} holds no key: it has blanks or letters that no key has")
    return key


def failure_of(error: Exception, caller: Caller, *, answered: bool) -> Failure:
    """Say what an exception of the client means.

    Args:
        answered: whether the model has answered something before; what is forbidden or not found then is not the model.

    Raises:
        UserError: every other request would fail in the same way (a wrong key, an unknown model, no credit).
    """
    if isinstance(error, openai.APIStatusError):
        return _status(error, caller, answered)
    causes = _causes(error)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return Failure(f"{caller.url} gave no answer within {caller.timeout:g} s")
    if isinstance(error, openai.APIConnectionError):  # the client calls some of these timeouts: the root tells
        root = causes[-1]
        words = root.strerror if isinstance(root, OSError) and root.strerror else root
        return Failure(f"cannot reach {caller.url} ({caller.one_line(words)})")
    if isinstance(error, ValueError):  # of the JSON decoder
        return Failure(f"{caller.url} answers with broken JSON")
    raise error


def _status(error: openai.APIStatusError, caller: Caller, answered: bool) -> Failure:
    said, status = caller.one_line(_message(error)), error.status_code
    if answered and status in (403, 404):  # one moderated image, or one of several servers
        return Failure(f"{caller.url} says {status}: {said}", again=status == 404, status=status)
    if status in (401, 403) and not caller.key:
        raise UserError(f"{caller.url} wants a key: put it into the environment variable {caller.api_key_env} ({said})")
    if status in (401, 403):
        raise UserError(f"{caller.url} refuses the key in the environment variable {caller.api_key_env} ({said})")
    if status == 404:
        raise UserError(
            f"{caller.url} does not know the model {caller.model!r} (captioner.model), or is no such service "
            f"(captioner.base_url): {said}"
        )
    if status == 402 or (status == 429 and error.code == "insufficient_quota"):
        raise UserError(f"{caller.url}: the account has no credit left ({said})")
    again = status == 429 or status >= 500 or status in (408, 409)
    return Failure(
        f"{caller.url} says {status}: {said}",
        again=again,
        limited=status == 429,
        wait=_retry_after(error),
        status=status,
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and what it was raised from, down to what it all began with."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return causes


def _message(error: openai.APIStatusError) -> Any:
    """The server's own words where it sent some, not what the client makes of them."""
    body = error.body
    return body["message"] if isinstance(body, dict) and "message" in body else error.message


def _retry_after(error: openai.APIStatusError) -> float | None:
    try:
        return float(error.response.headers["retry-after"])
    except (KeyError, ValueError):  # a date is rare, and the doubling wait serves as well
        return None
