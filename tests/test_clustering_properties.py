"""What must hold of any features: order does not matter, copies belong together, distances are distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN

from clustering.dbscan import cluster_precomputed
from clustering.jaccard import jaccard_distance, symmetric, upper_jaccard
from clustering.pseudo_labels import assign_pseudo_labels
from tests.test_jaccard import dense_jaccard, filled
from tests.test_pseudo_labels import same_clusters
from utils.errors import UserError

quickly = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**32 - 1)
floats = st.sampled_from([np.float16, np.float32, np.float64])


def people(seed: int, count: int, kind: type = np.float64) -> NDArray:
    """Points around a few centers, none twice."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(max(1, count // 5), 5))
    return (centers[random.integers(0, len(centers), count)] + 0.3 * random.normal(size=(count, 5))).astype(kind)


@quickly
@given(seed=seeds, count=st.integers(0, 40), k1=st.integers(1, 60), k2=st.integers(1, 8), kind=floats)
def test_distances_are_those_of_the_definition(seed: int, count: int, k1: int, k2: int, kind: type) -> None:
    """Any size, any float type, more neighbors than points: as computed densely, symmetric, in [0, 1], 0 to itself."""
    features = people(seed, count, kind)
    found = jaccard_distance(features, k1=k1, k2=k2)
    dense = filled(found)
    assert found.shape == (count, count)
    assert np.array_equal(dense, dense.T)
    assert not dense.diagonal().any()
    assert ((found.data >= 0) & (found.data < 1)).all()
    if count > 1:
        assert np.abs(dense - dense_jaccard(features.astype(float), k1, k2)).max() < 1e-9


@quickly
@given(seed=seeds, count=st.integers(2, 50), eps=st.floats(0.1, 0.95))
def test_the_order_of_the_points_does_not_matter(seed: int, count: int, eps: float) -> None:
    """Permuted points have permuted distances, and the same noise and clusters of core points."""
    features, order = people(seed, count), np.random.default_rng(seed).permutation(count)
    one = filled(jaccard_distance(features, k1=8, k2=3))
    other = filled(jaccard_distance(features[order], k1=8, k2=3))
    assert np.abs(one[np.ix_(order, order)] - other).max() < 1e-12
    core = (one <= eps).sum(axis=1) >= 3
    labels = assign_pseudo_labels(features, k1=8, k2=3, eps=eps, min_samples=3).labels
    moved = assign_pseudo_labels(features[order], k1=8, k2=3, eps=eps, min_samples=3).labels
    assert np.array_equal(labels[order] == -1, moved == -1)
    # A point between two clusters belongs to the one that comes first, and that depends on the order.
    assert same_clusters(labels[order][core[order]], moved[core[order]])


@quickly
@given(seed=seeds, copies=st.integers(4, 6), kind=floats)
def test_copies_of_a_point_share_a_cluster(seed: int, copies: int, kind: type) -> None:
    """Every photograph several times over, with room for all copies among its neighbors."""
    features = people(seed, 12, kind)
    labels = assign_pseudo_labels(np.repeat(features, copies, axis=0), k1=copies - 1, k2=1, eps=0.3).labels
    for together in labels.reshape(12, copies):
        assert len(set(together.tolist())) == 1
        assert together[0] >= 0


@quickly
@given(count=st.integers(0, 40), k1=st.integers(1, 50), value=st.sampled_from([0.0, 1.0, -3.5]))
def test_equal_points_are_no_error(count: int, k1: int, value: float) -> None:
    """All points the same: distances are in range, and with room for all of them they are one cluster."""
    distance = filled(jaccard_distance(np.full((count, 3), value), k1=k1, k2=2))
    assert ((distance >= 0) & (distance <= 1)).all()
    if k1 >= count >= 4:
        assert assign_pseudo_labels(np.full((count, 3), value), k1=k1, k2=2, eps=0.1).labels.tolist() == [0] * count


@quickly
@given(seed=seeds, count=st.integers(1, 40), eps=st.floats(0.05, 1.5), weight=st.sampled_from([0.0, 0.1, 0.5]))
def test_labels_are_those_of_scikit_learn_at_any_radius(seed: int, count: int, eps: float, weight: float) -> None:
    """Over all N x N distances, also where the radius takes in pairs that share no neighbor; the numbers too."""
    features, source = people(seed, count), people(seed + 1, 9)
    distance = filled(jaccard_distance(features, k1=6, k2=2))
    if weight:
        stored = jaccard_distance(
            features, k1=6, k2=2, source=source, source_weight=weight, max_distance=1 + 2 * weight
        )
        assert stored.nnz == count**2
        distance = filled(stored)
    expected = DBSCAN(eps=eps, min_samples=3, metric="precomputed").fit_predict(distance)
    found = assign_pseudo_labels(features, k1=6, k2=2, eps=eps, min_samples=3, source=source, source_weight=weight)
    assert np.array_equal(found.labels, expected)


@quickly
@given(seed=seeds, count=st.integers(4, 60), share=st.floats(0.05, 0.6))
def test_labels_of_any_graph_are_numbered_as_scikit_learn_numbers_them(seed: int, count: int, share: float) -> None:
    """Random distances, with points between two clusters."""
    random = np.random.default_rng(seed)
    upper = np.triu(np.where(random.random((count, count)) < share, random.random((count, count)), 2.0), 1)
    dense = upper + upper.T
    stored = np.triu(np.where(dense <= 1, dense, 0), 1)
    found = cluster_precomputed(sparse.csr_matrix(stored), eps=0.4, min_samples=4)
    assert np.array_equal(found, DBSCAN(eps=0.4, min_samples=4, metric="precomputed").fit_predict(dense))


@quickly
@given(seed=seeds, bound=st.floats(0.05, 1.0))
def test_a_bound_leaves_out_what_is_beyond_and_nothing_else(seed: int, bound: float) -> None:
    """Pairs that are never stored are those that would be dropped."""
    features = people(seed, 40)
    everything = symmetric(upper_jaccard(features, k1=8, k2=3), bound)
    assert np.array_equal(filled(everything, 2), filled(jaccard_distance(features, k1=8, k2=3, max_distance=bound), 2))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named_by_their_rows(wrong: float) -> None:
    """One line."""
    features = people(0, 12)
    features[[3, 7], 1] = wrong
    with pytest.raises(UserError, match="features are not finite in rows 3, 7"):
        assign_pseudo_labels(features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 0}, "k1=0"),
        ({"k2": 0}, "k2=0"),
        ({"eps": -0.1}, r"eps=-0\.1 .*greater than 0"),
        ({"eps": 0}, "eps=0"),
        ({"eps": float("nan")}, "eps=nan"),
        ({"eps": "knee"}, "eps='knee' .*'auto' or 'silhouette'"),
        ({"eps": "silhouette", "metric": "rows"}, "eps=silhouette .*metric=precomputed"),
        ({"metric": "cosine"}, "metric='cosine' .*'precomputed' or 'rows'"),
        ({"min_samples": 0}, "min_samples=0"),
        ({"source": np.ones((3, 4)), "source_weight": 0.1}, r"source must be \[M, 5\]"),
        ({"source": np.ones((3, 5)), "source_weight": 1.0}, "source_weight=1"),
    ],
)
def test_impossible_settings_are_one_line(options: dict, message: str) -> None:
    """It names the problem."""
    with pytest.raises(UserError, match=message):
        assign_pseudo_labels(people(0, 12), **options)


def test_too_many_pairs_without_a_common_neighbor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a matrix that does not fit in memory, never labels of a part of the pairs."""
    monkeypatch.setattr("clustering.jaccard._MAX_ADDED_PAIRS", 50)
    with pytest.raises(UserError, match="pairs without a common neighbor"):
        assign_pseudo_labels(people(0, 60), source=people(1, 9), source_weight=0.1, eps=1.1)
