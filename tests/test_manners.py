"""How a server is treated: waits that grow, turns that are spaced, the least busy endpoint, and when to give up."""

from __future__ import annotations

import pytest

from captioning.manners import Endpoint, Patience, backoff, least_busy
from utils.errors import UserError


def test_retry_after_is_honoured_and_waits_grow() -> None:
    """At least what the server says; else twice as long each time, at random, up to half a minute."""
    assert backoff(1, 7.0) == 7.0
    assert backoff(1, 1e9) == 300.0
    waits = [[backoff(failures) for _ in range(200)] for failures in (1, 2, 3, 40)]
    for failures, drawn in zip((1, 2, 3), waits, strict=False):
        longest = 0.5 * 2 ** (failures - 1)
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert max(waits[3]) <= 30.0


def test_one_success_in_between_is_enough_to_go_on() -> None:
    patience = Patience(3)
    for _ in range(5):
        patience.failure("no")
        patience.failure("no")
        patience.success()
    patience.failure("no")
    patience.failure("no")
    with pytest.raises(UserError, match="stopped after 3 failures in a row, the last one: why"):
        patience.failure("why")


def test_the_least_busy_endpoint_is_next_and_one_that_was_not_reached_rests() -> None:
    one, two = Endpoint("one", None, in_flight=3), Endpoint("two", None, in_flight=2)
    assert least_busy([one, two]) is two
    two.could_not_be_reached()
    assert least_busy([one, two]) is one
    one.could_not_be_reached()
    assert least_busy([one, two]) is two  # nobody else is there
