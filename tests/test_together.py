"""Several processes that train one model do what one does; they end together, and answer with one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from tests.group import REPOSITORY, in_a_group
from tests.group_losses import losses_and_gradients
from tests.small import quick_run, write_small_data
from tests.test_train import assert_same_run, events, weights
from utils.errors import UserError
from utils.launch import launch, processes_to_start

Small = tuple[Path, Path]
ONE_ROUND = ("train.rounds=1", "train.negatives=hardest")  # others are drawn, by each process for itself
TWO = ("run.processes=2", *ONE_ROUND)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    return write_small_data(folder / "data", folder / "captions")


@pytest.fixture(scope="module")
def whole(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by two processes that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole")
    done = started(quick_run(*small, run, *TWO))
    assert done.wait(timeout=150) == 0, told(done)
    assert told(done).count("trained:") == 1
    return run


def started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()


def test_a_global_batch_has_the_same_losses_and_gradients(tmp_path: Path) -> None:
    """ITC and the negatives of ITM see the pairs of all four processes, and gradients go back to where they belong."""
    in_a_group(4, "-m", "tests.group_losses", str(tmp_path / "found.pt"))
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for padded in (False, True):
        expected, together = losses_and_gradients(fuse_padding=padded), found[str(padded)]
        assert together.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(together[name], value, atol=1e-5), (padded, name)


def test_two_processes_extract_cluster_and_train_as_one(small: Small, whole: Path, tmp_path: Path) -> None:
    """Same labels, in the same order, from the same start; weights but for rounding; one log."""
    train.main(quick_run(*small, tmp_path, *ONE_ROUND))
    with np.load(tmp_path / "pseudo_labels_0.npz") as one, np.load(whole / "pseudo_labels_0.npz") as two:
        assert one["names"].tolist() == two["names"].tolist()
        assert one["labels"].tolist() == two["labels"].tolist()
    alone, together = events(tmp_path), events(whole)
    assert [event["event"] for event in together] == [event["event"] for event in alone]
    for first, second in zip(alone, together, strict=True):
        for name, value in first.items():
            assert second[name] == (value if isinstance(value, str) else pytest.approx(value, rel=0.02, abs=0.02)), name
    for name, value in weights(tmp_path / "last.pth").items():
        assert torch.allclose(weights(whole / "last.pth")[name], value, atol=2e-3), name


def test_told_to_make_room_they_save_and_go_on_to_the_same_end(small: Small, whole: Path, tmp_path: Path) -> None:
    """SIGTERM to the process that was started: exit status 0; the other number of processes cannot go on."""
    arguments = quick_run(*small, tmp_path, *TWO, "train.save_minutes=1.0e-9")
    run = started(arguments)
    while not (tmp_path / "last.pth").exists() and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) == 0, told(run)
    assert "trained:" not in told(run)
    with pytest.raises(UserError, match="processes 2 there, 1 now"):
        train.main(quick_run(*small, tmp_path, *ONE_ROUND, "run.processes=1"))
    again = started(arguments)
    assert again.wait(timeout=150) == 0, told(again)
    assert_same_run(whole, tmp_path)


def test_what_is_wrong_is_said_once(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both processes end, and one speaks: one line, and exit status 2."""
    monkeypatch.chdir(REPOSITORY)
    assert launch([sys.executable, "-m", "tests.group_error"], 2) == 2
    assert capfd.readouterr() == ("said by the first alone\n", "error: the disk is full\n")


def test_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As configured; or a GPU each, as many as divide the batch; and a started process starts no others."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert processes_to_start(None, "auto", 36) == 6
    assert processes_to_start(None, "cuda", 64) == 8
    assert processes_to_start(None, "cuda:1", 64) == 1
    assert processes_to_start(None, "cpu", 64) == 1
    assert processes_to_start(3, "cpu", 36) == 3
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_to_start(None, "auto", 36) == 1
