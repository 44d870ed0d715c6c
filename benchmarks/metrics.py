"""Seconds and memory of figures and intervals at the sizes of CUHK-PEDES and ICFG-PEDES, beside sorting every row.

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

from retrieval.metrics import intervals, judge_queries
from utils.errors import run_script

SIZES = {"CUHK-PEDES": (6156, 3074, 1000), "ICFG-PEDES": (19848, 19848, 1000)}  # queries, gallery, people


def main(argv: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if argv is None else argv
    if given:
        print(json.dumps(measure(*given)))
        return
    print(
        "| size of | queries x gallery | way | seconds | peak, GB, of which scores | mAP |\n|---|---|---|---|---|---|"
    )
    for name, (queries, gallery, _) in SIZES.items():
        for way in ("ours, with intervals", "every row sorted, without"):
            command = [sys.executable, "-m", "benchmarks.metrics", name, way]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            memory = f"{told['peak']:.2f}, {4 * queries * gallery / 2**30:.2f}"
            print(
                f"| {name} | {queries} x {gallery} | {way} | {told['seconds']:.1f} | {memory} | {told['mAP']:.6f} |",
                flush=True,
            )


def measure(name: str, way: str) -> dict[str, float]:
    """One way at one size, in this process."""
    queries, gallery, people = SIZES[name]
    random = np.random.default_rng(0)
    scores = random.standard_normal((queries, gallery), dtype=np.float32)
    query_ids, gallery_ids = random.integers(0, people, queries), np.arange(gallery) % people
    judge_queries(scores[:2], query_ids[:2], gallery_ids)  # what is compiled is loaded
    start = time.perf_counter()
    if way.startswith("ours"):
        judged = judge_queries(scores, query_ids, gallery_ids)
        intervals(judged)
        value = judged.figures()["mAP"]
    else:
        value = sorted_map(scores, query_ids, gallery_ids)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "mAP": value}


def sorted_map(scores: NDArray, query_ids: NDArray, gallery_ids: NDArray) -> float:
    """mAP as scripts of the field compute it."""
    order = np.argsort(-scores, axis=1, kind="stable")
    right = gallery_ids[order] == query_ids[:, None]
    found = right.cumsum(axis=1)
    precision = (right * (found / np.arange(1, right.shape[1] + 1))).sum(axis=1) / np.maximum(found[:, -1], 1)
    return 100 * float(precision.mean())


if __name__ == "__main__":
    run_script(main)
