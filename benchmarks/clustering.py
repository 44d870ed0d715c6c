"""Time and memory of clustering, step by step, beside the published way and scikit-learn: one table in Markdown.

python -m benchmarks.clustering --sizes 1000 8000 34054 --dense-up-to 8000
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks.measure import STEPS

Measured = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 16000, 34054, 50000, 100000])
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--decay", type=float, default=2.0, help="of the variance along directions (default: 2)")
    parser.add_argument("--features", type=Path, help="a .npy file, instead of drawn features of those sizes")
    parser.add_argument("--eps", type=float, help="radius (default: as published, from all distances)")
    parser.add_argument("--repeats", type=int, default=3, help="processes a measurement; medians are told")
    parser.add_argument(
        "--dense-up-to", type=int, default=8000, help="largest size of the dense baseline; it runs once"
    )
    parser.add_argument("--scikit-learn-up-to", type=int, default=34054, help="largest size beside scikit-learn")
    parser.add_argument("--recall", type=int, nargs="*", default=[], help="sizes at which `knn: ivf` is measured")
    given = parser.parse_args()
    sizes = [len(np.load(given.features, mmap_mode="r"))] if given.features else given.sizes
    print(f"| images | dimensions | method | {' | '.join(STEPS)} | all, s | CPU, s | peak, MB | beside ours |")
    print("|" + "---|" * (len(STEPS) + 7))
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            compare(given, size, Path(folder))
    for size in given.recall:
        found, _ = measure(given, "recall", size)
        near = found["neighbours"]
        told = f"{near['seconds']:.1f} s, {near['peak']:.0f} MB, recall {found['recall']['share']:.4f}"
        print(f"\nivf, {size} images: {told}", flush=True)


def compare(given: argparse.Namespace, size: int, folder: Path) -> None:
    """Print the rows of one size: ours, and what it is compared with where that is wanted."""
    ours, labels = middle([measure(given, "ours", size, folder / "ours.npy") for _ in range(given.repeats)])
    tell(given, size, "ours", ours, "")
    for method in ("dense", "dense-half") if size <= given.dense_up_to else ():
        dense, other = measure(given, method, size, folder / "dense.npy")
        times = dense["all"]["seconds"] / ours["all"]["seconds"]
        told = f"{times:.1f} times as long, ARI {adjusted_rand_score(other, labels):.4f}"
        tell(given, size, method, dense, told)
    if size <= given.scikit_learn_up_to:
        found, other = measure(given, "scikit-learn", size, folder / "scikit.npy")
        same = "the same labels" if np.array_equal(other, labels) else "OTHER LABELS"
        tell(given, size, "scikit-learn", found, same)


def measure(given: argparse.Namespace, method: str, size: int, labels: Path | None = None) -> tuple[Measured, Any]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.measure", method, "--count", str(size)]
    command += ["--dimensions", str(given.dimensions), "--decay", str(given.decay)]
    for name in ("features", "eps"):
        if getattr(given, name):
            command += [f"--{name}", str(getattr(given, name))]
    command += ["--labels", str(labels)] if labels else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    steps = json.loads(done.stdout.splitlines()[-1])["steps"]
    return steps, np.load(labels, allow_pickle=False) if labels else None


def middle(runs: list[tuple[Measured, Any]]) -> tuple[Measured, Any]:
    """Medians of every step over several runs."""
    steps = {
        name: {what: statistics.median(run[name][what] for run, _ in runs) for what in step}
        for name, step in runs[0][0].items()
    }
    return steps, runs[0][1]


def tell(given: argparse.Namespace, size: int, method: str, steps: Measured, beside: str) -> None:
    """Print one row: seconds, and peak memory in brackets, of each step; CPU is the processor time of all cores."""
    cells = [f"{steps[name]['seconds']:.2f} ({steps[name]['peak']:.0f})" if name in steps else "" for name in STEPS]
    whole = steps.get("all")
    cells += [f"{whole['seconds']:.2f}", f"{whole['cpu']:.2f}", f"{whole['peak']:.0f}"] if whole else [""] * 3
    row = [str(size), str(given.dimensions), method, *cells, beside]
    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
