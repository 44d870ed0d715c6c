"""A chat model behind OpenAI-compatible endpoints: one request with its retries, until there is a fit answer."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from aiolimiter import AsyncLimiter

from captioning.captioner import NO_CONTENT, Answer
from captioning.openai.errors import Failure, FailureBudget, RequestContext, StopSignal, backoff, failure_of, read_key
from captioning.options import LanguageModelOptions
from captioning.style.prompts import SCHEMA, Form
from captioning.style.replies import NoJsonError, check, read_reply
from captioning.style.template import parse
from utils.errors import UserError
from utils.logs import log

Content = str | list[dict[str, Any]]

_UNFIT_RETRIES = 2  # after a reply that is unfit
_RETRY_TEMPERATURE = 0.7  # at temperature 0 the reply would be the same
_LONGEST_RATE_LIMIT = 600.0  # seconds that one request waits in total for a server that limits the rate
_CONNECT_RETRIES = 2  # while no server was reached yet
_SCHEMA_FAILURES = 2  # server errors in response to a schema before the request is sent without one
_UNKNOWN_PARAMETER = re.compile("(un|not )supported|unknown|unrecognized|not permitted|max_completion_tokens", re.I)
_MAX_REPLY_BYTES = 4_000_000
_MAX_SAID = 300  # characters of an unfit reply that are kept
_REST_SECONDS = 5.0  # in which an endpoint that could not be reached is avoided
_RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "pedestrian", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class _Reply:
    """What a model returned; `cut` where it reached the limit of tokens."""

    text: str
    prompt_tokens: int
    reply_tokens: int
    cut: bool


@dataclass
class Endpoint:
    """One server that has the model."""

    context: RequestContext
    client: openai.AsyncOpenAI
    in_flight: int = 0
    rests_until: float = 0.0  # seconds of the monotonic clock


def least_busy(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Return the endpoint with the fewest requests in flight, a reachable one if there is any."""
    now = time.monotonic()
    return min(endpoints, key=lambda endpoint: (endpoint.rests_until > now, endpoint.in_flight))


@dataclass
class _Attempts:
    """The attempts at one answer so far, and how its next request is sent."""

    form: Form
    omitted: set[str]  # parameters that the server does not know
    failures: int = 0
    rate_limits: int = 0
    rate_limited_for: float = 0.0  # seconds
    unfit: int = 0  # replies that could not be used


class ChatClient:
    """A model and what is known of its server: whether it answers, and which parameters it supports.

    Must be used within one event loop, and closed there.
    """

    def __init__(self, options: LanguageModelOptions, stop: StopSignal) -> None:
        self._answered, self._first_contact = False, asyncio.Lock()
        self._options, self._stop = options, stop
        self._form: Form = "text" if options.form == "text" else "json"
        self._json_works = False
        self._omitted: set[str] = set()
        self._slots = asyncio.Semaphore(options.concurrency)
        rate = options.requests_per_minute
        self._limiter = AsyncLimiter(1, 60.0 / rate) if rate else None  # evenly spaced, no bursts
        self._budget = FailureBudget(options.stop_after, stop)
        self._key = read_key(options.api_key_env)
        self._endpoints = [self._endpoint(url) for url in options.base_urls]

    def _endpoint(self, url: str) -> Endpoint:
        context = RequestContext(url, self._options, self._key)
        transport = openai.DefaultAioHttpClient(event_hooks={"response": [_read_limited]})
        # The client's own retries could not be interrupted, would hide failures from the budget, and keep their slot.
        settings: dict[str, Any] = {"max_retries": 0, "timeout": self._options.timeout, "http_client": transport}
        return Endpoint(context, openai.AsyncOpenAI(api_key=self._key or "none", base_url=url, **settings))

    async def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints:
            await endpoint.client.close()

    async def ask(self, content: Callable[[Form], Content], *, query: bool = False) -> Answer:
        """Send requests until there is a fit answer, or a reason to give up.

        Until the model has answered, others wait: a wrong key, model or schema costs one request.

        Args:
            content: builds the message that requests a reply in the given form.
            query: whether it is a query, for which a reply without any content is an answer.

        Raises:
            UserError: every other request would fail as well.
            StoppedError: the run was stopped before a request for this answer was sent.
        """
        async with self._first_contact:
            self._stop.check()
            if not self._answered:
                return await self._ask(content, query)
        return await self._ask(content, query)

    async def _ask(self, content: Callable[[Form], Content], query: bool) -> Answer:
        start, attempts = time.monotonic(), _Attempts(self._form, set(self._omitted))
        prompt_tokens = reply_tokens = 0
        problem = said = ""
        while attempts.unfit <= _UNFIT_RETRIES:
            if self._limiter:
                await self._stop.wait_for(self._limiter.acquire())
            try:
                reply = await self._send(content(attempts.form), attempts)
            except Failure as failure:
                problem, said = failure.reason, ""
                if not await self._prepare_retry(failure, attempts):
                    break
                continue
            self._answered = True
            prompt_tokens, reply_tokens = prompt_tokens + reply.prompt_tokens, reply_tokens + reply.reply_tokens
            text, problem = self._read(reply, attempts.form, query)
            if text is not None or problem == NO_CONTENT:
                self._remember(attempts)
                self._budget.record_success()
                return Answer(text, problem, "", prompt_tokens, reply_tokens, time.monotonic() - start)
            said = reply.text[:_MAX_SAID]
            attempts.unfit, attempts.form = attempts.unfit + 1, self._form
        unfit = attempts.unfit > _UNFIT_RETRIES
        self._budget.record_failure(f"{problem} ({said!r})" if said else problem, unfit=unfit)
        return Answer(None, problem, said, prompt_tokens, reply_tokens, time.monotonic() - start)

    async def _prepare_retry(self, failure: Failure, attempts: _Attempts) -> bool:
        """Change the request or wait, as the failure requires; return False if it is pointless to try again."""
        if self._simplify(failure, attempts):
            return True
        wait = backoff(attempts.failures + attempts.rate_limits + 1, failure.retry_after)
        if failure.rate_limited:
            attempts.rate_limits += 1
            attempts.rate_limited_for += wait
        else:
            attempts.failures += 1
        retries, rate_limited = self._options.retries, attempts.rate_limited_for > _LONGEST_RATE_LIMIT
        if not self._answered:
            if not failure.status and attempts.failures > min(_CONNECT_RETRIES, retries):
                raise UserError(f"{failure.reason}: is the server up, and is captioner.base_url right?")
            if rate_limited:
                minutes = _LONGEST_RATE_LIMIT / 60
                raise UserError(f"{failure.reason}: it has returned nothing else for {minutes:.0f} minutes")
        if rate_limited or not failure.retryable or attempts.failures > retries:
            return False
        await self._stop.wait_for(asyncio.sleep(wait))
        return True

    def _simplify(self, failure: Failure, attempts: _Attempts) -> bool:
        """Leave out what the server does not seem to support, a parameter or the schema; return whether it was any."""
        refused = failure.status in (400, 422)
        named = {name for name in ("max_tokens", "temperature") if name in failure.reason} - attempts.omitted
        if refused and named and _UNKNOWN_PARAMETER.search(failure.reason):
            attempts.omitted |= named
            return True
        # Some servers fail where they should refuse.
        refused |= failure.status >= 500 and attempts.failures + 1 >= _SCHEMA_FAILURES
        if refused and attempts.form == "json" and self._options.form == "auto" and not self._json_works:
            attempts.form = "text"
            return True
        return False

    async def _send(self, content: Content, attempts: _Attempts) -> _Reply:
        async with self._slots:
            self._stop.check()
            endpoint = least_busy(self._endpoints)
            endpoint.in_flight += 1
            try:
                async with asyncio.timeout(self._options.timeout):
                    # The bare request: building typed messages and replies would cost more than all the rest.
                    data = await endpoint.client.post(
                        "/chat/completions", cast_to=object, body=self._body(content, attempts)
                    )
            except (TimeoutError, openai.OpenAIError, ValueError) as error:
                failure = failure_of(error, endpoint.context, answered=self._answered)
                if not failure.status:
                    endpoint.rests_until = time.monotonic() + _REST_SECONDS
                raise failure from None
            finally:
                endpoint.in_flight -= 1
        return _parse_completion(data, endpoint.context)

    def _body(self, content: Content, attempts: _Attempts) -> dict[str, Any]:
        tokens = "max_completion_tokens" if "max_tokens" in attempts.omitted else "max_tokens"
        body: dict[str, Any] = {
            "model": self._options.model,
            "messages": [{"role": "user", "content": content}],
            tokens: self._options.max_tokens,
        }
        if "temperature" not in attempts.omitted:
            body["temperature"] = _RETRY_TEMPERATURE if attempts.unfit else 0.0
        if attempts.form == "json":
            body["response_format"] = _RESPONSE_FORMAT
        return body

    def _read(self, reply: _Reply, form: Form, query: bool) -> tuple[str | None, str]:
        """Return the text of a reply, or None and the problem with it."""
        if reply.cut:
            return None, f"cut short at captioner.max_tokens={self._options.max_tokens}"
        try:
            text, problem = read_reply(reply.text, form)
        except NoJsonError as error:
            if flaws := check(reply.text):
                return None, ", ".join(flaws)
            # Sound prose instead of JSON: it may be in the template's style; if not, prose is requested from now on.
            if parse(reply.text):
                return read_reply(reply.text, "text")
            if self._options.form == "auto" and not self._json_works:
                self._fall_back_to_text("answers with prose")
            return None, str(error)
        nothing = query and form == "json" and problem == "empty" and reply.text.strip()
        return text, NO_CONTENT if nothing else problem

    def _remember(self, attempts: _Attempts) -> None:
        """Send the next requests in the way that has worked."""
        self._omitted |= attempts.omitted
        if attempts.form == "json":
            self._json_works = True
        elif self._form == "json" and not self._json_works:
            self._fall_back_to_text("refuses a JSON schema")

    def _fall_back_to_text(self, why: str) -> None:
        if self._form == "json":
            log.warning(f"the server {why}: requesting the filled template instead (captioner.format=text)")
        self._form = "text"


def _parse_completion(data: object, context: RequestContext) -> _Reply:
    """Return the reply in a chat completion; raise `Failure` if it is none."""
    try:
        choice = data["choices"][0]  # type: ignore[index]
        content = choice["message"]["content"] or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        usage = data.get("usage") or {}  # type: ignore[attr-defined]
        text = context.without_key(str(content).encode(errors="replace").decode())
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        return _Reply(text, *tokens, cut=choice.get("finish_reason") == "length")
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        raise Failure(f"{context.url} returned no chat completion: {context.one_line(data)}") from None


async def _read_limited(response: httpx2.Response) -> None:
    """Read a response body, up to a size: an endless one would fill the memory before the timeout."""
    stream, chunks, size = response.stream, list[bytes](), 0
    assert isinstance(stream, httpx2.AsyncByteStream)
    async for chunk in stream:
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_REPLY_BYTES:
            raise httpx2.ReadError(f"a response of more than {_MAX_REPLY_BYTES} bytes")
    await stream.aclose()
    response.stream = httpx2.ByteStream(b"".join(chunks))
