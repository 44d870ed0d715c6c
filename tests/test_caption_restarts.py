"""Going on with captions: what failed does not stand in front of the rest, and no restart or part is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gen_train_data
from captioning.openai.errors import read_key
from tests.chat_server import OK, Asked, ChatServer
from tests.test_caption_runs import IMAGES, _short_waits, captions, given, photos  # noqa: F401 - fixtures
from utils.errors import UserError


def with_option(option: str, arguments: list[str]) -> list[str]:
    return [*arguments[:2], option, *arguments[2:]]


def test_what_failed_before_comes_last(photos: Path) -> None:  # noqa: F811
    """A run that stopped after failures in a row reaches the others when it is started again."""
    bad: set[str] = set()

    def plan(asked: Asked) -> str:
        if len(bad) < 4 and len(server.log) >= 10:
            bad.add(asked.key)
        return "500" if asked.key in bad else OK

    with ChatServer(plan) as server:
        arguments = given(photos, server, config=("captioner.concurrency=1", "captioner.stop_after=4"))
        with pytest.raises(UserError, match="stopped after 4 failures in a row"):
            gen_train_data.main([*arguments, "captioner.retries=0"])
        before = len(server.log)
        assert gen_train_data.main([*arguments, "captioner.retries=0"]) == 3
        again = [asked.key for asked in server.log[before:]]
        assert set(again[-4:]) == bad  # also the last one, which stopped the first run
    assert len(captions(photos)) >= IMAGES - 5  # two images are alike


def test_images_that_are_always_refused_end_as_failures(photos: Path) -> None:  # noqa: F811
    """More of them than failures that stop a run: exit status 3, then and at the next try."""
    with ChatServer(lambda asked: "refusal" if int(asked.key, 16) % 2 else OK) as server:
        arguments = given(photos, server, config=("captioner.stop_after=3",))
        assert gen_train_data.main(arguments) == 3
        assert gen_train_data.main(arguments) == 3
        refused = {asked.key for asked in server.log if asked.fault == "refusal"}
    assert len(refused) > 3
    assert len(captions(photos)) <= IMAGES - len(refused)


def test_a_restart_that_was_stopped_goes_on(photos: Path) -> None:  # noqa: F811
    """With --restart again or without, nothing is asked twice; the old captions stand until the new ones are whole."""
    with ChatServer() as server:
        arguments = given(photos, server, config=("captioner.concurrency=1", "captioner.retries=0"))
        assert gen_train_data.main(arguments) == 0
        old, before = captions(photos), len(server.log)
        server.plan = lambda asked: OK if len(server.log) < before + 10 else "401"
        with pytest.raises(UserError, match="wants a key"):
            gen_train_data.main(with_option("--restart", arguments))
        assert captions(photos) == old
        server.plan = lambda asked: OK if len(server.log) < before + 21 else "401"
        with pytest.raises(UserError, match="wants a key"):
            gen_train_data.main(arguments)
        server.plan = lambda asked: OK
        assert gen_train_data.main(with_option("--restart", arguments)) == 0
        good = [asked.key for asked in server.log[before:] if asked.fault == OK]
        assert len(good) == len(set(good)) == IMAGES - 1
        assert gen_train_data.main(arguments) == 0
        assert len([asked for asked in server.log if asked.fault == OK]) == 2 * (IMAGES - 1)
    aside = json.loads((photos.parent / "texts" / "custom_qwen_gen_captions.before-1.json").read_text())
    assert len(aside) == IMAGES


def test_parts_that_are_done_count_whatever_is_run_next(photos: Path) -> None:  # noqa: F811
    """Other parts, or all at once."""
    with ChatServer() as server:
        assert gen_train_data.main(with_option("--shard=1/2", given(photos, server))) == 0
        assert gen_train_data.main(with_option("--shard=2/2", given(photos, server))) == 0
        assert gen_train_data.main(with_option("--shard=1/3", given(photos, server))) == 0
        assert gen_train_data.main(given(photos, server)) == 0
        assert len(server.log) == IMAGES - 1
    assert len(captions(photos)) == IMAGES


@pytest.mark.parametrize("status", ["403", "404"])
def test_one_moderated_image_is_no_wrong_key(photos: Path, status: str) -> None:  # noqa: F811
    """Once the model has answered, what is forbidden is that image alone."""
    bad: list[str] = []

    def plan(asked: Asked) -> str:
        if len(server.log) == 5 and not bad:
            bad.append(asked.key)
        return status if asked.key in bad else OK

    with ChatServer(plan) as server:
        config = ("captioner.concurrency=1", "captioner.retries=1")
        assert gen_train_data.main(given(photos, server, config=config)) == 3
    assert len(captions(photos)) == IMAGES - 1


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\x00b"])
def test_what_cannot_be_a_key_is_said_of_the_variable(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("os.environ", {"TSN_TEST_KEY": key, "TSN_OTHER": " sesame-open\r\n"})
    with pytest.raises(UserError, match="the environment variable TSN_TEST_KEY holds no key") as told:
        read_key("TSN_TEST_KEY")
    assert key not in str(told.value)
    assert read_key("TSN_OTHER") == "sesame-open"
    assert read_key("TSN_NONE") == ""
