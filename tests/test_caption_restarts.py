"""Resuming caption runs: after failures in a row, restarts and shards, nothing is lost or paid for twice."""

# ruff: noqa: F811 - fixtures are imported, and named by parameters
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gen_train_data
from captioning.openai.endpoint import read_key
from tests.chat_server import OK, ChatRequest, ChatServer
from tests.test_caption_runs import IMAGES, _short_waits, captions, given, photos  # noqa: F401
from utils.errors import UserError


def with_option(option: str, arguments: list[str]) -> list[str]:
    return [*arguments[:2], option, *arguments[2:]]


def journal_entries(photos: Path) -> list[dict[str, Any]]:
    lines = (photos.parent / "texts" / "custom_qwen_gen_captions.journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("concurrency", [1, 8])
def test_every_failure_before_a_stop_is_in_the_journal(photos: Path, concurrency: int) -> None:
    """Also the one that stops the run, and those of the requests in flight; the next run reaches all other images."""
    bad: set[str] = set()
    answered = 0

    def plan(request: ChatRequest) -> str:
        nonlocal answered
        answered += 1
        if failing and answered > 10:
            bad.add(request.key)
        return "500" if request.key in bad else OK

    failing = True
    with ChatServer(plan) as server:
        config = (f"captioner.concurrency={concurrency}", "captioner.retries=0", "captioner.format=text")
        with pytest.raises(UserError, match="stopped after 4 failures in a row"):
            gen_train_data.main(given(photos, server, config=(*config, "captioner.stop_after=4")))
        failing = False  # except for the images that failed
        entries = {entry["question"]["content"]: entry for entry in journal_entries(photos)}
        assert len(entries) == answered
        assert len([entry for entry in entries.values() if entry["text"] is None]) == len(bad) >= 4
        assert gen_train_data.main(given(photos, server, config=(*config, "captioner.stop_after=20"))) == 3
        assert answered == IMAGES - 1 + len(bad)
    assert len(captions(photos)) >= IMAGES - 1 - len(bad)  # two images are equal


def test_images_that_are_always_refused_end_as_failures(photos: Path) -> None:
    """Even if they are more than the failures in a row that stop a run: exit status 3, also of the next run."""
    with ChatServer(lambda request: "refusal" if int(request.key, 16) % 2 else OK) as server:
        arguments = given(photos, server, config=("captioner.stop_after=3",))
        assert gen_train_data.main(arguments) == 3
        assert gen_train_data.main(arguments) == 3
        refused = {request.key for request in server.log if request.fault == "refusal"}
    assert len(refused) > 3
    assert len(captions(photos)) <= IMAGES - len(refused)


def test_a_stopped_restart_resumes(photos: Path) -> None:
    """With --restart or without, nothing is requested twice; the old captions stay until the new ones are complete."""
    with ChatServer() as server:
        arguments = given(photos, server, config=("captioner.concurrency=1", "captioner.retries=0"))
        assert gen_train_data.main(arguments) == 0
        old, before = captions(photos), len(server.log)
        server.plan = lambda request: OK if len(server.log) < before + 10 else "401"
        with pytest.raises(UserError, match="wants a key"):
            gen_train_data.main(with_option("--restart", arguments))
        assert captions(photos) == old
        server.plan = lambda request: OK if len(server.log) < before + 21 else "401"
        with pytest.raises(UserError, match="wants a key"):
            gen_train_data.main(arguments)
        server.plan = lambda request: OK
        assert gen_train_data.main(with_option("--restart", arguments)) == 0
        good = [request.key for request in server.log[before:] if request.fault == OK]
        assert len(good) == len(set(good)) == IMAGES - 1
        assert gen_train_data.main(arguments) == 0
        assert len([request for request in server.log if request.fault == OK]) == 2 * (IMAGES - 1)
    aside = json.loads((photos.parent / "texts" / "custom_qwen_gen_captions.before-1.json").read_text())
    assert len(aside) == IMAGES


def test_finished_shards_count_whatever_is_run_next(photos: Path) -> None:
    """Other shards, or all at once."""
    with ChatServer() as server:
        assert gen_train_data.main(with_option("--shard=1/2", given(photos, server))) == 0
        assert gen_train_data.main(with_option("--shard=2/2", given(photos, server))) == 0
        assert gen_train_data.main(with_option("--shard=1/3", given(photos, server))) == 0
        assert gen_train_data.main(given(photos, server)) == 0
        assert len(server.log) == IMAGES - 1
    assert len(captions(photos)) == IMAGES


@pytest.fixture
def other_model(photos: Path) -> Iterator[tuple[ChatServer, list[str], list[str]]]:
    """A journal with ten captions from model m, and arguments that generate the rest with another model, and with m."""
    with ChatServer(lambda request: OK if len(server.log) < 10 else "500") as server:
        with pytest.raises(UserError, match="stopped after 10 failures"):
            gen_train_data.main(
                given(
                    photos, server, config=("captioner.concurrency=1", "captioner.format=text", "captioner.retries=0")
                )
            )
        server.plan = lambda request: OK
        yield server, given(photos, server, config=("captioner.model=n",)), given(photos, server)


def test_another_model_is_noticed(photos: Path, other_model: tuple[ChatServer, list[str], list[str]]) -> None:
    """Nothing is requested without --keep or --restart; --keep accepts the ten."""
    server, arguments, _ = other_model
    before = len(server.log)
    with pytest.raises(UserError, match=r"1[01] captions of .* are from openai:m .* openai:n: add --keep"):
        gen_train_data.main(arguments)
    assert len(server.log) == before
    assert gen_train_data.main(with_option("--keep", arguments)) == 0
    assert len(server.log) - before == IMAGES - 1 - 10
    assert len(captions(photos)) == IMAGES


def test_restart_generates_all_and_sets_the_old_aside(
    photos: Path, other_model: tuple[ChatServer, list[str], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    server, arguments, same = other_model
    assert gen_train_data.main(same) == 0
    old = captions(photos)
    capfd.readouterr()
    assert gen_train_data.main(arguments) == 0  # complete: nothing to request, but the other model is reported
    assert f"({IMAGES} from openai:m; --restart generates all again with openai:n)" in capfd.readouterr().out
    before = len(server.log)
    assert gen_train_data.main(with_option("--restart", arguments)) == 0
    assert len(server.log) - before == IMAGES - 1
    folder = photos.parent / "texts"
    aside = json.loads((folder / "custom_qwen_gen_captions.before-1.json").read_text())
    assert {entry["image_path"]: entry["generated_text"] for entry in aside} == old
    assert (folder / "custom_qwen_gen_captions.before-1.journal.jsonl").is_file()


def test_shards_are_merged_into_the_same_file(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No image is in two shards, and merging requests nothing."""
    with ChatServer() as server:
        assert gen_train_data.main(given(photos, server, into="unsharded")) == 0
        sent = len(server.log)
        for shard in ("1/3", "3/3"):
            assert gen_train_data.main(given(photos, server, "--shard", shard)) == 0
        assert gen_train_data.main(given(photos, server, "--merge")) == 3
        assert "images not requested yet" in capfd.readouterr().out
        assert gen_train_data.main(given(photos, server, "--shard", "2/3")) == 0
        assert len(server.log) == 2 * sent
        assert gen_train_data.main(given(photos, server, "--merge")) == 0
        assert len(server.log) == 2 * sent
    assert captions(photos) == captions(photos, "unsharded")


@pytest.mark.parametrize("status", ["403", "404"])
def test_one_moderated_image_is_not_a_wrong_key(photos: Path, status: str) -> None:
    """Once the model has answered, a forbidden request concerns that image alone."""
    bad: list[str] = []

    def plan(request: ChatRequest) -> str:
        if len(server.log) == 5 and not bad:
            bad.append(request.key)
        return status if request.key in bad else OK

    with ChatServer(plan) as server:
        config = ("captioner.concurrency=1", "captioner.retries=1")
        assert gen_train_data.main(given(photos, server, config=config)) == 3
    assert len(captions(photos)) == IMAGES - 1


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\x00b"])
def test_an_invalid_key_is_reported_by_its_variable(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("os.environ", {"TSN_TEST_KEY": key, "TSN_OTHER": " sesame-open\r\n"})
    with pytest.raises(UserError, match="the environment variable TSN_TEST_KEY holds no key") as error:
        read_key("TSN_TEST_KEY")
    assert key not in str(error.value)
    assert read_key("TSN_OTHER") == "sesame-open"
    assert read_key("TSN_NONE") == ""
