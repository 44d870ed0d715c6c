"""A chat model behind OpenAI-compatible endpoints: one request with its retries, until there is a fit answer."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from aiolimiter import AsyncLimiter

from captioning.captioner import MAX_SAID, NO_CONTENT, Answer, FailureBudget, Reply
from captioning.openai.endpoint import Endpoint, Failure, read_key
from captioning.options import CaptionerOptions
from captioning.style.prompts import SCHEMA, Form
from captioning.style.replies import NoJsonError, check, read_reply
from captioning.style.template import parse
from utils.errors import UserError
from utils.interrupts import GracefulShutdown
from utils.logs import log

Content = str | list[dict[str, Any]]

_UNFIT_RETRIES = 2  # after a reply that is unfit
_RETRY_TEMPERATURE = 0.7  # at temperature 0 the reply would be the same
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds
_LONGEST_RETRY_AFTER = 300.0
_LONGEST_RATE_LIMIT = 600.0  # seconds that one request waits in total for a server that limits the rate
_POLL_SECONDS = 0.2  # between two checks for a stop during a wait
_CONNECT_RETRIES = 2  # while no server was reached yet
_SCHEMA_FAILURES = 2  # server errors in response to a schema before the request is sent without one
_UNKNOWN_PARAMETER = re.compile("(un|not )supported|unknown|unrecognized|not permitted|max_completion_tokens", re.I)
_RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "pedestrian", "strict": True, "schema": SCHEMA}}


class StoppedError(Exception):
    """No more requests may be sent."""


class StopSignal:
    """Whether requests may still be sent: not after Ctrl-C or SIGTERM, nor after an `error` that concerns all."""

    def __init__(self, shutdown: GracefulShutdown) -> None:
        self._shutdown = shutdown
        self.error: UserError | None = None

    @property
    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return bool(self.error or self._shutdown.requested)

    def set(self, error: UserError | None) -> None:
        """Stop because of `error`, unless there was one before; None is ignored."""
        self.error = self.error or error

    def check(self) -> None:
        """Raise `StoppedError` if stopped."""
        if self.is_set:
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


def backoff(failures: int, retry_after: float | None = None) -> float:
    """Return the seconds to wait: doubled with each failure, with jitter, and at least what the server requested.

    The jitter (half to all of the time) keeps requests that failed together from being repeated together.
    """
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)
    return max(wait, min(retry_after or 0.0, _LONGEST_RETRY_AFTER))


def least_busy(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Return the endpoint with the fewest requests in flight, a reachable one if there is any."""
    now = time.monotonic()
    return min(endpoints, key=lambda endpoint: (endpoint.rests_until > now, endpoint.in_flight))


@dataclass
class _Attempts:
    """The attempts at one answer so far, and how its next request is sent."""

    form: Form
    omitted: set[str]  # parameters that the server does not support
    failures: int = 0
    rate_limits: int = 0
    rate_limited_for: float = 0.0  # seconds
    unfit: int = 0  # replies that could not be used


class ChatClient:
    """A model and what is known of its server: whether it answers, and which parameters it supports.

    Must be used within one event loop, and closed there.
    """

    def __init__(self, options: CaptionerOptions, stop: StopSignal) -> None:
        self._answered, self._first_contact = False, asyncio.Lock()
        self._options, self._stop = options, stop
        self._form: Form = "text" if options.format == "text" else "json"
        self._json_works = False
        self._omitted: set[str] = set()
        self._slots = asyncio.Semaphore(options.concurrency)
        rate = options.requests_per_minute
        self._limiter = AsyncLimiter(1, 60.0 / rate) if rate else None  # evenly spaced, no bursts
        self._budget = FailureBudget(options.stop_after)
        key = read_key(options.api_key_env)
        self._endpoints = [Endpoint(url, options, key) for url in options.base_urls]

    async def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints:
            await endpoint.close()

    async def request(self, content: Callable[[Form], Content], *, query: bool = False) -> Answer:
        """Send requests until there is a fit answer, or a reason to give up.

        Until the model has answered, other requests wait: a wrong key, model or schema costs one request.

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
                return await self._request(content, query)
        return await self._request(content, query)

    async def _request(self, content: Callable[[Form], Content], query: bool) -> Answer:
        start, attempts = time.monotonic(), _Attempts(self._form, set(self._omitted))
        prompt_tokens = reply_tokens = 0
        problem = said = ""
        refused = False
        while attempts.unfit <= _UNFIT_RETRIES:
            if self._limiter:
                await self._stop.wait_for(self._limiter.acquire())
            try:
                reply = await self._send(content(attempts.form), attempts)
            except Failure as failure:
                problem, said = failure.reason, ""
                # Before the model has answered once, such a status may as well be due to the settings.
                refused = self._answered and failure.concerns_one_item
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
            said = reply.text[:MAX_SAID]
            attempts.unfit, attempts.form = attempts.unfit + 1, self._form
        unfit = refused or attempts.unfit > _UNFIT_RETRIES
        self._budget.record_failure(f"{problem} ({said!r})" if said else problem, unfit=unfit)
        self._stop.set(self._budget.error)
        return Answer(None, problem, said, prompt_tokens, reply_tokens, time.monotonic() - start)

    async def _prepare_retry(self, failure: Failure, attempts: _Attempts) -> bool:
        """Change the request or wait, as the failure requires; return False if it is pointless to try again."""
        if self._simplify(failure, attempts):
            return True
        wait = backoff(attempts.failures + attempts.rate_limits + 1, failure.retry_after)
        if failure.status == 429:
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
        """Leave out a parameter or the schema if the server does not seem to support it; return whether one was."""
        refused = failure.status in (400, 422)
        named = {name for name in ("max_tokens", "temperature") if name in failure.reason} - attempts.omitted
        if refused and named and _UNKNOWN_PARAMETER.search(failure.reason):
            attempts.omitted |= named
            return True
        # Some servers fail where they should refuse.
        refused |= failure.status >= 500 and attempts.failures + 1 >= _SCHEMA_FAILURES
        if refused and attempts.form == "json" and self._may_fall_back:
            attempts.form = "text"
            return True
        return False

    async def _send(self, content: Content, attempts: _Attempts) -> Reply:
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
        async with self._slots:
            self._stop.check()
            return await least_busy(self._endpoints).send(body, answered=self._answered)

    def _read(self, reply: Reply, form: Form, query: bool) -> tuple[str | None, str]:
        """Return the text of a reply, or None and the problem with it."""
        if not reply.finished:
            return None, f"cut short at captioner.max_tokens={self._options.max_tokens}"
        try:
            text, problem = read_reply(reply.text, form)
        except NoJsonError as error:
            if flaws := check(reply.text):
                return None, ", ".join(flaws)
            # Valid prose instead of JSON: it may be in the template's style; if not, prose is requested from now on.
            if parse(reply.text):
                return read_reply(reply.text, "text")
            if self._may_fall_back:
                self._fall_back_to_text("answers with prose")
            return None, str(error)
        nothing = query and form == "json" and problem == "empty" and reply.text.strip()
        return text, NO_CONTENT if nothing else problem

    @property
    def _may_fall_back(self) -> bool:
        """Whether the filled template may be requested instead of JSON, which has not worked so far."""
        return self._options.format == "auto" and not self._json_works

    def _remember(self, attempts: _Attempts) -> None:
        """Send the next requests in the way that has worked."""
        self._omitted |= attempts.omitted
        if attempts.form == "json":
            self._json_works = True
        elif not self._json_works:
            self._fall_back_to_text("refuses a JSON schema")

    def _fall_back_to_text(self, why: str) -> None:
        if self._form == "json":
            log.warning(f"the server {why}: requesting the filled template instead (captioner.format=text)")
        self._form = "text"
