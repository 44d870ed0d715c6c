"""The exact search against all distances in float64: ties, rounding, outliers, shards; and the inverted file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from clustering import neighbors
from clustering.neighbors import ExactIndex, find_neighbors, nearest_distances, search_ivf
from clustering.options import ClusterOptions
from clustering.pseudo_labels import assign_pseudo_labels, cluster_features
from tests.group import in_a_group
from utils.errors import UserError
from utils.options import build

RANDOM = np.random.default_rng(0)
SETS: dict[str, NDArray] = {
    "one": RANDOM.normal(size=(1, 3)),
    "two": RANDOM.normal(size=(2, 3)),
    "scattered": RANDOM.normal(size=(300, 12)),
    "half": RANDOM.normal(size=(300, 12)).astype(np.float16),
    "far from the origin": RANDOM.normal(size=(300, 12)) + 1e4,
    "ties": RANDOM.integers(0, 3, (400, 3)).astype(np.float32),
    "equal": np.ones((200, 4)),
    "copies": np.repeat(RANDOM.normal(size=(8, 3)), 60, axis=0),
    "outliers": np.concatenate([RANDOM.normal(size=(300, 12)), 1e6 * RANDOM.normal(size=(3, 12))]),
    "indistinct": (1 + 1e-9 * RANDOM.normal(size=(300, 12))),
    "flat": (RANDOM.normal(size=(900, 64)) / np.arange(1, 65) ** 2).astype(np.float32),
}
PEOPLE = (RANDOM.normal(size=(20, 8))[np.arange(400) % 20] + 0.2 * RANDOM.normal(size=(400, 8))).astype(np.float32)


def expected(features: NDArray, k: int) -> tuple[NDArray, NDArray]:
    distance = cdist(features.astype(float), features.astype(float), "sqeuclidean")
    farthest = distance.max(axis=1)
    np.fill_diagonal(distance, -1)
    return np.argsort(distance, axis=1, kind="stable")[:, :k], farthest


@pytest.mark.parametrize("name", SETS)
def test_search_is_that_of_all_distances_in_double_precision(name: str) -> None:
    """Order, ties by index, the point itself first, and the farthest distance."""
    features, k = SETS[name], min(len(SETS[name]), 21)
    order, farthest = expected(features, k)
    found = find_neighbors(features, k, device="cpu")
    assert np.array_equal(found.nearest, order)
    assert found.farthest == pytest.approx(farthest, rel=1e-12)


@pytest.mark.parametrize("margin", [1, 11])
@pytest.mark.parametrize("max_candidates", [30, 2048])
@pytest.mark.parametrize("name", SETS)
def test_more_candidates_are_taken_where_rounding_may_have_missed_a_neighbor(
    name: str, margin: int, max_candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hardly a candidate to spare at first; then more, or all points where faiss returns no more; a few at a time."""
    features, k = SETS[name].astype(float), min(len(SETS[name]), 21)
    order, farthest = expected(features, k)
    monkeypatch.setattr(neighbors, "_MAX_CANDIDATES", max_candidates)
    monkeypatch.setattr(neighbors, "_ROWS", 37)
    monkeypatch.setattr(neighbors, "_CELLS", 5000)
    index, rows = ExactIndex(features, "cpu"), np.arange(len(features))
    assert np.array_equal(index.search(features, rows, k, self_first=True, margin=margin)[0], order)
    found = index.search(features, rows, 1, farthest=True, margin=margin)[1]
    assert found[:, 0] == pytest.approx(farthest, rel=1e-12)


def test_a_shard_has_the_same_neighbors() -> None:
    """The points that one process of several searches; it may have none."""
    features = SETS["scattered"]
    index, rows = ExactIndex(features, "cpu"), np.arange(300)
    all_rows = index.search(features, rows, 5, self_first=True)
    for part in (rows[100:250], rows[:0]):
        for found, all_found in zip(index.search(features, part, 5, self_first=True), all_rows, strict=True):
            assert np.array_equal(found, all_found[part])


@pytest.mark.parametrize(("device", "gpus", "used"), [("cuda:1", 2, 1), ("cuda:1", 0, None), ("cpu", 2, None)])
def test_a_gpu_is_used_where_faiss_supports_it(
    device: str, gpus: int, used: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is requested; a faiss without GPUs searches on the CPU."""
    moved = []

    def to_gpu(resources: object, number: int, index: object) -> object:
        moved.append(number)
        return index

    monkeypatch.setattr("faiss.get_num_gpus", lambda: gpus)
    monkeypatch.setattr("faiss.StandardGpuResources", object)
    monkeypatch.setattr("faiss.index_cpu_to_gpu", to_gpu)
    monkeypatch.setattr("clustering.neighbors.MIN_IVF_POINTS", 300)
    methods: list[Literal["exact", "ivf"]] = ["exact", "ivf"] if used is not None else ["exact"]
    for method in methods:  # on a GPU, the exact search takes the place of the inverted file
        moved.clear()
        found = find_neighbors(SETS["scattered"], 5, method=method, device=device).nearest
        assert np.array_equal(found, expected(SETS["scattered"], 5)[0])
        assert moved == ([] if used is None else [used])


def test_a_gpu_that_faiss_cannot_use_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message, and a search on the CPU; an error on the CPU stays one."""

    def no_memory(*_: object) -> object:
        raise RuntimeError("alloc fail\ncudaMalloc error out of memory [2]")

    monkeypatch.setattr("faiss.get_num_gpus", lambda: 1)
    monkeypatch.setattr("faiss.StandardGpuResources", object)
    monkeypatch.setattr("faiss.index_cpu_to_gpu", no_memory)
    found = find_neighbors(SETS["scattered"], 5, device="cuda:0").nearest
    assert np.array_equal(found, expected(SETS["scattered"], 5)[0])
    assert "out of memory" in capsys.readouterr().err
    monkeypatch.setattr("faiss.IndexFlatIP", no_memory)
    with pytest.raises(RuntimeError, match="alloc"):
        find_neighbors(SETS["scattered"], 5, device="cpu")


@pytest.mark.parametrize("name", ["scattered", "half", "outliers"])
def test_nearest_of_another_set(name: str) -> None:
    """Against all distances, whichever set is larger."""
    one = SETS[name]
    other = one[-7:] + one.dtype.type(0.1)
    for first, second in ((one, other), (other, one)):
        distances = cdist(first.astype(float), second.astype(float), "sqeuclidean").min(axis=1)
        assert nearest_distances(first, second) == pytest.approx(distances)


def test_the_inverted_file_finds_nearly_all_and_all_if_it_looks_everywhere() -> None:
    """Recall with a few lists looked into, and with every one."""
    features = SETS["flat"]
    order, farthest = expected(features, 11)
    rows = np.arange(900)
    some, _ = search_ivf(features, rows, 11, probes=8)
    assert 0.95 < np.mean([len(np.intersect1d(a, b)) / 11 for a, b in zip(some, order, strict=True)]) <= 1
    every, far = search_ivf(features, rows[100:800], 11, probes=10**6)
    assert np.array_equal(every, order[100:800])
    assert far[:, 0] == pytest.approx(farthest[100:800])


def test_points_for_which_the_lists_hold_too_few_are_searched_for_in_all() -> None:
    """One list of forty points each cannot hold sixty neighbors."""
    features = SETS["scattered"]
    found, _ = search_ivf(features, np.arange(300), 60, probes=1)
    assert np.array_equal(found, expected(features, 60)[0])


def test_ivf_is_for_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below its threshold the search is exact; from there on the inverted file is used."""
    calls = []

    def approximate(*arguments: object) -> tuple[NDArray, NDArray]:
        calls.append(arguments)
        nearest, farthest = expected(SETS["flat"], 21)
        return nearest, farthest[:, None]

    monkeypatch.setattr("clustering.neighbors.search_ivf", approximate)
    values: dict[str, object] = {"whiten": 0.0, "k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4}
    values |= {"metric": "precomputed", "source_weight": 0.0}
    options = build(ClusterOptions, values | {"knn": "ivf"})
    cluster_features(SETS["flat"], options)
    assert not calls
    monkeypatch.setattr("clustering.neighbors.MIN_IVF_POINTS", 900)
    cluster_features(SETS["flat"], options)
    assert calls
    with pytest.raises(UserError, match=r"knn='hnsw' .*'exact' or 'ivf'"):
        build(ClusterOptions, values | {"knn": "hnsw"})


def test_two_processes_share_the_search(tmp_path: Path) -> None:
    """Under torchrun each searches its half; only rank 0 writes and prints, and the labels are those of one process."""
    np.save(tmp_path / "features.npy", PEOPLE)
    command = [str(tmp_path / "features.npy"), "--eps", "0.5", "--device", "cpu", "--out", str(tmp_path / "two.npy")]
    output = in_a_group(2, "-m", "clustering", *command)
    single = assign_pseudo_labels(PEOPLE, eps=0.5).labels
    assert single.max() > 1
    assert np.array_equal(np.load(tmp_path / "two.npy"), single)
    assert output.count("400 x 8 float32 features") == 1
