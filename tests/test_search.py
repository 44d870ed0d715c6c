"""The exact searches against all distances in float64: ties, cut coordinates, shares, the inverted file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from clustering.options import ClusterOptions
from clustering.pseudo_labels import assign_pseudo_labels, cluster_features
from clustering.search import cpu, gpu
from clustering.search import index as index_module
from clustering.search.cpu import search_cpu
from clustering.search.gpu import search_gpu
from clustering.search.index import SearchIndex
from clustering.search.ivf import search_ivf
from clustering.search.neighbors import find_neighbors, nearest_distances
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
    "flat": (RANDOM.normal(size=(900, 64)) / np.arange(1, 65) ** 2).astype(np.float32),
}
PEOPLE = (RANDOM.normal(size=(20, 8))[np.arange(400) % 20] + 0.2 * RANDOM.normal(size=(400, 8))).astype(np.float32)


def expected(features: NDArray, k: int) -> tuple[NDArray, NDArray]:
    distance = cdist(features.astype(float), features.astype(float), "sqeuclidean")
    farthest = distance.max(axis=1)
    np.fill_diagonal(distance, -1)
    return np.argsort(distance, axis=1, kind="stable")[:, :k], farthest


def in_original_order(index: SearchIndex, found: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
    back = np.argsort(index.order.numpy())
    return found[0][back], found[1][back]


@pytest.mark.parametrize("name", SETS)
def test_search_is_that_of_all_distances_in_double_precision(name: str) -> None:
    """Order, ties by index, the point itself first, and the farthest distance."""
    features, k = SETS[name], min(len(SETS[name]), 21)
    order, farthest = expected(features, k)
    found = find_neighbors(features, k, device="cpu")
    assert np.array_equal(found.nearest, order)
    assert found.farthest == pytest.approx(farthest, rel=1e-12)


@pytest.mark.parametrize("name", SETS)
def test_search_as_on_a_gpu_finds_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows of bounds at a time; candidates without any to spare, so that the bounds are looked through."""
    features, k = SETS[name], min(len(SETS[name]), 21)
    order, farthest = expected(features, k)
    monkeypatch.setattr(gpu, "_BOUNDS", 20_000)
    index = SearchIndex(features, k=k, coordinates=2)
    for extra_candidates in (index.extra_candidates, 1):
        index.extra_candidates = extra_candidates
        found = in_original_order(index, search_gpu(index, k, slice(0, len(index))))
        assert np.array_equal(found[0], order)
        assert found[1] == pytest.approx(farthest, rel=1e-12)


@pytest.mark.parametrize("coordinates", [1, 2, 8, 64])
def test_the_number_of_coordinates_changes_only_the_work(coordinates: int) -> None:
    """However few coordinates are kept, their bounds miss no neighbor."""
    features = SETS["flat"]
    order, farthest = expected(features, 21)
    index = SearchIndex(features, k=21, coordinates=coordinates)
    found = in_original_order(index, search_cpu(index, 21, slice(0, len(index))))
    assert np.array_equal(found[0], order)
    assert found[1] == pytest.approx(farthest, rel=1e-12)


def test_few_coordinates_are_searched_where_they_hold_nearly_everything() -> None:
    """Variance that falls steeply needs no products over all of the directions."""
    steep = RANDOM.normal(size=(4000, 128)) / np.arange(1, 129) ** 3
    assert SearchIndex(steep.astype(np.float32), k=21).reduced.shape[1] < 66
    assert SearchIndex(RANDOM.normal(size=(4000, 12)), k=21).reduced.shape[1] == 12 + 2


def test_a_share_of_the_points_has_the_same_neighbors() -> None:
    """A shard, as one process of several searches it."""
    index = SearchIndex(SETS["scattered"], k=5)
    whole, part = search_cpu(index, 5, slice(0, 300)), search_cpu(index, 5, slice(100, 250))
    assert np.array_equal(part[0], whole[0][100:250])
    assert np.array_equal(part[1], whole[1][100:250])


@pytest.mark.parametrize("name", ["ties", "flat", "far from the origin"])
def test_small_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few rows, and many tiles, most of which are irrelevant and the last of which is not full."""
    order, farthest = expected(SETS[name], 9)
    for module in (index_module, cpu):
        monkeypatch.setattr(module, "TILE", 16)
    monkeypatch.setattr(cpu, "_BLOCK", 5)
    found = find_neighbors(SETS[name], 9, device="cpu")
    assert np.array_equal(found.nearest, order)
    assert found.farthest == pytest.approx(farthest, rel=1e-12)


def test_irrelevant_tiles_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """People far apart from each other: most tiles are compared with few others."""
    scanned = 0
    real = cpu.scan_tile

    def counting(products: NDArray, *others: Any) -> None:
        nonlocal scanned
        scanned += products.size
        real(products, *others)

    monkeypatch.setattr(cpu, "scan_tile", counting)
    for module in (index_module, cpu):
        monkeypatch.setattr(module, "TILE", 20)
    monkeypatch.setattr(cpu, "_BLOCK", 20)
    features = np.repeat(100 * RANDOM.normal(size=(20, 3)), 20, axis=0) + RANDOM.normal(size=(400, 3))
    order, _ = expected(features, 9)
    assert np.array_equal(find_neighbors(features, 9, device="cpu").nearest, order)
    assert 0 < scanned < 400 * 400 / 2


def test_nearest_of_another_set() -> None:
    """Against all distances, whichever set is larger."""
    one, other = SETS["scattered"], SETS["scattered"][:7] + 0.1
    for first, second in ((one, other), (other, one)):
        assert nearest_distances(first, second) == pytest.approx(cdist(first, second, "sqeuclidean").min(axis=1))


def test_the_inverted_file_finds_nearly_all_and_all_if_it_looks_everywhere() -> None:
    """Recall with a few lists looked into, and with every one."""
    features = SETS["flat"]
    order, farthest = expected(features, 11)
    index = SearchIndex(features, k=11)
    some, _ = in_original_order(index, search_ivf(index, 11, slice(0, 900), probes=8))
    assert 0.95 < np.mean([len(np.intersect1d(a, b)) / 11 for a, b in zip(some, order, strict=True)]) <= 1
    every, far = search_ivf(index, 11, slice(100, 800), probes=10**6)
    queried = index.order[100:800].numpy()
    assert np.array_equal(every, order[queried])
    assert far == pytest.approx(farthest[queried])


def test_points_for_which_the_lists_hold_too_few_are_searched_for_in_all() -> None:
    """One list of forty points each cannot hold sixty neighbors."""
    features = SETS["scattered"]
    index = SearchIndex(features, k=60)
    found, _ = in_original_order(index, search_ivf(index, 60, slice(0, 300), probes=1))
    assert np.array_equal(found, expected(features, 60)[0])


def test_ivf_is_for_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below its threshold the search is exact; from there on the inverted file is used."""
    calls = []

    def approximate(*arguments: object) -> tuple[NDArray, NDArray]:
        calls.append(arguments)
        return expected(SETS["flat"], 21)

    monkeypatch.setattr("clustering.search.neighbors.search_ivf", approximate)
    values = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "metric": "precomputed", "source_weight": 0.0}
    options = build(ClusterOptions, values | {"knn": "ivf"})
    cluster_features(SETS["flat"], options)
    assert not calls
    monkeypatch.setattr("clustering.search.neighbors.MIN_POINTS", 900)
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
