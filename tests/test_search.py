"""The exact search against all distances in float64: ties, cut coordinates, several processes, the inverted file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from clustering import inverted, search
from clustering.neighbours import find_neighbours, nearest_other
from clustering.search import Points, nearest_and_farthest
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[1]
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


@pytest.mark.parametrize("name", SETS)
def test_search_is_that_of_all_distances_in_double_precision(name: str) -> None:
    """Order, ties by index, the point itself first, and the farthest distance."""
    features, k = SETS[name], min(len(SETS[name]), 21)
    order, farthest = expected(features, k)
    found = find_neighbours(features, k, device="cpu")
    assert np.array_equal(found.nearest, order)
    assert found.farthest == pytest.approx(farthest, rel=1e-12)


@pytest.mark.parametrize("cut", [1, 2, 8, 64])
def test_a_cut_changes_the_work_alone(cut: int) -> None:
    """Whatever is cut off, the bound on it lets no neighbour be missed."""
    features = SETS["flat"]
    order, farthest = expected(features, 21)
    found = nearest_and_farthest(Points.of(features, k=21, cut=cut), 21)
    assert np.array_equal(found[0], order)
    assert found[1] == pytest.approx(farthest, rel=1e-12)


def test_few_coordinates_are_searched_where_they_hold_nearly_everything() -> None:
    """Variance that falls steeply needs no products over all of the directions."""
    steep = RANDOM.normal(size=(4000, 128)) / np.arange(1, 129) ** 3
    assert Points.of(steep.astype(np.float32), k=21).base.shape[1] < 65
    assert Points.of(SETS["scattered"], k=21).base.shape[1] == 13


def test_a_share_of_the_points_has_the_same_neighbours() -> None:
    """As one process of several searches."""
    points = Points.of(SETS["scattered"], k=5)
    whole, part = nearest_and_farthest(points, 5), nearest_and_farthest(points, 5, 100, 250)
    assert np.array_equal(part[0], whole[0][100:250])
    assert np.array_equal(part[1], whole[1][100:250])


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two rows, narrow tiles of which the last is not full, and candidates measured a few at a time."""
    order, _ = expected(SETS["ties"], 9)
    monkeypatch.setattr(search, "_TILE", 64)
    monkeypatch.setattr(search, "_CELLS", 900)
    monkeypatch.setattr(search, "_AT_ONCE", 64)
    assert np.array_equal(find_neighbours(SETS["ties"], 9, device="cpu").nearest, order)


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
    some, _ = inverted.approximate_neighbours(points, 11, probed=8)
    assert 0.95 < np.mean([len(np.intersect1d(a, b)) / 11 for a, b in zip(some, order, strict=True)]) <= 1
    every, far = inverted.approximate_neighbours(points, 11, 100, 800, probed=10**6)
    assert np.array_equal(every, order[100:800])
    assert far == pytest.approx(farthest[100:800])


def test_points_for_which_the_lists_hold_too_few_are_searched_exactly() -> None:
    """One list of forty points each cannot hold sixty neighbours."""
    features = SETS["scattered"]
    found, _ = inverted.approximate_neighbours(Points.of(features, k=60), 60, probed=1)
    assert all(len(set(row)) == 60 for row in found.tolist())
    assert np.array_equal(found[:, 0], np.arange(300))


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
