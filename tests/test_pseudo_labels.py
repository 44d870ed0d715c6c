"""Pseudo-labels: DBSCAN's rules, the published radius and labels, and their reported quality."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.cluster import DBSCAN
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import normalize

from clustering.dbscan import cluster_precomputed, cluster_rows
from clustering.eps import automatic_eps
from clustering.options import ClusterOptions
from clustering.pseudo_labels import assign_pseudo_labels, cluster_features, whitened
from clustering.quality import describe_quality, label_quality
from tests.fixtures import arrays
from tests.test_jaccard import blobs, dense_jaccard, dense_source
from utils.options import build

Labels = NDArray[np.int64]


@pytest.fixture(scope="module")
def stored() -> dict[str, NDArray]:
    return arrays("cluster_expected")


def same_clusters(one: Labels, other: Labels) -> bool:
    """Whether noise is the same and clusters are, whatever their numbers."""
    if not np.array_equal(one == -1, other == -1):
        return False
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def source_of(stored: dict[str, NDArray], kind: str) -> dict[str, object]:
    return {"source": stored["source"], "source_weight": 0.1} if kind == "source" else {}


@pytest.mark.parametrize("kind", ["plain", "source"])
def test_automatic_radius_is_the_published_one(stored: dict[str, NDArray], kind: str) -> None:
    """The mean of the smallest 1 % of the distances that are not zero."""
    found = assign_pseudo_labels(stored["features"], eps="auto", **source_of(stored, kind))  # type: ignore[arg-type]
    assert found.eps == pytest.approx(float(stored[f"{kind}_eps"]), abs=1e-6)


@pytest.mark.parametrize("kind", ["plain", "source"])
@pytest.mark.parametrize("eps", [0.5, 0.6])
def test_labels_over_distances_are_the_published_ones(stored: dict[str, NDArray], kind: str, eps: float) -> None:
    """The published distances, read as distances."""
    found = assign_pseudo_labels(stored["features"], eps=eps, **source_of(stored, kind))  # type: ignore[arg-type]
    assert same_clusters(found.labels, stored[f"{kind}_pre{eps}"])


@pytest.mark.parametrize("kind", ["plain", "source"])
def test_labels_over_rows_are_the_published_ones(stored: dict[str, NDArray], kind: str) -> None:
    """The published distances, read as feature rows, as the release does."""
    found = assign_pseudo_labels(
        stored["features"],
        eps=1.011,
        metric="rows",
        **source_of(stored, kind),  # type: ignore[arg-type]
    )
    assert same_clusters(found.labels, stored[f"{kind}_rows"])


@pytest.mark.parametrize("metric", ["precomputed", "rows"])
@pytest.mark.parametrize("weight", [0.0, 0.1, 0.3])
def test_labels_are_sklearns_over_the_dense_distances(metric: Literal["precomputed", "rows"], weight: float) -> None:
    """DBSCAN over a dense matrix that the test computes itself gives the same clusters, at several radii."""
    features, source = blobs(90, 9, 4, 0.4), blobs(40, 4, 8)
    distance = dense_jaccard(features, 8, 3)
    if weight:
        distance = dense_source(distance, features, source, weight)
    rows = distance.copy()
    if weight:  # the release's rows keep the source term on the diagonal
        offsets = (1 - np.exp(-cdist(features, source, "sqeuclidean"))).min(axis=1)
        np.fill_diagonal(rows, 2 * weight * offsets / offsets.max())
    sizes = set()
    for eps in (0.3, 0.5, 0.8) if metric == "precomputed" else (0.6, 1.0, 1.5):
        expected = DBSCAN(eps=eps, min_samples=3, metric="precomputed" if metric == "precomputed" else "euclidean")
        expected_labels = expected.fit_predict(distance if metric == "precomputed" else rows)
        found = assign_pseudo_labels(
            features, source=source, source_weight=weight, k1=8, k2=3, eps=eps, min_samples=3, metric=metric
        )
        assert same_clusters(found.labels, expected_labels)
        assert found.eps == eps
        assert (found.clusters, found.noise) == (expected_labels.max() + 1, (expected_labels == -1).sum())
        sizes.add((found.clusters, found.noise))
    assert len(sizes) > 1  # the radii differ in their clusters


def test_automatic_radius_leaves_out_the_diagonal_and_zeros() -> None:
    """By brute force over all pairs: zeros do not count, absent pairs count as 1 (or more, with a source)."""
    features, source = np.concatenate([blobs(70, 9, 4, 0.4), blobs(70, 9, 4, 0.4)[:10]]), blobs(40, 4, 8)
    for weight in (0.0, 0.2):
        distance = dense_jaccard(features, 4, 1)
        if weight:
            distance = dense_source(distance, features, source, weight)
        upper = np.sort(distance[np.triu_indices(80, 1)])
        upper = upper[upper >= 1e-6]
        found = assign_pseudo_labels(features, source=source, source_weight=weight, k1=4, k2=1, eps="auto")
        assert found.eps == pytest.approx(upper[: round(0.01 * len(upper))].mean(), abs=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_radius_of_any_share_counts_pairs_that_are_not_stored(share: float, weight: float) -> None:
    """A sparse matrix and offsets give the mean over the dense matrix that they represent."""
    random = np.random.default_rng(0)
    offsets = random.random(40) if weight else np.zeros(40)
    jaccard = np.where(random.random((40, 40)) < 0.3, random.uniform(0.1, 0.9, (40, 40)), 1.0)
    jaccard = np.triu(jaccard, 1) + np.triu(jaccard, 1).T
    dense = (1 - weight) * jaccard + weight * (offsets[:, None] + offsets[None])
    stored = sparse.csr_matrix(np.triu(np.where(jaccard < 1, dense, 0), 1))
    upper = np.sort(dense[np.triu_indices(40, 1)])
    expected = upper[: round(share * len(upper))].mean()
    assert automatic_eps(stored, offsets=offsets, weight=weight, share=share) == pytest.approx(expected, abs=1e-9)


def test_radius_without_pairs_is_one() -> None:
    """One point has no distance to derive a radius from."""
    assert automatic_eps(sparse.csr_matrix((1, 1)), offsets=np.zeros(1), weight=0.0) == 1.0


def test_a_point_needs_enough_neighbors_and_the_ball_is_closed() -> None:
    """By hand: a chain of four points 0.5 apart is one cluster at eps 0.5; a fifth one farther away is noise."""
    stored = sparse.csr_matrix(np.triu(np.full((5, 5), 0.9), 1))
    for point in range(3):
        stored[point, point + 1] = 0.5
    assert cluster_precomputed(stored, eps=0.5, min_samples=3).tolist() == [0, 0, 0, 0, -1]
    assert cluster_precomputed(stored, eps=0.5, min_samples=4).tolist() == [-1] * 5


def test_no_points_have_no_labels() -> None:
    """An empty set gets an empty array."""
    empty = sparse.csr_matrix((0, 0))
    assert cluster_precomputed(empty, eps=0.5, min_samples=2).shape == (0,)
    assert cluster_rows(empty, np.zeros(0), 0.0, eps=0.5, min_samples=2).shape == (0,)


def test_quality_counts_each_noise_image_as_a_separate_person() -> None:
    """ARI and NMI are scikit-learn's of labels in which every -1 is another number."""
    labels = np.array([0, 0, 1, 1, 1, -1, -1, 2, 2, -1])
    people = np.array([5, 5, 6, 6, 7, 7, 7, 8, 8, 8])
    apart = np.array([0, 0, 1, 1, 1, 10, 11, 2, 2, 12])
    quality = label_quality(labels, people)
    assert quality["ari"] == pytest.approx(adjusted_rand_score(people, apart))
    assert quality["nmi"] == pytest.approx(normalized_mutual_info_score(people, apart))
    assert {name: quality[name] for name in ("clusters", "noise", "largest", "mean_size")} == {
        **{"clusters": 3, "noise": 3, "largest": 3},
        "mean_size": 2.33,
    }
    text = describe_quality(quality)
    assert text.startswith("3 clusters, 3 noise, ARI 0.")
    assert f"precision {quality['precision']:.3f}, recall {quality['recall']:.3f}" in text


def test_leaving_out_hard_images_does_not_raise_the_agreement() -> None:
    """With two images correct and the rest noise, the ARI is far from 1."""
    people = np.arange(20) // 2
    labels = np.full(20, -1)
    labels[:2] = 0
    assert label_quality(people, people)["ari"] == pytest.approx(1)
    assert label_quality(labels, people)["ari"] < 0.25


def test_quality_without_person_ids_counts_alone() -> None:
    """Without person ids there is no agreement to report; all noise is no error."""
    quality = label_quality(np.array([-1, -1]))
    assert quality == {"clusters": 0, "noise": 2, "largest": 0, "mean_size": 0.0, "median_size": 0.0}
    assert describe_quality(quality) == "0 clusters, 2 noise"


def test_whitening_gives_the_principal_components_equal_variance() -> None:
    """At full strength the rows are those of scikit-learn, up to the rotation, which changes no distance."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 8))  # three directions without variance
    others = rng.normal(size=(4, 5)) @ rng.normal(size=(5, 8)) + 1
    pca = PCA(n_components=5, whiten=True).fit(features)
    rows, of_others = whitened(features, 1.0, others)
    for found, given in ((rows, features), (of_others, others)):
        expected = normalize(pca.transform(given)) @ normalize(pca.transform(features)).T
        assert found @ rows.T == pytest.approx(expected, abs=1e-5)


def test_weak_whitening_scales_components_by_a_power_of_their_deviation() -> None:
    """Deviations of 3 to 1 become deviations of 3^0.5 to 1, in rows of unit length."""
    (rows,) = whitened(np.array([[3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0, -1.0]]) + 7, 0.5)
    assert np.sort(np.abs(rows), axis=1) == pytest.approx(np.array([[0.5, 3**0.5 / 2]] * 4), abs=1e-6)
    assert len(np.unique(rows.round(5), axis=0)) == 4


def test_whitening_is_off_unless_it_is_asked_for() -> None:
    features = blobs(120, 12, 0) * [9, 1, 1, 1, 1, 1]
    values = {"whiten": 0.0, "k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4}
    options = build(ClusterOptions, values | {"metric": "precomputed", "knn": "exact", "source_weight": 0.0})
    plain, whitens = cluster_features(features, options), cluster_features(features, replace(options, whiten=1.0))
    assert np.array_equal(plain.labels, assign_pseudo_labels(features, eps=0.5).labels)
    assert np.array_equal(whitens.labels, assign_pseudo_labels(whitened(features, 1.0)[0], eps=0.5).labels)
    assert not np.array_equal(whitens.labels, plain.labels)
