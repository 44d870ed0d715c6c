"""train.bash on drawn people: captions, rounds, test and report; run again; and interrupted by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.demo import DrawnSet, draw_people
from tests.small import QUICK
from training.saved_state import read_state

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people, enough for clusters."""
    root = tmp_path_factory.mktemp("people")
    draw_people(root, DrawnSet(2024, 16, 4, 6, train_images=4, eval_images=2))
    return root


def environment() -> dict[str, str]:
    """This process's environment, in which the running Python is the active one."""
    inherited = {name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return inherited | {"VIRTUAL_ENV": sys.prefix, "PATH": path}


def settings(drawn: Path, folder: Path, *more: str) -> list[str]:
    """`--set` and overrides for a run of seconds in `folder`."""
    places = (f"data.root={drawn}", f"captions.dir={folder / 'captions'}", f"run.dir={folder / 'run'}")
    return ["--set", *places, *QUICK, *more]


def pipeline(drawn: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run train.bash from another folder, as a user may."""
    command = ["bash", str(REPOSITORY / "train.bash"), "configs/cuhk_pedes.yaml", *settings(drawn, folder, *more)]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)


def test_one_command_goes_from_pictures_to_the_report_and_a_second_time_changes_nothing(
    drawn: Path, tmp_path: Path
) -> None:
    first = pipeline(drawn, tmp_path)
    assert first.returncode == 0, first.stderr
    run = tmp_path / "run"
    kept = {"config.yaml", "log.jsonl", "metrics.json", "last.pth", "best.pth", "report.html", "vocab.txt"}
    assert kept | {"pseudo_labels_0.npz", "pseudo_labels_1.npz"} <= {path.name for path in run.iterdir()}
    assert {path.name for path in (tmp_path / "captions").iterdir()} >= {
        "cuhk_qwen_gen_captions.json",
        "cuhk_test_qwen_gen_captions.json",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    rows = [(row["msm"], row["itm"]) for row in metrics["ablation"]]
    assert rows == [(False, False), (True, False), (False, True), (True, True)]
    figures = ("R1", "R5", "R10", "mAP", "mINP")
    assert all(metrics[name] == metrics["ablation"][3][name] for name in figures)
    assert (run / "report.html").read_text().count("<img") >= 12

    log = (run / "log.jsonl").read_bytes()
    second = pipeline(drawn, tmp_path)
    assert second.returncode == 0, second.stderr
    again = json.loads((run / "metrics.json").read_text())
    assert [row["calls"] for row in again.pop("costs")] == [0, 0, 0, 0]  # rules rewrote; milliseconds differ
    assert again == {name: value for name, value in metrics.items() if name != "costs"}
    assert (run / "log.jsonl").read_bytes() == log

    command = [sys.executable, "train.py", "--config", "configs/cuhk_pedes.yaml"]
    command += settings(drawn, tmp_path, "train.lr=0.01")
    other = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert other.returncode == 2
    assert other.stderr.strip().splitlines()[-1].startswith(f"error: {run} holds a run with other settings (train.lr")


def test_sigterm_to_train_bash_alone_saves(drawn: Path, tmp_path: Path) -> None:
    """As docker stops it: the training saves in the middle of its epoch, and bash ends with status 0."""
    more = settings(drawn, tmp_path, "train.epochs=40", "train.rounds=1")
    command = ["bash", str(REPOSITORY / "train.bash"), "configs/cuhk_pedes.yaml", *more]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log, end = tmp_path / "run" / "log.jsonl", time.monotonic() + 200
    while not (log.is_file() and log.read_bytes().count(b"step") > 20) and time.monotonic() < end:
        time.sleep(0.02)
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "stopping after this update and saving" in errors
    assert read_state(tmp_path / "run")["memory"]["mid_epoch"]["step"] > 0
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_an_error_ends_train_bash_like_its_scripts(tmp_path: Path) -> None:
    """One line, and exit status 2."""
    command = ["bash", str(REPOSITORY / "train.bash"), "configs/none.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "none.yaml" in done.stderr


def test_train_bash_passes_on_that_photographs_may_not_be_sent(drawn: Path, tmp_path: Path) -> None:
    """Status 2 and one line; `--yes` goes to the scripts that caption, and these alone know it."""
    model = ("captioner.backend=openai", "captioner.model=m", "captioner.base_url=http://photos.invalid/v1")
    refused = pipeline(drawn, tmp_path, *model)
    assert refused.returncode == 2
    assert refused.stderr.strip().count("\n") == 0
    assert "photographs of people would be sent to photos.invalid" in refused.stderr
    allowed = pipeline(drawn, tmp_path, *model, "captioner.retries=0", "--yes")
    assert "photographs of people to photos.invalid" in allowed.stdout
    assert "cannot reach http://photos.invalid/v1" in allowed.stderr


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A script of the project in a separate process group, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt_when(process: subprocess.Popen[str], file: Path, lines: int) -> tuple[int, str]:
    """Ctrl-C for the entire group as soon as `file` has that many lines; return its exit status and its errors."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            os.killpg(process.pid, signal.SIGINT)
            break
        time.sleep(0.01)
    errors = process.communicate(timeout=120)[1]
    return process.returncode, errors


def test_ctrl_c_while_captions_are_written_and_while_training_then_the_same_command_resumes(
    drawn: Path, tmp_path: Path
) -> None:
    arguments = ["--config", "configs/cuhk_pedes.yaml", *settings(drawn, tmp_path, "train.epochs=8", "train.rounds=1")]
    journal = tmp_path / "captions" / "cuhk_qwen_gen_captions.journal.jsonl"
    status, errors = interrupt_when(started("gen_train_data.py", *arguments), journal, 2)
    assert status == 130, errors
    assert errors.strip().splitlines()[-1] == "interrupted: run the same command again to resume"
    assert "Traceback" not in errors
    answered = journal.read_bytes()
    assert subprocess.run([sys.executable, "gen_train_data.py", *arguments], cwd=REPOSITORY).returncode == 0
    assert journal.read_bytes().startswith(answered)
    assert journal.read_bytes().count(b"\n") == 64  # nothing was requested twice

    status, errors = interrupt_when(started("train.py", *arguments), tmp_path / "run" / "log.jsonl", 14)
    assert status == 130, errors
    assert "Traceback" not in errors
    assert subprocess.run([sys.executable, "train.py", *arguments], cwd=REPOSITORY).returncode == 0
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    epochs = [(event["round"], event["epoch"]) for event in events if event["event"] == "epoch"]
    assert epochs == [(-1, 0), *((0, epoch) for epoch in range(8))]
