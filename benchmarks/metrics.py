"""Time and memory of metrics and confidence intervals at the sizes of CUHK-PEDES and ICFG-PEDES, against sorting.

python -m benchmarks.metrics
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics import confidence_intervals, evaluate_queries
from utils.errors import run_script

SIZES = {"CUHK-PEDES": (6156, 3074, 1000), "ICFG-PEDES": (19848, 19848, 1000)}  # queries, gallery, people


def main(argv: Sequence[str] | None = None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments:
        print(json.dumps(measure(*arguments)))
        return
    print("| size of | queries x gallery | method | seconds | peak and scores, GB | mAP |\n|---|---|---|---|---|---|")
    for name, (queries, gallery, _) in SIZES.items():
        for way in ("ours, with intervals", "every row sorted, without"):
            command = [sys.executable, "-m", "benchmarks.metrics", name, way]
            run = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            memory = f"{run['peak']:.2f}, {4 * queries * gallery / 2**30:.2f}"
            print(
                f"| {name} | {queries} x {gallery} | {way} | {run['seconds']:.1f} | {memory} | {run['mAP']:.6f} |",
                flush=True,
            )


def measure(name: str, way: str) -> dict[str, float]:
    """Measure one method at one size, in this process."""
    queries, gallery, people = SIZES[name]
    random = np.random.default_rng(0)
    scores = random.standard_normal((queries, gallery), dtype=np.float32)
    query_ids, gallery_ids = random.integers(0, people, queries), np.arange(gallery) % people
    evaluate_queries(scores[:2], query_ids[:2], gallery_ids)  # loads the compiled loop
    start = time.perf_counter()
    if way.startswith("ours"):
        metrics = evaluate_queries(scores, query_ids, gallery_ids)
        confidence_intervals(metrics)
        value = metrics.means()["mAP"]
    else:
        value = sorted_map(scores, query_ids, gallery_ids)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "mAP": value}


def sorted_map(scores: NDArray, query_ids: NDArray, gallery_ids: NDArray) -> float:
    """mAP by sorting every row, as is common."""
    order = np.argsort(-scores, axis=1, kind="stable")
    matches = gallery_ids[order] == query_ids[:, None]
    found = matches.cumsum(axis=1)
    precision = (matches * (found / np.arange(1, matches.shape[1] + 1))).sum(axis=1) / np.maximum(found[:, -1], 1)
    return 100 * float(precision.mean())


if __name__ == "__main__":
    run_script(main)
