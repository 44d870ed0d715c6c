"""The exact searches against all distances in float64: ties, cut coordinates, shares, the inverted file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from clustering import device_search, inverted, layout, search
from clustering.device_search import nearest_and_farthest_on_device
from clustering.layout import Points
from clustering.neighbours import find_neighbours, nearest_other
from clustering.pseudo_labels import assign_pseudo_labels
from clustering.search import nearest_and_farthest
from tests.group import in_a_group
from utils.errors import UserError

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


def in_given_order(points: Points, found: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
    back = np.argsort(points.order.numpy())
    return found[0][back], found[1][back]


@pytest.mark.parametrize("name", SETS)
def test_search_is_that_of_all_distances_in_double_precision(name: str) -> None:
    """Order, ties by index, the point itself first, and the farthest distance."""
    features, k = SETS[name], min(len(SETS[name]), 21)
    order, farthest = expected(features, k)
    found = find_neighbours(features, k, device="cpu")
    assert np.array_equal(found.nearest, order)
    assert found.farthest == pytest.approx(farthest, rel=1e-12)


@pytest.mark.parametrize("name", SETS)
def test_search_as_on_a_gpu_finds_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows of bounds at a time; candidates without any to spare, so that the bounds are looked through."""
    features, k = SETS[name], min(len(SETS[name]), 21)
    order, farthest = expected(features, k)
    monkeypatch.setattr(device_search, "_CELLS", 20_000)
    monkeypatch.setattr(device_search, "_AT_ONCE", 1000)
    points = Points.of(features, k=k, cut=2)
    for spare in (points.spare, 1):
        found = in_given_order(points, nearest_and_farthest_on_device(replace(points, spare=spare), k))
        assert np.array_equal(found[0], order)
        assert found[1] == pytest.approx(farthest, rel=1e-12)


@pytest.mark.parametrize("cut", [1, 2, 8, 64])
def test_a_cut_changes_the_work_alone(cut: int) -> None:
    """Whatever is cut off, the bound on it lets no neighbour be missed."""
    features = SETS["flat"]
    order, farthest = expected(features, 21)
    points = Points.of(features, k=21, cut=cut)
    found = in_given_order(points, nearest_and_farthest(points, 21))
    assert np.array_equal(found[0], order)
    assert found[1] == pytest.approx(farthest, rel=1e-12)


def test_few_coordinates_are_searched_where_they_hold_nearly_everything() -> None:
    """Variance that falls steeply needs no products over all of the directions."""
    steep = RANDOM.normal(size=(4000, 128)) / np.arange(1, 129) ** 3
    assert Points.of(steep.astype(np.float32), k=21).base.shape[1] < 66
    assert Points.of(RANDOM.normal(size=(4000, 12)), k=21).base.shape[1] == 12 + 2


def test_a_share_of_the_points_has_the_same_neighbours() -> None:
    """As one process of several searches."""
    points = Points.of(SETS["scattered"], k=5)
    whole, part = nearest_and_farthest(points, 5), nearest_and_farthest(points, 5, 100, 250)
    assert np.array_equal(part[0], whole[0][100:250])
    assert np.array_equal(part[1], whole[1][100:250])


@pytest.mark.parametrize("name", ["ties", "flat", "far from the origin"])
def test_small_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of few rows, and many boxes, most of which hold nothing of interest and the last of which is not full."""
    order, farthest = expected(SETS[name], 9)
    for module in (layout, search):
        monkeypatch.setattr(module, "TILE", 16)
    monkeypatch.setattr(search, "_BLOCK", 5)
    found = find_neighbours(SETS[name], 9, device="cpu")
    assert np.array_equal(found.nearest, order)
    assert found.farthest == pytest.approx(farthest, rel=1e-12)


def test_boxes_that_hold_nothing_of_interest_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """People far apart from each other: most boxes are compared with few others."""
    scanned = 0
    plain = search.kernels.scan

    def counting(cells: NDArray, *others: Any) -> None:
        nonlocal scanned
        scanned += cells.size
        plain(cells, *others)

    monkeypatch.setattr(search.kernels, "scan", counting)
    for module in (layout, search):
        monkeypatch.setattr(module, "TILE", 20)
    monkeypatch.setattr(search, "_BLOCK", 20)
    features = np.repeat(100 * RANDOM.normal(size=(20, 3)), 20, axis=0) + RANDOM.normal(size=(400, 3))
    order, _ = expected(features, 9)
    assert np.array_equal(find_neighbours(features, 9, device="cpu").nearest, order)
    assert 0 < scanned < 400 * 400 / 2


def test_nearest_of_another_set() -> None:
    """Against all distances, whichever set is larger."""
    one, other = SETS["scattered"], SETS["scattered"][:7] + 0.1
    for first, second in ((one, other), (other, one)):
        assert nearest_other(first, second) == pytest.approx(cdist(first, second, "sqeuclidean").min(axis=1))


def test_the_inverted_file_finds_nearly_all_and_all_if_it_looks_everywhere() -> None:
    """Recall with a few lists looked into, and with every one."""
    features = SETS["flat"]
    order, farthest = expected(features, 11)
    points = Points.of(features, k=11)
    some, _ = in_given_order(points, inverted.approximate_neighbours(points, 11, probed=8))
    assert 0.95 < np.mean([len(np.intersect1d(a, b)) / 11 for a, b in zip(some, order, strict=True)]) <= 1
    every, far = inverted.approximate_neighbours(points, 11, 100, 800, probed=10**6)
    asked = points.order[100:800].numpy()
    assert np.array_equal(every, order[asked])
    assert far == pytest.approx(farthest[asked])


def test_points_for_which_the_lists_hold_too_few_are_searched_for_in_all() -> None:
    """One list of forty points each cannot hold sixty neighbours."""
    features = SETS["scattered"]
    points = Points.of(features, k=60)
    found, _ = in_given_order(points, inverted.approximate_neighbours(points, 60, probed=1))
    assert np.array_equal(found, expected(features, 60)[0])


def test_ivf_is_for_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below its threshold the search is exact; above it the inverted file is asked."""
    asked = []

    def approximate(*given: object) -> tuple[NDArray, NDArray]:
        asked.append(given)
        return expected(SETS["flat"], 5)

    monkeypatch.setattr("clustering.neighbours.approximate_neighbours", approximate)
    find_neighbours(SETS["flat"], 5, method="ivf")
    assert not asked
    monkeypatch.setattr("clustering.neighbours.FROM", 900)
    find_neighbours(SETS["flat"], 5, method="ivf")
    assert asked
    with pytest.raises(UserError, match="knn must be 'exact' or 'ivf', not 'hnsw'"):
        find_neighbours(SETS["flat"], 5, method="hnsw")  # type: ignore[arg-type]


def test_two_processes_share_the_search(tmp_path: Path) -> None:
    """Under torchrun each searches for its half; one alone writes labels and speaks, and they are those of one."""
    np.save(tmp_path / "features.npy", PEOPLE)
    command = [str(tmp_path / "features.npy"), "--eps", "0.5", "--device", "cpu", "--out", str(tmp_path / "two.npy")]
    said = in_a_group(2, "-m", "clustering", *command)
    alone = assign_pseudo_labels(PEOPLE, eps=0.5).labels
    assert alone.max() > 1
    assert np.array_equal(np.load(tmp_path / "two.npy"), alone)
    assert said.count("400 x 8 float32 features") == 1
