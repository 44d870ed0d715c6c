"""One server behind an OpenAI-compatible endpoint: a request to it, its reply, and what its failures mean."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from captioning.captioner import Reply
from captioning.options import CaptionerOptions, is_loopback
from utils.errors import UserError

_MAX_RESPONSE_BYTES = 4_000_000
_REST_SECONDS = 5.0  # in which a server that could not be reached is avoided
_SHORTEST_SECRET = 8  # letters


@dataclass
class Failure(Exception):
    """A request that got no reply.

    Attributes:
        reason: one line, without secrets.
        status: HTTP status; 0 where there was no response.
        retry_after: seconds to wait as requested by the server; None if it gives none.
    """

    reason: str
    status: int = 0
    retry_after: float | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later; a 404 may be that of one of several servers."""
        return self.status in (0, 404, 408, 409, 429) or self.status >= 500

    @property
    def concerns_one_item(self) -> bool:
        """Whether the server has refused the content of this request, as a filter does: others may well succeed."""
        return self.status in (400, 413, 415, 422, 451)


class Endpoint:
    """One server that has the model.

    Args:
        key: is sent with each request, and must not appear in any message; empty for none.

    Attributes:
        in_flight: requests that wait for its reply.
        rests_until: time of the monotonic clock until which it is avoided.
    """

    def __init__(self, url: str, options: CaptionerOptions, key: str) -> None:
        self.url, self._options, self._key = url, options, key
        self.in_flight, self.rests_until = 0, 0.0
        try:
            http_client = openai.DefaultAioHttpClient(
                event_hooks={"response": [_read_limited]},
                trust_env=not is_loopback(url),  # no proxy knows a server on this machine
                follow_redirects=False,  # which could lead to a host that the user has not allowed
            )
        except (ImportError, ValueError) as error:
            raise UserError(
                f"cannot use the proxy in the environment for {url} ({error}): set {_proxy_variable()} to an http:// "
                "proxy, or add the host to NO_PROXY"
            ) from None
        self._client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=url,
            timeout=options.timeout,
            max_retries=0,  # its own retries could not be interrupted, would not be counted, and would keep their slot
            http_client=http_client,
        )

    async def send(self, body: dict[str, Any], *, answered: bool) -> Reply:
        """Request a chat completion.

        Args:
            answered: whether the model has answered before; a 403 or 404 then concerns this request alone.

        Raises:
            Failure: there is no reply.
            UserError: every other request would fail in the same way (wrong key, unknown model, no credit).
        """
        self.in_flight += 1
        try:
            async with asyncio.timeout(self._options.timeout):
                # The bare request: building typed messages and replies would cost more than all the rest.
                data = await self._client.post("/chat/completions", cast_to=object, body=body)
        except openai.APIStatusError as error:
            raise self.status_failure(error, answered=answered) from None
        except (TimeoutError, openai.OpenAIError, ValueError) as error:
            self.rests_until = time.monotonic() + _REST_SECONDS
            raise self._connection_failure(error) from None
        finally:
            self.in_flight -= 1
        return self._parse(data)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    def one_line(self, text: object) -> str:
        """Make text from the server printable: one line of at most 300 characters, without the key."""
        printable = "".join(letter if letter.isprintable() else " " for letter in str(text))
        return self._without_key(" ".join(printable.split())[:300])

    def _without_key(self, text: str) -> str:
        """Mask the key; one of a few letters is no secret and occurs in every text."""
        return text.replace(self._key, "[key]") if len(self._key) >= _SHORTEST_SECRET else text

    def _parse(self, data: object) -> Reply:
        if isinstance(data, dict) and data.get("error") and not data.get("choices"):
            raise self._error_in_body(data["error"])
        try:
            choice = data["choices"][0]  # type: ignore[index]
            content = choice["message"]["content"] or ""
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
            usage = data.get("usage") or {}  # type: ignore[attr-defined]
            text = self._without_key(str(content).encode(errors="replace").decode())
            tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
            return Reply(text, *tokens, finished=choice.get("finish_reason") != "length")
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
            raise Failure(f"{self.url} returned no chat completion: {self.one_line(data)}") from None

    def _error_in_body(self, error: object) -> Failure:
        """Translate an error that a gateway returns with status 200; its code counts."""
        details = error if isinstance(error, dict) else {"message": error}
        code = str(details.get("code") or details.get("status") or details.get("type") or "")
        status = int(code[:3]) if code.isdecimal() else 429 if "rate" in code.lower() else 500
        return Failure(f"{self.url} returned an error: {self.one_line(details.get('message') or error)}", status)

    def _connection_failure(self, error: Exception) -> Failure:
        causes: list[BaseException] = [error]
        while causes[-1].__cause__ is not None:
            causes.append(causes[-1].__cause__)
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return Failure(f"{self.url} gave no answer within {self._options.timeout:g} s")
        if isinstance(error, openai.APIConnectionError):  # some of these are called timeouts: the root cause is exact
            root = causes[-1]
            words = root.strerror if isinstance(root, OSError) and root.strerror else root
            return Failure(f"cannot reach {self.url} ({self.one_line(words)})")
        if isinstance(error, ValueError):  # from the JSON decoder
            return Failure(f"{self.url} returned broken JSON")
        raise error

    def status_failure(self, error: openai.APIStatusError, *, answered: bool) -> Failure:
        """Translate a response with an error status; see `send` for the argument and the errors."""
        body, status, options = error.body, error.status_code, self._options
        # The server's own message where there is one; the client wraps it in more words.
        message = self.one_line(body["message"] if isinstance(body, dict) and "message" in body else error.message)
        if 300 <= status < 400:
            place = self.one_line(error.response.headers.get("location", "another address"))
            raise UserError(f"{self.url} redirects to {place}, which is not followed: correct captioner.base_url")
        if not (answered and status in (403, 404)):  # which may be one moderated image, or one of several servers
            if status in (401, 403):
                problem = "refuses the key in" if self._key else "wants a key: set"
                raise UserError(f"{self.url} {problem} the environment variable {options.api_key_env} ({message})")
            if status == 404:
                raise UserError(
                    f"{self.url} does not have the model {options.model!r} (captioner.model), or is no such endpoint "
                    f"(captioner.base_url): {message}"
                )
            if status == 402 or (status == 429 and error.code == "insufficient_quota"):
                raise UserError(f"{self.url}: the account has no credit left ({message})")
        retry_after = _retry_after(error.response.headers.get("retry-after"))
        return Failure(f"{self.url} returned {status}: {message}", status, retry_after)


def read_key(variable: str) -> str:
    """Return the key in an environment variable; empty where it is not set.

    Raises:
        UserError: the value cannot be a key.
    """
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"the environment variable {variable} holds no key: it has blanks or non-ASCII characters")
    return key


def _proxy_variable() -> str:
    """Return the name of the environment variable that names the proxy."""
    names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
    return next((name for name in (*names, *map(str.lower, names)) if os.environ.get(name)), "HTTPS_PROXY")


def _retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or an HTTP date."""
    if header:
        with suppress(ValueError):
            return float(header)
        with suppress(ValueError, OverflowError):
            return parsedate_to_datetime(header).timestamp() - time.time()
    return None


async def _read_limited(response: httpx2.Response) -> None:
    """Read a response body, up to a size: an endless one would fill the memory before the timeout."""
    stream, chunks, size = response.stream, list[bytes](), 0
    assert isinstance(stream, httpx2.AsyncByteStream)
    async for chunk in stream:
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_RESPONSE_BYTES:
            raise httpx2.ReadError(f"a response of more than {_MAX_RESPONSE_BYTES} bytes")
    await stream.aclose()
    response.stream = httpx2.ByteStream(b"".join(chunks))
