"""The caption scripts with a language model: killed, interrupted, in parts, out of disk, and never paying twice."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gen_test_data
import gen_train_data
from tests.chat_server import OK, Asked, ChatServer
from utils.errors import UserError

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("TSN_KILLS", "3"))
IMAGES = 40


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Training photographs of which two are alike, three test photographs, four queries of which two are alike."""
    random = np.random.default_rng(0)
    names = [f"train/{number:02d}.png" for number in range(IMAGES)] + [f"test/{number}.png" for number in range(3)]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 4, 3), dtype=np.uint8)).resize((32, 64)).save(path)
    (tmp_path / "photos" / "train" / "01.png").write_bytes((tmp_path / "photos" / "train" / "00.png").read_bytes())
    queries = {"test/0.png": ["A man.", "A man in red."], "test/1.png": ["A man."], "test/2.png": "A woman."}
    (tmp_path / "photos" / "captions.json").write_text(json.dumps(queries))
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioning.openai.errors._FIRST_WAIT", 0.01)


def given(photos: Path, server: ChatServer, *more: str, into: str = "texts", config: tuple[str, ...] = ()) -> list[str]:
    """Arguments of either script."""
    values = [f"data.root={photos}", f"captions.dir={photos.parent / into}", "captioner.backend=openai"]
    values += ["captioner.rewriter=openai", f"captioner.base_url={server.url}", "captioner.model=m"]
    return ["--config", "configs/custom.yaml", *more, "--set", *values, "captioner.concurrency=8", *config]


def captions(photos: Path, into: str = "texts") -> dict[str, Any]:
    """The training captions that were written, by image."""
    file = photos.parent / into / "custom_qwen_gen_captions.json"
    return {entry["image_path"]: entry["generated_text"] for entry in json.loads(file.read_text())}


def started(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "gen_train_data.py", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def wait_for(server: ChatServer, answers: int, process: subprocess.Popen[str]) -> None:
    """Until the server has given so many answers."""
    while len(server.log) < answers and process.poll() is None:
        time.sleep(0.002)


def test_killed_again_and_again_it_ends_as_if_undisturbed(photos: Path) -> None:
    """At most what was in flight at a kill is asked again, and the file is the same to the byte."""
    with ChatServer() as server:
        assert gen_train_data.main(given(photos, server, into="undisturbed")) == 0
    random = np.random.default_rng(KILLS)
    with ChatServer(delay=0.1) as server:
        for moment in sorted(random.choice(np.arange(1, IMAGES - 4), KILLS, replace=False)):
            process = started(given(photos, server))
            wait_for(server, int(moment), process)
            process.kill()
            process.communicate()
        process = started(given(photos, server))
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    files = [photos.parent / into / "custom_qwen_gen_captions.json" for into in ("texts", "undisturbed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    asked = Counter(one.key for one in server.log)
    assert len(asked) == IMAGES - 1
    assert asked.total() - len(asked) <= KILLS * 8


def test_ctrl_c_lets_what_is_in_flight_finish(photos: Path) -> None:
    """Every answer that the server gave is in the journal, and the way on is told."""
    with ChatServer(delay=0.2) as server:
        process = started(given(photos, server))
        wait_for(server, 12, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[0].startswith("stopping: what is in flight is waited for and saved")
    assert said.splitlines()[-1] == "interrupted: run the same command again to resume"
    assert "Traceback" not in said
    lines = (photos.parent / "texts" / "custom_qwen_gen_captions.journal.jsonl").read_text().splitlines()
    paid = {json.loads(line)["question"]["content"] for line in lines if json.loads(line)["text"]}
    assert len(paid) == len({one.key for one in server.log}) < IMAGES - 1


def test_ctrl_c_does_not_wait_for_a_server_that_wants_to_be_left_alone(photos: Path) -> None:
    """For two minutes, it says; Ctrl-C is answered at once."""
    with ChatServer(lambda asked: "429", retry_after=120.0) as server:
        process = started(given(photos, server))
        wait_for(server, 1, process)
        time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert time.monotonic() - begun < 20.0


def test_a_full_disk_is_one_line_and_loses_nothing(photos: Path) -> None:
    """What was answered before stays, and is not asked again when there is room."""

    def no_more_than_some_lines() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    with ChatServer() as server:
        process = started(given(photos, server), preexec_fn=no_more_than_some_lines)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2
        assert said.count("\n") == 1
        assert "custom_qwen_gen_captions.journal.jsonl: File too large; what was answered before is kept" in said
        kept = len((photos.parent / "texts" / "custom_qwen_gen_captions.journal.jsonl").read_bytes().splitlines()) - 1
        assert kept > 2
        before = len(server.log)
        assert gen_train_data.main(given(photos, server)) == 0
        assert len(server.log) - before <= IMAGES - kept
    assert len(captions(photos)) == IMAGES


def test_a_second_process_is_refused(photos: Path) -> None:
    with ChatServer(delay=0.3) as server:
        process = started(given(photos, server))
        wait_for(server, 1, process)
        with pytest.raises(UserError, match=r"another process is writing to .*journal\.jsonl"):
            gen_train_data.main(given(photos, server))
        process.kill()
        process.communicate()


def test_failures_are_listed_left_out_and_asked_again_alone(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit status 3 with the command that asks for just those; equal images are one question."""
    seen: list[str] = []

    def plan(asked: Asked) -> str:
        if asked.number == 0:
            seen.append(asked.key)
        return "refusal" if seen.index(asked.key) in (5, 9) else OK

    with ChatServer(plan) as server:
        arguments = given(photos, server, config=("captioner.concurrency=1",))
        assert gen_train_data.main(arguments) == 3
        said = capfd.readouterr().err
        assert "no caption for train/" in said
        assert ": refusal\n" in said
        assert "2 images failed and are left out; ask for just those again: python gen_train_data.py --config" in said
        assert len(captions(photos)) == IMAGES - 2
        assert len({one.key for one in server.log}) == IMAGES - 1
        server.plan = lambda asked: OK
        before = len(server.log)
        assert gen_train_data.main(arguments) == 0
        assert {one.key for one in server.log[before:]} == {seen[5], seen[9]}
    assert len(captions(photos)) == IMAGES


def test_images_that_go_away_meanwhile_are_failures(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each is named; the others are described."""

    def plan(asked: Asked) -> str:
        for number in range(IMAGES - 5, IMAGES):
            (photos / "train" / f"{number:02d}.png").unlink(missing_ok=True)
        return OK

    with ChatServer(plan) as server:
        assert gen_train_data.main(given(photos, server)) == 3
    said = capfd.readouterr().err
    assert f"no caption for train/39.png: {photos / 'train' / '39.png'} cannot be read" in said
    assert "5 images failed" in said
    assert len(captions(photos)) == IMAGES - 5


@pytest.fixture
def other_model(photos: Path) -> Iterator[tuple[ChatServer, list[str], list[str]]]:
    """Ten captions by model m in the journal, and the arguments with which the rest would be another's."""
    with ChatServer(lambda asked: OK if len(server.log) < 10 else "400") as server:
        with pytest.raises(UserError, match="stopped after 10 failures"):
            gen_train_data.main(given(photos, server, config=("captioner.concurrency=1", "captioner.format=text")))
        server.plan = lambda asked: OK
        yield server, given(photos, server, config=("captioner.model=n",)), given(photos, server)


def test_another_model_is_noticed(photos: Path, other_model: tuple[ChatServer, list[str], list[str]]) -> None:
    """Nothing is asked before somebody says what to do; --keep takes the ten, --restart asks for all."""
    server, arguments, _ = other_model
    before = len(server.log)
    with pytest.raises(UserError, match=r"1[01] captions of .* are by openai:m .* and now it is openai:n: add --keep"):
        gen_train_data.main(arguments)
    assert len(server.log) == before
    assert gen_train_data.main([*arguments[:2], "--keep", *arguments[2:]]) == 0
    assert len(server.log) - before == IMAGES - 1 - 10
    assert len(captions(photos)) == IMAGES


def test_restart_asks_for_all_and_puts_the_old_aside(
    photos: Path, other_model: tuple[ChatServer, list[str], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    server, arguments, same = other_model
    assert gen_train_data.main(same) == 0
    old = captions(photos)
    capfd.readouterr()
    assert gen_train_data.main(arguments) == 0  # all is there: nothing to ask, and a word on whose it is
    assert f"({IMAGES} by openai:m; --restart asks openai:n for all anew)" in capfd.readouterr().out
    before = len(server.log)
    assert gen_train_data.main([*arguments[:2], "--restart", *arguments[2:]]) == 0
    assert len(server.log) - before == IMAGES - 1
    folder = photos.parent / "texts"
    aside = json.loads((folder / "custom_qwen_gen_captions.before-1.json").read_text())
    assert {entry["image_path"]: entry["generated_text"] for entry in aside} == old
    assert (folder / "custom_qwen_gen_captions.before-1.journal.jsonl").is_file()


def test_parts_side_by_side_are_merged_into_the_same_file(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No image is in two parts, and merging asks nothing."""
    with ChatServer() as server:
        assert gen_train_data.main(given(photos, server, into="whole")) == 0
        asked = len(server.log)
        for part in ("1/3", "3/3"):
            assert gen_train_data.main(given(photos, server, "--shard", part)) == 0
        assert gen_train_data.main(given(photos, server, "--merge")) == 3
        assert "images not asked yet" in capfd.readouterr().out
        assert gen_train_data.main(given(photos, server, "--shard", "2/3")) == 0
        assert len(server.log) == 2 * asked
        assert gen_train_data.main(given(photos, server, "--merge")) == 0
        assert len(server.log) == 2 * asked
    assert captions(photos) == captions(photos, "whole")


def test_a_dry_run_counts_and_asks_nothing(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """By what was measured where there is something: 400 tokens read and 60 written for each answer."""
    price = ("captioner.price=[1.0,10.0]",)
    with ChatServer() as server:
        assert gen_train_data.main(given(photos, server, "--dry-run", config=price)) == 0
        said = capfd.readouterr().out
        assert f"{IMAGES} images, 0 of them done; {IMAGES} to ask openai:m ({IMAGES - 1} distinct), about " in said
        assert "cost about 0." in said
        assert server.log == []
        assert not (photos.parent / "texts").exists()
        assert gen_train_data.main(given(photos, server, "--shard", "1/2")) == 0
        asked = len(server.log)
        capfd.readouterr()
        assert gen_train_data.main(given(photos, server, "--dry-run", "--shard", "1/2")) == 0
        assert "0 to ask openai:m\n" in capfd.readouterr().out
        assert gen_train_data.main(given(photos, server, "--dry-run", config=price)) == 0
        left = IMAGES - 1 - asked
        assert f"about {400 * left:,} tokens read and {60 * left:,} written, cost about " in capfd.readouterr().out
        assert len(server.log) == asked


def test_queries_are_rewritten_once_each(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Three photographs and three distinct queries; a second run asks nothing, and the progress tells tokens."""
    with ChatServer() as server:
        assert gen_test_data.main(given(photos, server)) == 0
        assert len(server.log) == 6
        assert "3 rewrites by openai:m; 3 asked in " in capfd.readouterr().out
        assert gen_test_data.main(given(photos, server)) == 0
        assert len(server.log) == 6
    entries = json.loads((photos.parent / "texts" / "custom_test_qwen_gen_captions.json").read_text())
    rewrites = {entry["image_path"]: entry["generated_text"] for entry in entries}
    assert rewrites["imgs/test/0.png"][0] == rewrites["imgs/test/1.png"][0]


def test_no_key_is_in_any_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-sesame")
    with ChatServer(lambda asked: "echo" if server.log else OK, key="sk-test-sesame") as server:
        config = ("captioner.stop_after=100",)
        assert gen_train_data.main(given(photos, server, config=config)) == 3  # a text with a key in it is unfit
    written = [path.read_bytes() for path in (photos.parent / "texts").iterdir()]
    assert len(written) == 2
    assert not any(b"sesame" in text for text in written)
