"""Ctrl-C while paid requests are in flight: the first requests a stop, the second stops at once."""

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


def test_the_first_requests_a_stop_and_the_second_stops_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with GracefulShutdown("wait") as shutdown:
        assert not shutdown.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert shutdown.requested == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == "wait\n"


def test_a_repeated_sigterm_changes_nothing_and_saving_is_not_interrupted() -> None:
    """Schedulers repeat it; a second Ctrl-C waits until what was saved is whole."""
    with GracefulShutdown("wait") as shutdown:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        with shutdown.uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert shutdown.requested == signal.SIGTERM


def test_sigterm_requests_a_stop_too_and_handlers_are_restored() -> None:
    """Schedulers send it to jobs that are preempted."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with GracefulShutdown("wait") as shutdown:
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.requested == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_local_model_finishes_its_batch() -> None:
    """The current batch is answered; the next one is not started. The model is replaced by one that is interrupted."""

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
            found.append(shutdown.requested is None)

    found: list[bool] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]
