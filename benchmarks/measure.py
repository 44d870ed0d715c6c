"""One measurement, made in the current process: seconds and peak memory of each step, as a line of JSON."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from benchmarks.dense import dense_steps
from benchmarks.identities import draw_identities
from clustering import jaccard, pseudo_labels
from clustering.neighbors import find_neighbors
from clustering.pseudo_labels import assign_pseudo_labels

K1, K2, MIN_SAMPLES = 20, 6, 4
STEPS: dict[str, tuple[ModuleType, str]] = {
    "neighbors": (jaccard, "find_neighbors"),
    "reciprocal": (jaccard, "reciprocal_neighborhoods"),
    "expansion": (jaccard, "query_expansion"),
    "overlap": (jaccard, "pairwise_jaccard"),
    "eps": (pseudo_labels, "automatic_eps"),
    "DBSCAN": (pseudo_labels, "cluster_precomputed"),
}


class Clock:
    """Seconds, seconds of processor time, and peak memory in MB of named steps."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, float]] = {}
        self.start = (time.perf_counter(), time.process_time())

    def timed(self, name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call `function`, and record its time and memory under `name`."""
        forget_peak()
        start = time.perf_counter()
        result = function(*arguments, **options)
        self.steps[name] = {"seconds": time.perf_counter() - start, "peak": peak()}
        return result

    def total(self) -> None:
        """Record the totals since the clock was created."""
        most = max(resource_peak(), peak(), *(step["peak"] for step in self.steps.values()))
        seconds, busy = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        self.steps["all"] = {"seconds": seconds, "cpu": busy, "peak": most}


def ours(features: NDArray, eps: float | None, clock: Clock) -> NDArray:
    """`assign_pseudo_labels`, with a clock on each of its steps."""
    for name, (module, function) in STEPS.items():
        plain = getattr(module, function)

        def watched(*given: Any, _name: str = name, _plain: Callable[..., Any] = plain, **options: Any) -> Any:
            return clock.timed(_name, _plain, *given, **options)

        setattr(module, function, watched)
    found = assign_pseudo_labels(features, k1=K1, k2=K2, eps=eps or "auto", min_samples=MIN_SAMPLES)
    clock.total()
    return found.labels


def dense(features: NDArray, eps: float | None, clock: Clock, *, half: bool = False) -> NDArray:
    """The baseline."""
    steps = dense_steps(features, k1=K1, k2=K2, eps=eps, min_samples=MIN_SAMPLES, half=half)
    result: Any = None
    while (step := clock.timed("next", next, steps, None)) is not None:
        name, result = step
        clock.steps[name] = clock.steps.pop("next")
    clock.steps.pop("next")
    clock.total()
    return np.asarray(result)


def scikit_learn(features: NDArray, eps: float | None, clock: Clock) -> NDArray:
    """Its brute-force search, and its DBSCAN over our sparse distances."""
    search = NearestNeighbors(n_neighbors=K1 + 1, algorithm="brute").fit(features)
    clock.timed("neighbors", search.kneighbors)
    pairs: sparse.csr_matrix | None = None

    def caught(distance: sparse.csr_matrix, **_: Any) -> NDArray:
        nonlocal pairs
        pairs = distance
        return np.zeros(len(features), np.int64)

    with patch.object(pseudo_labels, "cluster_precomputed", caught):
        radius = assign_pseudo_labels(features, k1=K1, k2=K2, eps=eps or "auto", min_samples=MIN_SAMPLES).eps
    assert pairs is not None
    both = jaccard.symmetric(pairs, np.inf)
    dbscan = DBSCAN(eps=radius, min_samples=MIN_SAMPLES, metric="precomputed")
    return clock.timed("DBSCAN", dbscan.fit_predict, both)


def recall(features: NDArray, eps: float | None, clock: Clock) -> NDArray:
    """Of the true neighbors of 1,000 points, how many the inverted file finds."""
    found = clock.timed("neighbors", find_neighbors, features, K1 + 1, method="ivf", device="cpu").nearest
    sample = np.random.default_rng(0).choice(len(features), min(len(features), 1000), replace=False)
    norms = np.einsum("nd,nd->n", features, features)
    shares = []
    for part in np.array_split(sample, 20):
        near = np.argpartition(norms - 2 * features[part] @ features.T, K1 + 1, axis=1)[:, : K1 + 1]
        shares += [len(np.intersect1d(one, two)) / (K1 + 1) for one, two in zip(near, found[part], strict=True)]
    clock.steps["recall"] = {"share": float(np.mean(shares))}
    return np.empty(0)


METHODS: dict[str, Callable[[NDArray, float | None, Clock], NDArray]] = {
    "ours": ours,
    "dense": dense,
    "dense-half": partial(dense, half=True),
    "scikit-learn": scikit_learn,
    "recall": recall,
}


def forget_peak() -> None:
    """Reset the peak memory, if the system supports it."""
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5")


def peak() -> float:
    """Peak memory since `forget_peak`, in MB; since the process started, if the system cannot reset it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource_peak()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def resource_peak() -> float:
    """Peak memory since the process started, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--decay", type=float, default=2.0)
    parser.add_argument("--features", type=Path, help="a .npy file instead of drawn features")
    parser.add_argument("--eps", type=float, help="radius (default: as published)")
    parser.add_argument("--labels", type=Path, help="where to keep the labels")
    given = parser.parse_args()
    if given.features:
        features = np.load(given.features, allow_pickle=False)
    else:
        features, _ = draw_identities(given.count, given.dimensions, decay=given.decay)
    assign_pseudo_labels(draw_identities(300, 32)[0])  # load the compiled loops before timing
    before, clock = peak(), Clock()
    labels = METHODS[given.method](features, given.eps, clock)
    if given.labels:
        np.save(given.labels, labels)
    print(json.dumps({"before": before, "steps": clock.steps}))


if __name__ == "__main__":
    main()
