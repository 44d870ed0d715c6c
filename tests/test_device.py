"""The device is what was asked for; a GPU that torch cannot use is never silently replaced by the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from captioning.captioner import load_captioner
from data.loading import ImageLoader
from tests.captioner_options import captioner_options
from utils import device
from utils.errors import UserError


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:1"])
def test_a_gpu_with_an_old_driver_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which names the driver that this build of torch needs, and the way to the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device, "_device_files", lambda: ["nvidiactl", "nvidia0", "null"])
    monkeypatch.setattr(device, "driver_version", lambda: "550.54.14")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match=r"550\.54\.14.*run\.device=cpu") as error:
        device.pick_device(name)
    assert "580" in str(error.value)
    assert device.pick_device("cpu").type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the GPU is hidden on purpose
    assert device.pick_device("auto").type == "cpu"


def test_without_a_gpu_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a driver has left its control device behind."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_device_files", lambda: ["nvidiactl", "null"])
    assert device.pick_device("auto").type == "cpu"
    assert "CPU" in device.describe_device(torch.device("cpu"), "fp32")


class Failing(Dataset[int]):
    """Raises in a worker what torch raises when the shared memory is full."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        raise RuntimeError("unable to write to file </torch_12_34_56>: No space left on device (28)")


def test_full_shared_memory_is_one_line() -> None:
    """It names the options of docker and the key; without workers, such an error is none of theirs."""
    with pytest.raises(UserError, match=r"--shm-size.*--ipc=host.*train\.workers=0"):
        list(ImageLoader(Failing(), workers=1))
    with pytest.raises(RuntimeError):
        list(ImageLoader(Failing()))


@pytest.mark.parametrize("missing", ["compiler", "Python", "7.0", "triton", None])
def test_what_can_be_compiled_is_by_default_on_a_gpu(
    missing: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Where something is missing, one line says what; it is an error if compilation was asked for."""
    gpu = torch.device("cuda")
    (tmp_path / ("other.h" if missing == "Python" else "Python.h")).touch()
    monkeypatch.setenv("CC", "no-such-compiler" if missing == "compiler" else sys.executable)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1) if missing == "7.0" else (9, 0))
    monkeypatch.setattr(device, "find_spec", lambda name: None if missing == "triton" else name)
    assert device.should_compile("auto", gpu) == (missing is None)
    assert not device.should_compile("auto", torch.device("cpu"))
    assert not device.should_compile(False, gpu)
    assert (missing or "") in capsys.readouterr().err
    if missing:
        with pytest.raises(UserError, match=rf"train\.compile=true.*{missing}.*train\.compile=false"):
            device.should_compile(True, gpu)
    else:
        assert device.should_compile(True, gpu)


def test_workers_are_as_many_as_there_are_cores_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process's share of those that it may use, one is left to it; more workers than batches would idle."""
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    images = Failing()
    for cores, processes, batch, expected in (
        (8, 1, 1, 4),
        (4, 1, 1, 3),
        (8, 2, 1, 3),
        (8, 1, 2, 2),
        (1, 1, 1, 1),
        (4, "x", 1, 3),
    ):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        loader = ImageLoader(images, workers=None, batch_size=batch)
        assert (loader.num_workers, len(images)) == (expected, 4)
    assert ImageLoader(images, workers=9).num_workers == 4
    assert ImageLoader(images).num_workers == 0


def test_a_captioner_must_be_chosen_for_large_models() -> None:
    """Only if something is to be described."""
    captioner = load_captioner(captioner_options(backend=None), "cpu")
    assert list(captioner.describe([])) == []
    with pytest.raises(UserError, match=r"captioner\.backend.*palette"):
        list(captioner.describe([Path("a.jpg")]))


def test_memory_of_this_machine_that_is_too_small_is_one_line() -> None:
    """torch's allocator raises a RuntimeError on the CPU; other errors of its kind keep their traceback."""
    with pytest.raises(UserError, match=r"train\.batch_size"), device.explain_out_of_memory():
        torch.empty(2**50)
    with pytest.raises(UserError, match=r"train\.batch_size"), device.explain_out_of_memory():
        np.empty(2**50)
    with pytest.raises(RuntimeError, match="a fault"), device.explain_out_of_memory():
        raise RuntimeError("a fault")
