"""Device and numeric precision."""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from utils.distributed import launched_processes
from utils.errors import UserError
from utils.logs import log

Precision = Literal["fp32", "bf16", "fp16"]

_DRIVERS = {"11": 450, "12": 525, "13": 580}  # the oldest by version of CUDA, on Linux
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """`auto` is a GPU if there is one, `cuda` requires one; each of several processes uses the GPU of its local rank.

    Raises:
        UserError: there is no such GPU, one GPU is named for several processes, or torch cannot use the GPU of this
            machine.
    """
    several = launched_processes() > 1
    if name != "cpu":
        _check_driver()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and several:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    elif name.startswith("cuda:") and several:
        raise UserError(f"run.device={name} names one GPU, but there are several processes: set run.device=auto")
    try:
        device = torch.device(name)
    except RuntimeError:  # a number beyond all
        raise UserError(f"run.device={name}: there is no such GPU") from None
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise UserError(f"run.device={name}: there is no such GPU here ({torch.cuda.device_count()} found)")
    return device


def _check_driver() -> None:
    """Refuse to compute on the CPU because the driver of a GPU is too old for this build of torch, or missing."""
    if torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return
    if not any(re.fullmatch(r"nvidia\d+", name) for name in _device_files()):
        return
    needed = _DRIVERS.get((torch.version.cuda or "").partition(".")[0])
    build = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
    driver = f", which needs driver {needed} or newer" if needed else ""
    raise UserError(
        f"this machine has an NVIDIA GPU that torch {torch.__version__} cannot use: it {build}{driver}, and the driver "
        f"here is {driver_version()}. Install a newer driver, or the build of torch that fits this one (pytorch.org, "
        "Get started), or set run.device=cpu"
    )


def _device_files() -> list[str]:
    return [path.name for path in Path("/dev").glob("nvidia*")]


def driver_version() -> str:
    """Return the version of the NVIDIA driver of this machine, or "not known"."""
    try:
        match = re.search(r"Kernel Module\D*([\d.]+)", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        match = None
    return match[1] if match else "not known"


def should_compile(choice: Literal["auto"] | bool, device: torch.device) -> bool:
    """Return whether to compile: `auto` compiles on a GPU, unless something that this needs is missing here.

    Raises:
        UserError: something is missing, although compilation was asked for.
    """
    if not choice or (choice == "auto" and device.type != "cuda"):
        return False
    missing = _missing_for_compilation(device)
    if missing and choice != "auto":
        raise UserError(f"train.compile=true needs {missing}: install it, or set train.compile=false")
    if missing:
        log.warning(f"not compiled, so that steps are slower: train.compile=auto needs {missing}")
    return not missing


def _missing_for_compilation(device: torch.device) -> str | None:
    """Name what torch.compile needs and this machine lacks; torch itself would end in pages of errors."""
    compilers = ("cc", "gcc", "clang") if device.type == "cuda" else ("g++", "clang++")
    configured = os.environ.get("CC" if device.type == "cuda" else "CXX")
    if not any(shutil.which(name) for name in ((configured,) if configured else compilers)):
        return f"a C compiler ({' or '.join(compilers)})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "the headers of Python (python3-dev)"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (7, 0):
        return "a GPU of compute capability 7.0 or higher"
    if device.type == "cuda" and find_spec("triton") is None:
        return "the package triton"
    return None


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy to the device; to a GPU from pinned memory, so that the host does not wait."""
    if torch.device(device).type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def describe_device(device: torch.device, precision: str) -> str:
    """Return one line for the log: "NVIDIA H100 80GB HBM3, bf16" or "CPU with 2 threads, fp32"."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    return f"CPU with {torch.get_num_threads()} threads, {precision}"


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn an out-of-memory error, of the GPU or of this machine, into a `UserError` that names the keys to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise UserError(
                "the GPU's memory is too small for this run: set model.checkpointed_blocks (and model.offload=true), "
                "or a smaller train.batch_size, perhaps with train.accumulate; outside training, a smaller "
                "eval.batch_size"
            ) from error
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's, on the CPU
            raise UserError(
                "this machine's memory is too small for this run: set a smaller train.batch_size, eval.batch_size or "
                "model.image_size"
            ) from error
        raise


def pick_precision(name: Literal["auto"] | Precision, device: torch.device) -> Precision:
    """Return the precision: `auto` is bf16 on a GPU with native bf16, fp16 on an older one, and fp32 on the CPU.

    Raises:
        UserError: fp16 on the CPU, where gradients would not be scaled.
    """
    if name == "fp16" and device.type == "cpu":
        raise UserError("train.precision=fp16 needs a GPU: set train.precision=fp32 on the CPU")
    if name != "auto":
        return name
    if device.type != "cuda":
        return "fp32"
    with torch.cuda.device(device):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Autocast matrix products to `precision`; weights and sensitive operations stay in float32."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
