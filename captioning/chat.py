"""One question to a model behind an OpenAI-compatible endpoint, through all that may go wrong on the way."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from captioning.captioner import NOTHING, Answer
from captioning.chat_errors import Caller, Failure, failure_of, read_key
from captioning.manners import Endpoint, Halt, Pace, Patience, backoff, least_busy
from captioning.service import Service
from captioning.style import SCHEMA, Form, NoJsonError, check, parse, read_reply
from utils.errors import UserError

Content = str | list[dict[str, Any]]

_SECOND_CHANCES = 2  # times that a model is asked anew after a reply that was unfit
_WARMER = 0.7  # temperature then: at 0 it would say the same
_LONGEST_LIMIT = 600.0  # seconds that one question waits in all for a server which asks to be slower
_FIRST_RETRIES = 2  # of the very first question, when nobody is there
_SCHEMA_RETRIES = 2  # times that a server may fail at a schema before it is asked without one
_UNKNOWN_PARAMETER = re.compile(
    r"unsupported|not supported|unknown|unrecognized|not permitted|max_completion_tokens", re.I
)
_MOST_BYTES = 4_000_000  # of a reply
_RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "pedestrian", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class Reply:
    """What a model said."""

    text: str
    prompt_tokens: int
    reply_tokens: int
    cut: bool


class Chat:
    """A model, and what was learnt of its server: whether it answers, and which parameters it knows.

    Must be made and used inside one event loop, and closed there.
    """

    def __init__(self, service: Service, halt: Halt) -> None:
        self.service, self._halt = service, halt
        self.form: Form = "text" if service.form == "text" else "json"
        self.answered = False  # by anybody, anything
        self._structured = False  # whether JSON has ever come
        self._refused: set[str] = set()
        self._slots = asyncio.Semaphore(service.concurrency)
        self._pace, self._patience = Pace(service.requests_per_minute, halt), Patience(service.stop_after)
        self._key = read_key(service.api_key_env)
        self._endpoints = [Endpoint(url, self._client(url)) for url in service.base_urls]

    def _client(self, url: str) -> openai.AsyncOpenAI:
        transport = openai.DefaultAioHttpClient(event_hooks={"response": [_bound_size]})
        return openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=url,
            max_retries=0,
            timeout=self.service.timeout,
            http_client=transport,
        )

    async def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints:
            await endpoint.client.close()

    async def ask(self, content: Callable[[Form], Content], *, query: bool = False) -> Answer:
        """Ask until there is a fit answer, or reason to stop asking.

        Args:
            content: the message, in either form of asking.
            query: whether it is a query, which may say nothing that the template holds.

        Raises:
            UserError: it is pointless to ask anything more.
            HaltedError: somebody else found so, or Ctrl-C came, and this is not on its way.
        """
        start, limited = time.monotonic(), 0.0
        failures = limits = unfit = read = written = 0
        problem = said = ""
        form, without = self.form, set(self._refused)
        while unfit <= _SECOND_CHANCES:
            await self._pace.turn()
            try:
                reply = await self._send(content(form), form, without, warm=bool(unfit))
            except Failure as failure:
                problem, said = failure.reason, ""
                simpler, named = self._simpler(failure, form, without, failures)
                if simpler != form or named:
                    form, without = simpler, without | named
                    continue
                wait = backoff(failures + limits + 1, failure.wait)
                limited += wait if failure.limited else 0.0
                failures, limits = failures + (not failure.limited), limits + failure.limited
                nobody = not self.answered and not failure.status
                if nobody and failures > min(_FIRST_RETRIES, self.service.retries):
                    raise UserError(f"{problem}: is the server up, and is captioner.base_url right?") from None
                if limited > _LONGEST_LIMIT and not self.answered:
                    raise UserError(
                        f"{problem}: it has answered nothing else for {_LONGEST_LIMIT / 60:.0f} minutes"
                    ) from None
                if not failure.again or failures > self.service.retries or limited > _LONGEST_LIMIT:
                    break
                await self._halt.sleep(wait)
                continue
            self.answered = True
            read, written = read + reply.prompt_tokens, written + reply.reply_tokens
            text, problem = self._read(reply, form, query)
            if text is not None or problem == NOTHING:
                self._refused |= without
                self._keep_to(form)
                self._patience.success()
                return Answer(text, problem, "", read, written, time.monotonic() - start)
            said, unfit, form = reply.text[:300], unfit + 1, self.form
        self._patience.failure(f"{problem} ({said!r})" if said else problem, unfit=unfit > _SECOND_CHANCES)
        return Answer(None, problem, said, read, written, time.monotonic() - start)

    async def _send(self, content: Content, form: Form, without: set[str], *, warm: bool) -> Reply:
        async with self._slots:
            self._halt.check()
            endpoint = least_busy(self._endpoints)
            service = self.service
            caller = Caller(endpoint.url, service.model or "", service.api_key_env, self._key, service.timeout)
            endpoint.in_flight += 1
            try:
                async with asyncio.timeout(service.timeout):
                    # The bare request: building typed messages and replies would cost more than all the rest.
                    data = await endpoint.client.post(
                        "/chat/completions", cast_to=object, body=self._body(content, form, without, warm)
                    )
            except (TimeoutError, openai.OpenAIError, ValueError) as error:
                failure = failure_of(error, caller, answered=self.answered)
                if not failure.status:
                    endpoint.could_not_be_reached()
                raise failure from None
            finally:
                endpoint.in_flight -= 1
        return _reply(data, caller)

    def _body(self, content: Content, form: Form, without: set[str], warm: bool) -> dict[str, Any]:
        tokens = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
        body: dict[str, Any] = {
            "model": self.service.model,
            "messages": [{"role": "user", "content": content}],
            tokens: self.service.max_tokens,
        }
        if "temperature" not in without:
            body["temperature"] = _WARMER if warm else 0.0
        if form == "json":
            body["response_format"] = _RESPONSE_FORMAT
        return body

    def _read(self, reply: Reply, form: Form, query: bool) -> tuple[str | None, str]:
        if reply.cut:
            return None, f"cut short at captioner.max_tokens={self.service.max_tokens}"
        try:
            text, problem = read_reply(reply.text, form)
        except NoJsonError as error:
            if flaws := check(reply.text):
                return None, ", ".join(flaws)
            # Sound prose in place of JSON: the style may be there all the same; if not, prose is asked for from now on.
            if parse(reply.text):
                return read_reply(reply.text, "text")
            if self.service.form == "auto" and not self._structured:
                self._fall_back("answers with prose")
            return None, str(error)
        nothing = query and form == "json" and problem == "empty" and reply.text.strip()
        return text, NOTHING if nothing else problem

    def _simpler(self, failure: Failure, form: Form, without: set[str], failures: int) -> tuple[Form, set[str]]:
        """How to send a refused request again: in which form, and without which parameters more; the same if no how."""
        refused = failure.status in (400, 422)
        named = {name for name in ("max_tokens", "temperature") if name in failure.reason} - without
        if refused and named and _UNKNOWN_PARAMETER.search(failure.reason):
            return form, named
        # Some servers fail where they should refuse.
        refused |= failure.status >= 500 and failures + 1 >= _SCHEMA_RETRIES
        prose = refused and self.service.form == "auto" and not self._structured
        return "text" if prose else form, set()

    def _keep_to(self, form: Form) -> None:
        """Remember which form was understood."""
        if form == "json":
            self._structured = True
        elif self.form == "json" and not self._structured:
            self._fall_back("refuses a JSON schema")

    def _fall_back(self, why: str) -> None:
        if self.form == "json":
            print(f"the server {why}: asking for the filled template instead (captioner.format=text)", file=sys.stderr)
        self.form = "text"


def _reply(data: object, caller: Caller) -> Reply:
    """Take a chat completion apart; what is none is a failure like any other."""
    try:
        choice = data["choices"][0]  # type: ignore[index]
        content = choice["message"]["content"] or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        usage = data.get("usage") or {}  # type: ignore[attr-defined]
        text = caller.without_key(str(content).encode(errors="replace").decode())
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        return Reply(text, *tokens, cut=choice.get("finish_reason") == "length")
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        raise Failure(f"{caller.url} answers with no chat completion: {caller.one_line(data)}") from None


class _Bounded(httpx2.AsyncByteStream):
    """A body that breaks off where it gets too long: one that never ends would fill the memory before the timeout."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > _MOST_BYTES:
                raise httpx2.ReadError(f"an answer of more than {_MOST_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_size(response: httpx2.Response) -> None:
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream)
