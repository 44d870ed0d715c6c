"""Rank-k, mAP and mINP: by hand, against a plain computation, scikit-learn and the published figures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from retrieval.metrics import rank_metrics
from tests.fixtures import arrays, values


def plain_metrics(scores: NDArray, queries: NDArray, gallery: NDArray) -> dict[str, float]:
    """One query after the other, by the definitions."""
    hits: dict[str, list[float]] = {"R1": [], "R5": [], "R10": [], "mAP": [], "mINP": []}
    for row, person in zip(scores, queries, strict=True):
        order = np.lexsort((np.arange(len(gallery)), -row))
        places = [place for place, image in enumerate(order, 1) if gallery[image] == person]
        for k in (1, 5, 10):
            hits[f"R{k}"].append(float(any(place <= k for place in places)))
        precisions = [number / place for number, place in enumerate(places, 1)]
        hits["mAP"].append(sum(precisions) / len(places) if places else 0.0)
        hits["mINP"].append(len(places) / places[-1] if places else 0.0)
    return {name: 100 * sum(found) / len(found) for name, found in hits.items()}


def test_figures_worked_out_by_hand() -> None:
    """Right images at ranks 1 and 3 (query 0) and at rank 4 (query 1)."""
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]])
    found = rank_metrics(scores, np.array([1, 3]), np.array([1, 2, 1, 3]), ks=(1, 3, 4))
    # AP: (1/1 + 2/3) / 2 and 1/4; INP: 2/3 and 1/4.
    assert found == pytest.approx(
        {"R1": 50, "R3": 50, "R4": 100, "mAP": 100 * (5 / 6 + 1 / 4) / 2, "mINP": 100 * (2 / 3 + 1 / 4) / 2}
    )


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_the_definitions(seed: int) -> None:
    """Random scores with many ties, several images a person, and queries whose person is not there."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 6, (40, 25)).astype(float)
    queries, gallery = random.integers(0, 12, 40), random.integers(0, 9, 25)
    assert rank_metrics(scores, queries, gallery) == pytest.approx(plain_metrics(scores, queries, gallery))


def test_map_is_scikit_learns() -> None:
    """Mean of `average_precision_score` where no two scores are equal."""
    random = np.random.default_rng(5)
    scores, queries = random.random((30, 40)), random.integers(0, 8, 30)
    gallery = np.arange(40) % 8
    expected = [average_precision_score(gallery == person, row) for person, row in zip(queries, scores, strict=True)]
    assert rank_metrics(scores, queries, gallery)["mAP"] == pytest.approx(100 * np.mean(expected))


def test_published_figures_are_reproduced() -> None:
    """The published evaluation of 120 queries over 75 images."""
    stored, expected = arrays("metrics_expected"), values("metrics_expected")
    found = rank_metrics(stored["scores"], stored["query_pids"], stored["gallery_pids"])
    named = {"R1": "img_r1", "R5": "img_r5", "R10": "img_r10", "mAP": "mAP"}
    assert {name: found[name] for name in named} == pytest.approx(
        {name: expected[old] for name, old in named.items()}, rel=0, abs=1e-9
    )


def test_ties_go_to_the_image_that_stands_first() -> None:
    """Equal scores rank by place in the gallery, so that figures never depend on the sorting."""
    scores = np.zeros((1, 3))
    assert rank_metrics(scores, np.array([1]), np.array([1, 0, 0]))["R1"] == 100
    assert rank_metrics(scores, np.array([1]), np.array([0, 0, 1]))["mAP"] == pytest.approx(100 / 3)


def test_a_query_without_a_match_counts_as_never_found() -> None:
    """It is not left out: one query of two is found at rank 1."""
    found = rank_metrics(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 9]), np.array([1, 2]))
    assert found == pytest.approx({"R1": 50, "R5": 50, "R10": 50, "mAP": 50, "mINP": 50})


def test_infinite_scores_are_ranked_and_half_precision_is_too() -> None:
    """Minus infinity is last; float16 scores work."""
    scores = np.array([[-np.inf, 1.0, np.inf]], np.float16)
    assert rank_metrics(scores, np.array([2]), np.array([0, 1, 2]))["R1"] == 100


@pytest.mark.parametrize(
    ("scores", "queries", "gallery", "message"),
    [
        (np.zeros((2, 3)), [1, 2], [1, 2], "do not fit 2 query and 2 gallery ids"),
        (np.zeros((0, 3)), [], [1, 2, 3], "nothing to rank"),
        (np.zeros((1, 0)), [1], [], "nothing to rank"),
        (np.array([[0.0, 1.0], [0.0, np.nan]]), [1, 2], [1, 2], "NaN, first for query 1"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores: NDArray, queries: list, gallery: list, message: str) -> None:
    """Shapes that do not agree, nothing, and NaN are errors, not figures."""
    with pytest.raises(ValueError, match=message):
        rank_metrics(scores, np.array(queries), np.array(gallery))
