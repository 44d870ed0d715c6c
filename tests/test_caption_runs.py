"""The caption scripts with a language model: killed, interrupted, sharded, out of disk, and never paying twice."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gen_test_data
import gen_train_data
from tests.chat_server import OK, ChatRequest, ChatServer
from utils.errors import UserError

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("TSN_KILLS", "3"))
IMAGES = 40


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Training images of which two are equal, three test images, four queries of which two are equal."""
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
    monkeypatch.setattr("captioning.openai.client._FIRST_WAIT", 0.01)


def given(photos: Path, server: ChatServer, *more: str, into: str = "texts", config: tuple[str, ...] = ()) -> list[str]:
    """Arguments of either script."""
    values = [f"data.root={photos}", f"captions.dir={photos.parent / into}", "captioner.backend=openai"]
    values += ["captioner.rewriter=openai", f"captioner.base_url={server.url}", "captioner.model=m"]
    return ["--config", "configs/custom.yaml", *more, "--set", *values, "captioner.concurrency=8", *config]


def captions(photos: Path, into: str = "texts") -> dict[str, Any]:
    """Return the written training captions, by image."""
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
    """Wait until the server has given so many answers."""
    while len(server.log) < answers and process.poll() is None:
        time.sleep(0.002)


def test_a_run_that_is_killed_repeatedly_writes_the_same_file(photos: Path) -> None:
    """At most what was in flight at a kill is requested again, and the file is equal to the byte."""
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
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    files = [photos.parent / into / "custom_qwen_gen_captions.json" for into in ("texts", "undisturbed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    requests = Counter(one.key for one in server.log)
    assert len(requests) == IMAGES - 1
    assert requests.total() - len(requests) <= KILLS * 8


def test_ctrl_c_lets_what_is_in_flight_finish(photos: Path) -> None:
    """Every answer that the server gave is in the journal, and the message says how to resume."""
    with ChatServer(delay=0.2) as server:
        process = started(given(photos, server))
        wait_for(server, 12, process)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.splitlines()[0].startswith("stopping: what is in flight is waited for and saved")
    assert output.splitlines()[-1] == "interrupted: run the same command again to resume"
    assert "Traceback" not in output
    lines = (photos.parent / "texts" / "custom_qwen_gen_captions.journal.jsonl").read_text().splitlines()
    paid = {json.loads(line)["question"]["content"] for line in lines if json.loads(line)["text"]}
    assert len(paid) == len({one.key for one in server.log}) < IMAGES - 1


def test_ctrl_c_does_not_wait_for_retry_after(photos: Path) -> None:
    """The server requests a wait of two minutes; Ctrl-C ends the run at once."""
    with ChatServer(lambda request: "429", retry_after=120.0) as server:
        process = started(given(photos, server))
        wait_for(server, 1, process)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=100)
    assert process.returncode == 130, output


def test_a_full_disk_is_one_line_and_loses_nothing(photos: Path) -> None:
    """Earlier answers stay, and are not requested again when there is room."""

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    with ChatServer() as server:
        process = started(given(photos, server), preexec_fn=limit_file_size)
        _, output = process.communicate(timeout=60)
        assert process.returncode == 2
        assert output.count("\n") == 1
        assert "custom_qwen_gen_captions.journal.jsonl: File too large" in output
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


def test_failures_are_listed_left_out_and_requested_again_alone(
    photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit status 3, with the command that requests only those; equal images are one request."""
    seen: list[str] = []

    def plan(request: ChatRequest) -> str:
        if request.number == 0:
            seen.append(request.key)
        return "refusal" if seen.index(request.key) in (5, 9) else OK

    with ChatServer(plan) as server:
        arguments = given(photos, server, config=("captioner.concurrency=1",))
        assert gen_train_data.main(arguments) == 3
        output = capfd.readouterr().err
        assert "no caption for train/" in output
        assert ": refusal\n" in output
        assert "2 images failed" in output
        assert "python gen_train_data.py --config" in output
        assert len(captions(photos)) == IMAGES - 2
        assert len({one.key for one in server.log}) == IMAGES - 1
        server.plan = lambda request: OK
        before = len(server.log)
        assert gen_train_data.main(arguments) == 0
        assert {one.key for one in server.log[before:]} == {seen[5], seen[9]}
    assert len(captions(photos)) == IMAGES


def test_known_failures_do_not_stop_the_next_run(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What the server fails at again and again is left out again, and the pipeline goes on: status 3, not 2."""
    with ChatServer() as good:
        assert gen_train_data.main(given(photos, good, into="others", config=("captioner.concurrency=1",))) == 0
        failing = {request.key for request in good.log[3:15]}
    more = ("captioner.retries=0", "captioner.stop_after=5")
    with ChatServer(lambda request: "500" if request.key in failing else OK) as server:
        with pytest.raises(UserError, match="5 failures in a row"):
            gen_train_data.main(given(photos, server, config=(*more, "captioner.concurrency=1")))
        written = captions(photos)
        assert (
            gen_train_data.main(given(photos, server, config=("captioner.retries=0", "captioner.stop_after=50"))) == 3
        )
        assert len(captions(photos)) > len(written)
        assert gen_train_data.main(given(photos, server, config=more)) == 3
    assert "fails again" in capfd.readouterr().err


def test_images_that_disappear_during_a_run_are_failures(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They are named, and the others are described."""

    def plan(request: ChatRequest) -> str:
        for number in range(IMAGES - 5, IMAGES):
            (photos / "train" / f"{number:02d}.png").unlink(missing_ok=True)
        return OK

    with ChatServer(plan) as server:
        assert gen_train_data.main(given(photos, server)) == 3
    output = capfd.readouterr().err
    assert f"no caption for train/39.png: {photos / 'train' / '39.png'} cannot be read" in output
    assert "5 images failed" in output
    assert len(captions(photos)) == IMAGES - 5


def test_a_dry_run_counts_and_requests_nothing(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Estimates use the measured tokens, if any: 400 prompt tokens and 60 reply tokens per answer."""
    price = ("captioner.price=[1.0,10.0]",)
    with ChatServer() as server:
        assert gen_train_data.main(given(photos, server, "--dry-run", config=price)) == 0
        output = capfd.readouterr().out
        assert (
            f"{IMAGES} images, 0 of them done; {IMAGES} to request from openai:m ({IMAGES - 1} distinct), about "
            in output
        )
        assert "cost about 0." in output
        assert server.log == []
        assert not (photos.parent / "texts").exists()
        assert gen_train_data.main(given(photos, server, "--shard", "1/2")) == 0
        sent = len(server.log)
        capfd.readouterr()
        assert gen_train_data.main(given(photos, server, "--dry-run", "--shard", "1/2")) == 0
        assert "0 to request from openai:m\n" in capfd.readouterr().out
        assert gen_train_data.main(given(photos, server, "--dry-run", config=price)) == 0
        left = IMAGES - 1 - sent
        assert (
            f"about {400 * left:,} prompt tokens and {60 * left:,} reply tokens, cost about " in capfd.readouterr().out
        )
        assert len(server.log) == sent


def test_queries_are_rewritten_once_each(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Three images and three distinct queries; a second run requests nothing."""
    with ChatServer() as server:
        assert gen_test_data.main(given(photos, server)) == 0
        assert len(server.log) == 6
        assert "3 rewrites from openai:m; 3 requested in " in capfd.readouterr().out
        assert gen_test_data.main(given(photos, server)) == 0
        assert len(server.log) == 6
    entries = json.loads((photos.parent / "texts" / "custom_test_qwen_gen_captions.json").read_text())
    rewrites = {entry["image_path"]: entry["generated_text"] for entry in entries}
    assert rewrites["imgs/test/0.png"][0] == rewrites["imgs/test/1.png"][0]


def test_no_key_is_in_any_file(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-sesame")
    with ChatServer(lambda request: "echo" if server.log else OK, key="sk-test-sesame") as server:
        config = ("captioner.stop_after=100",)
        assert (
            gen_train_data.main(given(photos, server, config=config)) == 3
        )  # a text that contains the key is rejected
    written = [path.read_bytes() for path in (photos.parent / "texts").iterdir()]
    assert len(written) == 2
    assert not any(b"sesame" in text for text in written)
