"""Ctrl-C where something paid for is on its way: the first asks, the second insists."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from captioning.captioner import Answer, Reply
from captioning.local import LocalBackend, Prompt
from captioning.local.model import LocalModel
from tests.captioner_options import captioner_options
from utils.interrupts import GracefulShutdown


def test_the_first_asks_and_the_second_insists(capfd: pytest.CaptureFixture[str]) -> None:
    with GracefulShutdown("wait") as shutdown:
        assert not shutdown.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert shutdown.requested == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == "wait\n"


def test_being_told_to_end_asks_too_and_afterwards_all_is_as_before() -> None:
    """A job that is to make room: SIGTERM."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with GracefulShutdown("wait") as shutdown:
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.requested == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_local_model_finishes_its_batch() -> None:
    """The batch at work is answered; the next one is not begun. The model is replaced by one that is interrupted."""

    class Interrupted(LocalModel):
        def __init__(self) -> None:
            self.batches = 0

        def reply(self, prompts: object, max_tokens: int) -> list[Reply]:
            self.batches += 1
            os.kill(os.getpid(), signal.SIGINT)
            return [Reply("The person is wearing a red coat.", 10, 9, True)] * 2

    def prompts() -> Iterator[Prompt | Answer]:
        yield from [Prompt("Describe.")] * 6

    model = Interrupted()
    answers = LocalBackend(captioner_options(model="m", batch_size=2), "cpu").answer_all(model, prompts())
    assert [next(answers)[0], next(answers)[0]] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(answers)
    assert model.batches == 1


def test_outside_the_main_thread_nothing_is_changed() -> None:
    def enter() -> None:
        with GracefulShutdown("wait") as shutdown:
            told.append(shutdown.requested is None)

    told: list[bool] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert told == [True]
