"""A run that is interrupted in the middle of an epoch gives the same result as an uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import train
from tests.small import Small, quick_run
from tests.test_train import assert_same_run, events, weights
from training.epoch import train_epoch
from utils.errors import UserError

ROOT = Path(__file__).parents[1]


def signalled_at(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, epoch: int, step: int) -> None:
    """Send this process a signal in a step, counted over the epochs of the run."""
    real, seen = train_epoch, iter(range(100))

    def signalled(*args: Any, on_log: Callable[..., None], **named: Any) -> Any:
        this = next(seen)

        def then(**values: Any) -> None:
            on_log(**values)
            if (this, values["step"]) == (epoch, step):
                os.kill(os.getpid(), number)

        return real(*args, on_log=then, **named)

    monkeypatch.setattr("training.rounds.train_epoch", signalled)


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (2, 0), (4, 4)])
def test_on_sigterm_it_saves_and_ends_within_the_step(
    small: Small, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, step: int
) -> None:
    """SIGTERM in the warm-up, in an epoch, in its first and its last step: exit status 0, and the same result."""
    with monkeypatch.context() as patch:
        signalled_at(patch, signal.SIGTERM, epoch, step)
        assert train.main(quick_run(*small, tmp_path)) == 0
    steps = [event for event in events(tmp_path) if event["event"] == "step"]
    assert steps[-1]["step"] == step
    assert train.main(quick_run(*small, tmp_path)) == 0
    assert_same_run(uninterrupted, tmp_path)


def test_sigterm_to_the_process_group_leaves_the_workers_to_the_run(
    small: Small, uninterrupted: Path, tmp_path: Path
) -> None:
    """As `timeout` and schedulers send it: also to the processes that load images."""
    arguments = quick_run(*small, tmp_path, "train.workers=1")
    process = subprocess.Popen(
        [sys.executable, "train.py", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 100
    while not (tmp_path / "log.jsonl").is_file() or len(events(tmp_path)) < 4:
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert not (tmp_path / "metrics.json").exists()
    assert train.main(arguments) == 0
    assert_same_run(uninterrupted, tmp_path)


def test_an_interrupt_in_every_epoch(
    small: Small, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, and the same command again each time."""
    for epoch in range(5):
        with monkeypatch.context() as patch:
            signalled_at(patch, signal.SIGINT, 0 if epoch == 0 else 1, 2)
            with pytest.raises(KeyboardInterrupt):
                train.main(quick_run(*small, tmp_path))
    train.main(quick_run(*small, tmp_path))
    assert_same_run(uninterrupted, tmp_path)


def test_saving_within_an_epoch_changes_nothing(small: Small, uninterrupted: Path, tmp_path: Path) -> None:
    """After every step, with one worker process that loads images."""
    train.main(quick_run(*small, tmp_path, "train.save_minutes=1.0e-9", "train.workers=1"))
    assert_same_run(uninterrupted, tmp_path)


def test_a_run_killed_anywhere_ends_the_same(small: Small, uninterrupted: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments, with a checkpoint after every step."""
    arguments = quick_run(*small, tmp_path, "train.save_minutes=1.0e-9")
    kills = int(os.environ.get("TSN_KILLS", "1"))
    for number in range(kills):
        process = subprocess.Popen([sys.executable, "train.py", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
        before = (tmp_path / "last.pth").stat().st_mtime_ns if (tmp_path / "last.pth").exists() else 0
        while process.poll() is None:
            time.sleep(0.005)
            if (tmp_path / "last.pth").exists() and (tmp_path / "last.pth").stat().st_mtime_ns != before:
                time.sleep(0.02 * number)
                break
        process.kill()
        process.wait()
        assert weights(tmp_path / "last.pth")
    train.main(arguments)
    assert_same_run(uninterrupted, tmp_path)


def test_batches_by_identity_resume_too(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images of each of four pseudo-identities; a batch size that is not a multiple of it is refused."""
    by_identity = ("train.images_per_identity=2", "train.rounds=1")
    train.main(quick_run(*small, tmp_path / "uninterrupted", *by_identity))
    with monkeypatch.context() as patch:
        signalled_at(patch, signal.SIGTERM, 1, 1)
        train.main(quick_run(*small, tmp_path / "left", *by_identity))
    train.main(quick_run(*small, tmp_path / "left", *by_identity))
    assert_same_run(tmp_path / "uninterrupted", tmp_path / "left")
    with pytest.raises(UserError, match=r"train\.batch_size=8 is no multiple of train\.images_per_identity=3"):
        train.main(quick_run(*small, tmp_path / "odd", "train.images_per_identity=3"))
