"""The k-reciprocal Jaccard distance: against a plain dense computation, and against the published code's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import cdist

from clustering.jaccard import jaccard_distance, source_offsets
from clustering.neighbors import find_neighbors
from tests.fixtures import arrays
from utils.errors import UserError

Dense = NDArray[np.float64]


def blobs(count: int, people: int, seed: int, spread: float = 0.6) -> Dense:
    """Points around a few centers, [count, 6]."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(people, 6))
    return centers[np.arange(count) % people] + spread * random.normal(size=(count, 6))


def dense_jaccard(features: Dense, k1: int, k2: int) -> Dense:
    """The method's definition, one point after the other: neighbors, expansion, weights, query expansion, overlap."""
    squared = cdist(features, features, "sqeuclidean")
    count = len(features)
    order = np.argsort(squared - np.eye(count), axis=1, kind="stable").tolist()  # itself first

    def reciprocal(i: int, size: int) -> set[int]:
        return {j for j in order[i][:size] if i in order[j][:size]}

    weights = np.zeros((count, count))
    for i in range(count):
        first = reciprocal(i, k1 + 1)
        members = set(first)
        for j in first:
            other = reciprocal(j, round(k1 / 2) + 1)
            if len(other & first) > 2 / 3 * len(other):
                members |= other
        chosen = sorted(members)
        weights[i, chosen] = np.exp(-squared[i, chosen] / squared[i].max())
        weights[i] /= weights[i].sum()
    weights = np.array([weights[order[i][:k2]].mean(axis=0) for i in range(count)])
    overlap = np.minimum(weights[:, None], weights[None]).sum(axis=2)
    distance = np.clip(1 - overlap / (2 - overlap), 0, 1)
    np.fill_diagonal(distance, 0)
    return distance


def dense_source(distance: Dense, features: Dense, source: Dense, weight: float) -> Dense:
    """`(1 - w) D + w (a_i + a_j)` off the diagonal."""
    offsets = (1 - np.exp(-cdist(features, source, "sqeuclidean"))).min(axis=1)
    offsets /= offsets.max()
    moved = (1 - weight) * distance + weight * (offsets[:, None] + offsets[None])
    np.fill_diagonal(moved, 0)
    return moved


def filled(distance: sparse.csr_matrix, absent: float = 1.0) -> Dense:
    """A dense copy with `absent` where nothing is stored; a stored zero stays zero."""
    dense = np.full(distance.shape, absent)
    entries = distance.tocoo()
    dense[entries.row, entries.col] = entries.data
    return dense


@pytest.mark.parametrize(("k1", "k2", "seed"), [(8, 3, 0), (20, 6, 1), (5, 1, 2), (7, 4, 3), (1, 1, 4), (90, 6, 5)])
def test_sparse_distance_is_the_dense_definition(k1: int, k2: int, seed: int) -> None:
    """Every pair agrees with the plain computation, for odd and even k1, no query expansion, and k1 above N."""
    features = blobs(80, 9, seed)
    assert np.abs(filled(jaccard_distance(features, k1=k1, k2=k2)) - dense_jaccard(features, k1, k2)).max() < 1e-9


@pytest.mark.parametrize("weight", [0.1, 0.4])
def test_source_term_is_the_dense_definition(weight: float) -> None:
    """With a source set, every pair below the bound is stored, and no other."""
    features, source = blobs(80, 9, 0), blobs(50, 5, 7) * 0.8
    expected = dense_source(dense_jaccard(features, 8, 3), features, source, weight)
    for bound in (0.6, 1.0, 1 + weight):
        found = jaccard_distance(features, k1=8, k2=3, source=source, source_weight=weight, max_distance=bound)
        inside = expected < bound
        assert np.abs(filled(found)[inside] - expected[inside]).max() < 1e-9
        assert found.nnz == inside.sum()


def test_source_offsets_grow_with_the_distance_to_the_nearest_source_point() -> None:
    """By hand: distances 0, 1 and 2 to the one source point, scaled by the largest."""
    offsets = source_offsets(np.array([[0.0, 0], [1, 0], [0, 2]]), np.array([[0.0, 0]]))
    assert offsets == pytest.approx([0, (1 - np.exp(-1)) / (1 - np.exp(-4)), 1])


def test_distance_is_symmetric_with_a_stored_zero_diagonal() -> None:
    """DBSCAN takes an absent entry for "far": each point's zero to itself must be stored."""
    distance = jaccard_distance(blobs(60, 6, 1), k1=8, k2=3)
    assert abs(distance - distance.T).max() < 1e-12
    rows = np.repeat(np.arange(60), np.diff(distance.indptr))
    assert sorted(rows[distance.indices == rows].tolist()) == list(range(60))
    assert not distance.diagonal().any()
    assert distance.data.min() >= 0
    assert distance.data.max() < 1


def test_duplicates_are_at_a_stored_zero() -> None:
    """Two photographs with one feature are zero apart, and that zero is an entry, not an absence."""
    five = blobs(5, 1, 0)
    features = np.concatenate(
        [five, five, five + 100, five + 100]
    )  # neighborhoods of 10, which k1 = 9 covers completely
    distance = jaccard_distance(features, k1=9, k2=1)
    for point, twin in ((0, 5), (4, 9), (12, 17)):
        row = slice(distance.indptr[point], distance.indptr[point + 1])
        assert twin in distance.indices[row]
        assert distance[point, twin] < 1e-12


def test_nothing_is_stored_for_pairs_without_a_common_neighbor() -> None:
    """Two far groups share nothing: the matrix holds two blocks only."""
    features = np.concatenate([blobs(20, 1, 0), blobs(20, 1, 1) + 100])
    distance = jaccard_distance(features, k1=6, k2=3).toarray()
    assert not distance[:20, 20:].any()
    assert not distance[20:, :20].any()


def test_half_precision_features_are_ranked_in_double_precision() -> None:
    """float16 features give the distances of the same numbers in float64."""
    features = blobs(60, 6, 2).astype(np.float16)
    assert np.abs(filled(jaccard_distance(features)) - dense_jaccard(features.astype(float), 20, 6)).max() < 1e-9


def test_neighbors_begin_with_the_point_itself_even_among_duplicates() -> None:
    """Fifty equal points: each comes first among its own neighbors, the rest in order of index."""
    nearest = find_neighbors(np.ones((50, 4)), 5).nearest
    assert nearest[:, 0].tolist() == list(range(50))
    assert all(len(set(row)) == 5 for row in nearest.tolist())


def test_published_distances_without_a_source_are_reproduced() -> None:
    """The published code's matrix (900 points), above its diagonal."""
    stored = arrays("cluster_expected")
    found = filled(jaccard_distance(stored["features"]))
    assert np.abs(found[np.triu_indices(900, 1)] - stored["plain_dist"]).max() < 1e-6


def test_published_distances_with_a_source_are_reproduced() -> None:
    """The published code's first 100 rows with a source set of weight 0.1; its diagonal is no distance."""
    stored = arrays("cluster_expected")
    found = jaccard_distance(stored["features"], source=stored["source"], source_weight=0.1, max_distance=1.3)
    different = np.abs(filled(found)[:100] - stored["source_dist"])
    np.fill_diagonal(different, 0)
    assert different.max() < 1e-6


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_handful_of_points_is_no_error(count: int) -> None:
    """No point, one and two points have distances too."""
    distance = jaccard_distance(np.eye(2)[:count])
    assert distance.shape == (count, count)
    assert not distance.diagonal().any()


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (np.ones(4), {}, r"must be a matrix \[N, D\] of floats"),
        (np.ones((4, 2), int), {}, r"must be a matrix \[N, D\] of floats"),
        (np.array([[0.0], [np.nan], [np.inf]]), {}, "not finite in rows 1, 2"),
        (np.array([[0.0], [1e20]]), {}, "as large as 1e\\+20"),
        (np.array([[0.0], [1e-20]]), {}, "as large as 1e-20"),
        (np.eye(3), {"k1": 0}, "k1 and k2 must be at least 1"),
        (np.eye(3), {"k2": 0}, "k1 and k2 must be at least 1"),
        (np.eye(3), {"source_weight": 1.0, "source": np.eye(3)}, r"must be in \[0, 1\)"),
        (np.eye(3), {"source_weight": 0.1}, "needs the features of a source set"),
    ],
)
def test_impossible_arguments_are_refused(features: NDArray, options: dict, message: str) -> None:
    """Each wrong argument is named."""
    with pytest.raises(UserError, match=message):
        jaccard_distance(features, **options)
