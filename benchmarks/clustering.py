"""Compare time and memory of clustering, by step, with the published code and scikit-learn: a table in Markdown.

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

Steps = dict[str, dict[str, float]]  # seconds and memory of each step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 4000, 8000, 16000, 34054, 50000, 100000])
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--decay", type=float, default=2.0, help="decay of the variance along directions (default: 2)")
    parser.add_argument("--features", type=Path, help="a .npy file, instead of random features of those sizes")
    parser.add_argument("--eps", type=float, help="radius (default: as published, from all distances)")
    parser.add_argument("--repeats", type=int, default=3, help="processes per measurement; medians are reported")
    parser.add_argument(
        "--dense-up-to", type=int, default=8000, help="largest size of the dense baseline, which runs once"
    )
    parser.add_argument(
        "--scikit-learn-up-to", type=int, default=34054, help="largest size of the scikit-learn baseline"
    )
    parser.add_argument("--recall", type=int, nargs="*", default=[], help="sizes at which `knn: ivf` is measured")
    arguments = parser.parse_args()
    sizes = [len(np.load(arguments.features, mmap_mode="r"))] if arguments.features else arguments.sizes
    print(f"| images | dimensions | method | {' | '.join(STEPS)} | all, s | CPU, s | peak, MB | compared with ours |")
    print("|" + "---|" * (len(STEPS) + 7))
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            compare(arguments, size, Path(folder))
    for size in arguments.recall:
        found, _ = measure(arguments, "recall", size)
        near = found["neighbors"]
        result = f"{near['seconds']:.1f} s, {near['peak']:.0f} MB, recall {found['recall']['share']:.4f}"
        print(f"\nivf, {size} images: {result}", flush=True)


def compare(arguments: argparse.Namespace, size: int, folder: Path) -> None:
    """Print the rows of one size: ours, and the baselines that run at this size."""
    ours, labels = median([measure(arguments, "ours", size, folder / "ours.npy") for _ in range(arguments.repeats)])
    print_row(arguments, size, "ours", ours, "")
    for method in ("dense", "dense-half") if size <= arguments.dense_up_to else ():
        dense, other = measure(arguments, method, size, folder / "dense.npy")
        times = dense["all"]["seconds"] / ours["all"]["seconds"]
        comparison = f"{times:.1f} times as long, ARI {adjusted_rand_score(other, labels):.4f}"
        print_row(arguments, size, method, dense, comparison)
    if size <= arguments.scikit_learn_up_to:
        found, other = measure(arguments, "scikit-learn", size, folder / "scikit.npy")
        same = "the same labels" if np.array_equal(other, labels) else "OTHER LABELS"
        print_row(arguments, size, "scikit-learn", found, same)


def measure(arguments: argparse.Namespace, method: str, size: int, labels: Path | None = None) -> tuple[Steps, Any]:
    """Run one measurement in its own process; return its steps, and the labels if a file for them is given."""
    command = [sys.executable, "-m", "benchmarks.measure", method, "--count", str(size)]
    command += ["--dimensions", str(arguments.dimensions), "--decay", str(arguments.decay)]
    for name in ("features", "eps"):
        if getattr(arguments, name):
            command += [f"--{name}", str(getattr(arguments, name))]
    command += ["--labels", str(labels)] if labels else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    steps = json.loads(done.stdout.splitlines()[-1])["steps"]
    return steps, np.load(labels, allow_pickle=False) if labels else None


def median(runs: list[tuple[Steps, Any]]) -> tuple[Steps, Any]:
    """Return the medians of every step over several runs, and the labels of the first."""
    steps = {
        name: {what: statistics.median(run[name][what] for run, _ in runs) for what in step}
        for name, step in runs[0][0].items()
    }
    return steps, runs[0][1]


def print_row(arguments: argparse.Namespace, size: int, method: str, steps: Steps, comparison: str) -> None:
    """Print one row: seconds, and peak memory in brackets, of each step; CPU is the CPU time of all cores."""
    cells = [f"{steps[name]['seconds']:.2f} ({steps[name]['peak']:.0f})" if name in steps else "" for name in STEPS]
    total = steps.get("all")
    cells += [f"{total['seconds']:.2f}", f"{total['cpu']:.2f}", f"{total['peak']:.0f}"] if total else [""] * 3
    row = [str(size), str(arguments.dimensions), method, *cells, comparison]
    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
