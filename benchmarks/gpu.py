"""Run every benchmark and trial that needs a GPU, and write one page of Markdown; `benchmarks/gpu.bash` starts it.

Each section runs in processes of its own. One that fails is reported on the page with its error, and the others go on.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.gpu_sections import FULL, ROOT, SECTIONS, SMALL, Trial
from utils.device import driver_version, pick_device
from utils.errors import run_script
from utils.files import write_text
from utils.logs import log


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "output" / "gpu.md", help="the page (default: output/gpu.md)"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu tries the script itself")
    parser.add_argument("--small", action="store_true", help="small sizes, whose figures say nothing")
    parser.add_argument("--captioner", metavar="MODEL", help="folder or hub name of a model for the local captioner")
    given = parser.parse_args(argv)
    device, sizes = pick_device(given.device), SMALL if given.small else FULL
    passed: list[bool] = []
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(device, sizes, Path(folder), given.captioner)
        page = f"# {describe_machine(trial, small=given.small)}\n"
        for title, section in SECTIONS.items():
            start = time.monotonic()
            log.info(f"{title} ...")
            text, passes = attempt(section, trial)
            passed.append(passes)
            page += f"\n## {title}\n\n{text}\n\n{time.monotonic() - start:.0f} s\n"
            write_text(given.out, page)  # after each section, so that a stopped script leaves what it has
    failed = [title for title, passes in zip(SECTIONS, passed, strict=True) if not passes]
    verdict = f"failed: {', '.join(failed)}" if failed else "all sections passed"
    write_text(given.out, f"{page}\n{len(passed)} sections, {verdict}\n")
    log.info(f"{given.out}: {verdict}")
    return 1 if failed else 0


def attempt(section: Callable[[Trial], str], trial: Trial) -> tuple[str, bool]:
    """Return the text of a section, or its error, and whether it passed."""
    try:
        return section(trial).strip(), True
    except Exception as error:  # whatever it is, it must not stop the other sections
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        log.warning(f"failed: {reason}")
        return f"**Failed:** {reason}", False


def describe_machine(trial: Trial, *, small: bool) -> str:
    """Return the title and a table of what the figures depend on."""
    cuda = trial.device.type == "cuda"
    names = [torch.cuda.get_device_name(number) for number in range(trial.gpus)]
    cards = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if cuda else 0
    rows = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "card": f"{cards}, {memory:.0f} GiB" if cuda else "none: on the CPU, to try the script",
        "driver": driver_version() if cuda else "-",
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "NCCL": ".".join(map(str, torch.cuda.nccl.version())) if cuda else "-",
        "CPU": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}",
        "commit": _commit(),
        "sizes": "small: the figures say nothing" if small else f"of {trial.sizes.preset}",
    }
    return "GPU report\n\n| | |\n|---|---|\n" + "\n".join(f"| {name} | {row} |" for name, row in rows.items())


def _commit() -> str:
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    except OSError:  # there is no git
        return "not known"
    return found.stdout.strip() or "not known"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes of a section end, too
    run_script(main)
