"""Failures of a chat server: what they mean, how long to wait, and what a stopped run yields before it ends."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import openai
import pytest

from captioning.captioner import Answer, FailureBudget
from captioning.openai import OpenAIBackend
from captioning.openai.client import StoppedError, StopSignal, backoff, least_busy
from captioning.openai.endpoint import Endpoint
from tests.captioner_options import captioner_options
from tests.chat_server import OK, ChatServer
from utils.errors import UserError
from utils.interrupts import GracefulShutdown


def endpoint() -> Endpoint:
    return Endpoint("http://x", captioner_options(model="m"), "sesame-open")


def rewrite(server: ChatServer, queries: list[str], **changes: Any) -> tuple[dict[str, Answer], UserError | None]:
    """The answers that were yielded, by query, and the error that came after them."""
    values: dict[str, Any] = {"model": "m", "base_url": server.url, "format": "text", "retries": 0, "stop_after": 2}
    answers: dict[str, Answer] = {}
    try:
        for position, answer in OpenAIBackend(captioner_options(**values | changes)).rewrite(queries):
            answers[queries[position]] = answer
    except UserError as error:
        return answers, error
    return answers, None


def misbehaving() -> ChatServer:
    """Fails at each query that begins with "bad", and takes a second for one that begins with "slow"."""
    faults = {"bad": "500", "slow": "slow"}
    return ChatServer(lambda request: faults.get(request.key.split()[0], OK))


def test_the_failure_that_stops_a_run_is_yielded_first() -> None:
    """So that it is recorded; nothing more is sent."""
    with misbehaving() as server:
        answers, error = rewrite(server, ["good", "bad 1", "bad 2", "left 1", "left 2"], concurrency=1)
    assert str(error).startswith("stopped after 2 failures in a row")
    assert list(answers) == ["good", "bad 1", "bad 2"]
    assert "returned 500" in answers["bad 2"].problem
    assert {request.key for request in server.log} == answers.keys()


def test_answers_in_flight_are_yielded_before_the_error() -> None:
    with misbehaving() as server:
        answers, error = rewrite(server, ["good", "slow", "bad 1", "bad 2", *map(str, range(9))], concurrency=3)
    assert "2 failures in a row" in str(error)
    assert answers["slow"].text
    assert {"bad 1", "bad 2"} < answers.keys()


def test_failures_at_the_very_end_stop_nothing() -> None:
    """All queries have an answer, so that the run is complete."""
    with misbehaving() as server:
        answers, error = rewrite(server, ["good", "bad 1", "bad 2"])
    assert error is None
    assert [answer.text is None for answer in answers.values()] == [False, True, True]


def test_waits_grow_and_retry_after_is_honored() -> None:
    """At least what the server requests; otherwise doubled each time, with jitter, up to half a minute."""
    assert backoff(1, 7.0) == 7.0
    assert backoff(1, 1e9) == 300.0
    waits = [[backoff(failures) for _ in range(200)] for failures in (1, 2, 3, 40)]
    for failures, drawn in zip((1, 2, 3), waits, strict=False):
        longest = 0.5 * 2 ** (failures - 1)
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert max(waits[3]) <= 30.0


def test_retry_after_is_a_number_or_a_date() -> None:
    """A date in the past means no wait, and any other value is ignored."""

    def retry_after(header: str) -> float | None:
        request = httpx2.Request("POST", "http://x")
        response = httpx2.Response(429, headers={"Retry-After": header}, request=request)
        error = openai.RateLimitError("slower", response=response, body=None)
        failure = endpoint().status_failure(error, answered=True)
        assert failure.retryable
        return failure.retry_after

    begun = datetime.now(UTC)
    wait = retry_after(format_datetime(begun + timedelta(seconds=3600), usegmt=True))
    assert wait is not None
    assert 3598 - (datetime.now(UTC) - begun).total_seconds() < wait <= 3600
    assert backoff(1, retry_after("Sun, 06 Nov 1994 08:49:37 GMT")) <= 0.5
    assert retry_after("2.5") == 2.5
    assert [retry_after(header) for header in ("soon", "", "99 Foo 2000")] == [None] * 3


def test_one_success_restarts_the_count() -> None:
    """The error names the key that allows more; of unfit answers, ten times as many are allowed."""
    budget = FailureBudget(3)
    for unfit, reasons in ((False, ["no", "no", "why"]), (True, ["no"] * 29 + ["why"])):
        for _ in range(5):
            for reason in reasons[:-1]:
                budget.record_failure(reason, unfit=unfit)
            assert budget.error is None
            budget.record_success()
        for reason in reasons:
            budget.record_failure(reason, unfit=unfit)
        assert re.match(rf"stopped after {len(reasons)} failures .*captioner\.stop_after=3.*: why$", str(budget.error))
        budget.record_success()


def test_a_stop_ends_a_wait() -> None:
    """A wait of an hour ends at once."""

    async def stop_during_wait() -> None:
        asyncio.get_running_loop().call_later(0.05, stop.set, UserError("no"))
        await stop.wait_for(asyncio.sleep(3600))

    with GracefulShutdown("") as shutdown:
        stop, begun = StopSignal(shutdown), time.monotonic()
        with pytest.raises(StoppedError):
            asyncio.run(stop_during_wait())
    assert time.monotonic() - begun < 60


def test_the_least_busy_endpoint_is_next_and_one_that_was_not_reached_rests() -> None:
    one, two = endpoint(), endpoint()
    one.in_flight, two.in_flight = 3, 2
    assert least_busy([one, two]) is two
    two.rests_until = time.monotonic() + 60
    assert least_busy([one, two]) is one
    one.rests_until = time.monotonic() + 60
    assert least_busy([one, two]) is two  # there is no other


def test_a_rate_limit_with_status_200_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code in the body counts."""
    monkeypatch.setattr("captioning.openai.client._FIRST_WAIT", 0.01)
    with ChatServer(lambda request: "hidden limit" if request.number < 3 else OK) as server:
        answers, error = rewrite(server, ["good", "better"])
    assert error is None
    assert all(answer.text for answer in answers.values())


def test_refused_items_do_not_stop_a_run() -> None:
    """A content filter answers 400 for one photograph after the other: the server works."""
    with ChatServer(lambda request: "400" if request.key.startswith("bad") else OK) as server:
        answers, error = rewrite(server, ["good", *(f"bad {number}" for number in range(15)), "last"], concurrency=1)
    assert error is None
    assert answers["last"].text
    assert "returned 400" in answers["bad 7"].problem


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_no_proxy_is_used_for_this_machine(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ChatServer() as server:
        answers, error = rewrite(server, ["good"])
    assert error is None
    assert answers["good"].text


def test_a_redirect_is_not_followed() -> None:
    """It could lead to a host that nobody has allowed."""
    with ChatServer() as other, ChatServer(lambda request: "307", location=f"{other.url}/chat/completions") as server:
        answers, error = rewrite(server, ["good"])
        assert not answers
        assert str(other.port) in str(error)
        assert "captioner.base_url" in str(error)
        assert not other.log


def test_a_backend_sends_nothing_without_leave() -> None:
    """Whatever calls it: the page of an index, or a program."""
    options = captioner_options(model="m", base_url="http://words.invalid/v1")
    with pytest.raises(UserError, match=r"1 sentences about people.*captioner\.send_to=words\.invalid"):
        next(OpenAIBackend(options).rewrite(["a man"]))
