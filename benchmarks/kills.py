"""Kill a training run (SIGKILL) repeatedly at random moments, and compare it with an uninterrupted one.

python -m benchmarks.kills output/demo output/killed --kills 10 --config configs/demo.yaml

The second folder must be new. The exit status is 0 if its weights and its log, without times, equal those of the first.
A GPU does not repeat a run to the bit: `--losses-within 0.05` requires the same epochs and steps, and mean losses that
differ by 5 % at most.
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import read_checkpoint
from training.saved_state import read_state
from utils.errors import UserError, run_script
from utils.files import read_jsonl

TIMES = ("seconds", "images_per_s")  # entries of the log that always differ


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, help="folder of an uninterrupted run of the same config")
    parser.add_argument("killed", type=Path, help="folder of the run to kill")
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", dest="overrides", nargs="+", default=[])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--within", type=float, default=60.0, help="seconds after a start (default: %(default)s)")
    parser.add_argument("--losses-within", type=float, metavar="SHARE", help="compare mean losses, not weights")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    if given.killed.exists():
        raise UserError(f"{given.killed} already exists: choose a new folder")
    command = [sys.executable, "train.py", "--config", given.config]
    command += ["--set", *given.overrides, f"run.dir={given.killed}", "train.save_minutes=0.1"]
    drawn = random.Random(given.seed)
    for number in range(given.kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = drawn.uniform(0, given.within)
        time.sleep(seconds)
        done = process.poll()
        process.kill()
        process.wait()
        where = "it had ended" if done is not None else _where(given.killed)
        print(f"kill {number + 1} after {seconds:.1f} s: {where}", flush=True)
    subprocess.run(command, check=True)
    if given.losses_within is not None:
        apart = losses_apart(_log(given.reference), _log(given.killed))
        print(f"mean losses differ by {apart:.2%} at most" if apart < math.inf else "other epochs or steps")
        return int(apart > given.losses_within)
    files = ("last.pth", "best.pth", "round.pth")
    wrong = [name for name in files if not _same(given.reference / name, given.killed / name)]
    wrong += [] if _log(given.reference) == _log(given.killed) else ["log.jsonl"]
    print(f"different: {', '.join(wrong)}" if wrong else "identical: all weights and the log")
    return 1 if wrong else 0


def _where(folder: Path) -> str:
    if not (folder / "last.pth").exists():
        return "nothing saved yet"
    state = read_state(folder)  # complete, whenever the process was killed
    midway = state["memory"].get("mid_epoch")
    steps = f" and {midway['step']} steps" if midway else ""
    return f"round {state['round']}, {state['epoch']} epochs{steps} saved"


def _same(one: Path, other: Path) -> bool:
    first, second = read_checkpoint(one)["model"], read_checkpoint(other)["model"]
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def losses_apart(reference: Sequence[dict[str, Any]], killed: Sequence[dict[str, Any]]) -> float:
    """The largest relative difference of an epoch's mean losses; infinity for other epochs or steps, or none."""
    places = [
        [tuple(line.get(key) for key in ("event", "round", "epoch", "step")) for line in log]
        for log in (reference, killed)
    ]
    pairs = [(one, other) for one, other in zip(reference, killed, strict=False) if one["event"] == "epoch"]
    if places[0] != places[1] or not pairs:
        return math.inf
    return max(abs(one[name] - other[name]) / abs(one[name]) for one, other in pairs for name in ("loss", "itc", "id"))


def _log(folder: Path) -> list[dict[str, Any]]:
    lines = read_jsonl(folder / "log.jsonl")
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


if __name__ == "__main__":
    run_script(main)
