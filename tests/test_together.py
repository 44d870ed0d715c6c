"""Several processes that train one model do what a single one does, stop together, and print one message."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch._C._distributed_c10d import HashStore
from torch.testing._internal.distributed.fake_pg import FakeStore

import train
from tests.group import REPOSITORY, in_a_group
from tests.group_losses import LABELS, VARIANTS, batch, losses_and_gradients, small_model
from tests.small import Small, quick_run
from tests.test_train import assert_same_run, events, weights
from training.epoch import data_parallel
from utils import distributed
from utils.distributed import process_group
from utils.errors import UserError
from utils.launch import launch, processes_to_start
from utils.logs import is_main_rank

ONE_ROUND = ("train.rounds=1", "train.negatives=hardest")  # sampled ones would be drawn by each process separately
TWO = ("run.processes=2", *ONE_ROUND)


@pytest.fixture(scope="module")
def uninterrupted(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run by two processes."""
    run = tmp_path_factory.mktemp("uninterrupted")
    assert train.main(quick_run(*small, run, *TWO)) == 0
    return run


def test_a_global_batch_has_the_same_losses_and_gradients(tmp_path: Path) -> None:
    """ITC and the negatives of ITM see the pairs of all processes, and gradients go back to where they belong."""
    in_a_group(int(os.environ.get("TSN_PROCESSES", "2")), "-m", "tests.group_losses", str(tmp_path / "found.pt"))
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for variant, options in VARIANTS.items():
        expected, together = losses_and_gradients(**options), found[variant]
        assert together.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(together[name], value, atol=1e-5), (variant, name)


@pytest.mark.parametrize("rank", [0, 7])
def test_eight_processes_with_the_same_pairs_have_the_losses_of_one_with_all(rank: int) -> None:
    """In a group whose collectives return what this process gave to them, with gradients through each of them."""
    own, repeated = (*batch(), LABELS), [torch.cat([each] * 8) for each in (*batch(), LABELS)]
    expected = small_model()(*repeated)
    dist.init_process_group("fake", rank=rank, world_size=8, store=FakeStore())
    try:
        model = small_model()
        losses = data_parallel(model, matching=True)(*own)
        torch.stack(list(losses.values())).sum().backward()
        part = torch.ones(2, 3, requires_grad=True)
        (distributed.all_gather_with_grad(part) * torch.arange(16.0)[:, None]).sum().backward()
        assert part.grad is not None
        assert part.grad[:, 0].tolist() == [2 * rank, 2 * rank + 1]
        assert distributed.gather_shards(np.ones((2, 3)), 16).shape == (16, 3)
        assert distributed.all_gather_stack(torch.ones(4)).shape == (8, 4)
        assert float(distributed.all_reduce_mean(torch.tensor(8.0))) == 1  # the sum is left as it is
        assert distributed.all_reduce_max(3) == 3
        assert distributed.shard(10) == slice(10 * rank // 8, 10 * (rank + 1) // 8)
    finally:
        dist.destroy_process_group()
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)
    for name, loss in expected.items():
        assert float(losses[name].detach()) == pytest.approx(float(loss.detach()), abs=1e-5), name


def test_two_processes_extract_cluster_and_train_as_one(small: Small, uninterrupted: Path, tmp_path: Path) -> None:
    """Same labels, in the same order, from the same start; weights equal up to rounding; one log."""
    train.main(quick_run(*small, tmp_path, *ONE_ROUND))
    with np.load(tmp_path / "pseudo_labels_0.npz") as one, np.load(uninterrupted / "pseudo_labels_0.npz") as two:
        assert one["names"].tolist() == two["names"].tolist()
        assert one["labels"].tolist() == two["labels"].tolist()
    single, group = events(tmp_path), events(uninterrupted)
    assert [event["event"] for event in group] == [event["event"] for event in single]
    for first, second in zip(single, group, strict=True):
        for name, value in first.items():
            assert second[name] == (value if isinstance(value, str) else pytest.approx(value, rel=0.02, abs=0.02)), name
    found = weights(uninterrupted / "last.pth")
    for name, value in weights(tmp_path / "last.pth").items():
        assert torch.allclose(found[name], value, atol=2e-3), name


def test_after_sigterm_they_save_and_resume_to_the_same_end(
    small: Small, uninterrupted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM to the process that was started: exit status 0; a run cannot resume with another number of processes."""

    def send_sigterm() -> None:
        while not (tmp_path / "last.pth").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    arguments = quick_run(*small, tmp_path, *TWO, "train.save_minutes=1.0e-9")
    threading.Thread(target=send_sigterm, daemon=True).start()
    assert train.main(arguments) == 0
    output = capfd.readouterr()
    assert "trained:" not in output.out
    assert output.err.count("run the same command again") == 1
    with pytest.raises(UserError, match="processes was 2, now 1"):
        train.main(quick_run(*small, tmp_path, *ONE_ROUND, "run.processes=1"))
    assert train.main(arguments) == 0
    assert capfd.readouterr().out.count("trained:") == 1
    assert_same_run(uninterrupted, tmp_path)


def test_an_error_is_printed_once(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both processes end, but only rank 0 prints: one line, and exit status 2."""
    monkeypatch.chdir(REPOSITORY)
    assert launch([sys.executable, "-m", "tests.group_error"], 2) == 2
    assert capfd.readouterr() == ("printed by rank 0 only\n", "error: the disk is full\n")


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [
        (UserError("the disk is full"), 2, "error: the disk is full\n"),
        (ValueError("a fault"), 1, "ValueError: a fault\n"),
        (RuntimeError("NCCL communicator was aborted"), 2, "NCCL communicator was aborted)\n"),
        (SystemExit(0), 0, ""),
    ],
)
def test_on_gpus_an_error_is_printed_and_the_process_leaves_at_once(
    error: BaseException, status: int, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits for no collective; NCCL waits minutes for the others, and gloo as long as the clustering may take."""
    real, timeouts = dist.init_process_group, []

    def start(backend: str, timeout: timedelta) -> None:
        timeouts.append(timeout)
        real("gloo", store=HashStore(), rank=0, world_size=1, timeout=timeout)

    def leave(number: int) -> None:
        timeouts.append(dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout)  # type: ignore[union-attr]
        assert capsys.readouterr().err.endswith(printed)
        raise Left(number)

    class Left(BaseException):
        pass

    launcher = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr(dist, "init_process_group", start)
    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr("utils.distributed._ERROR_GRACE", 0.0)
    try:
        with pytest.raises(Left) as left, distributed.process_group(torch.device("cuda:0")):
            raise error
    finally:
        dist.destroy_process_group()
    assert left.value.args == (status,)
    assert timeouts == [timedelta(minutes=15), timedelta(hours=12)]


def test_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As configured, or one per GPU, as many as divide the batch; a process of a group starts no further ones."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    assert processes_to_start(None, "auto", 36) == 1  # 18 pairs a GPU would be no faster
    assert processes_to_start(None, "cuda", 96) == 3
    assert processes_to_start(None, "cuda", 256) == 8
    assert processes_to_start(None, "cuda") == 8
    assert processes_to_start(None, "cuda:1", 64) == 1
    assert processes_to_start(None, "cpu", 64) == 1
    assert processes_to_start(3, "cpu", 36) == 3
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_to_start(None, "auto", 36) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORLD_SIZE", "abc"),
        ("WORLD_SIZE", "0"),
        ("WORLD_SIZE", "9" * 30),
        ("RANK", ""),
        ("RANK", "2"),
        ("LOCAL_RANK", "-1"),
        ("MASTER_PORT", "x"),
        ("MASTER_PORT", "70000"),
        ("MASTER_ADDR", ""),
    ],
)
def test_variables_of_a_launcher_that_are_impossible_are_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any connection is tried; what is not set is impossible, too, if there are several processes."""
    whole = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for variable, usual in (whole | {name: value}).items():
        monkeypatch.setenv(variable, usual)
    with pytest.raises(UserError, match=name), process_group(torch.device("cpu")):
        pass


def test_one_process_speaks_whatever_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that some scheduler leaves behind silences nothing."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "3")
    assert is_main_rank()
    with process_group(torch.device("cpu")):
        pass
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not is_main_rank()
