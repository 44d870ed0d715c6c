"""Rank-k, mAP and mINP: by hand, against a naive computation, scikit-learn and the published results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from retrieval.metrics import confidence_intervals, evaluate_queries, main, rank_metrics
from tests.fixtures import arrays, values
from utils.errors import UserError


def naive_metrics(scores: NDArray, queries: NDArray, gallery: NDArray) -> dict[str, float]:
    """One query after another, by the definitions."""
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


def test_metrics_computed_by_hand() -> None:
    """Matches at ranks 1 and 3 (query 0) and at rank 4 (query 1)."""
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]])
    found = rank_metrics(scores, np.array([1, 3]), np.array([1, 2, 1, 3]), ks=(1, 3, 4))
    # AP: (1/1 + 2/3) / 2 and 1/4; INP: 2/3 and 1/4.
    assert found == pytest.approx(
        {"R1": 50, "R3": 50, "R4": 100, "mAP": 100 * (5 / 6 + 1 / 4) / 2, "mINP": 100 * (2 / 3 + 1 / 4) / 2}
    )


@pytest.mark.parametrize("seed", range(4))
def test_metrics_agree_with_their_definitions(seed: int) -> None:
    """Random scores, 250 times, with many ties, several images per person, and queries without a match."""
    random = np.random.default_rng(seed)
    for _ in range(250):
        rows, columns = random.integers(1, 20, 2)
        scores = random.integers(0, 6, (rows, columns)).astype(float)
        queries, gallery = random.integers(0, 12, rows), random.integers(0, 9, columns)
        found = rank_metrics(scores, queries, gallery)
        assert found == pytest.approx(naive_metrics(scores, queries, gallery), rel=0, abs=1e-9)


def test_map_agrees_with_scikit_learn() -> None:
    """Mean of `average_precision_score` where no two scores are equal."""
    random = np.random.default_rng(5)
    scores, queries = random.random((30, 40)), random.integers(0, 8, 30)
    gallery = np.arange(40) % 8
    expected = [average_precision_score(gallery == person, row) for person, row in zip(queries, scores, strict=True)]
    assert rank_metrics(scores, queries, gallery)["mAP"] == pytest.approx(100 * np.mean(expected))


def test_published_metrics_are_reproduced() -> None:
    """The published evaluation of 120 queries over 75 images."""
    stored, expected = arrays("metrics_expected"), values("metrics_expected")
    found = rank_metrics(stored["scores"], stored["query_pids"], stored["gallery_pids"])
    named = {"R1": "img_r1", "R5": "img_r5", "R10": "img_r10", "mAP": "mAP"}
    assert {name: found[name] for name in named} == pytest.approx(
        {name: expected[old] for name, old in named.items()}, rel=0, abs=1e-9
    )


def test_ties_go_to_the_first_image_of_the_gallery() -> None:
    """Equal scores rank by place in the gallery, so that metrics never depend on the sorting."""
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


def test_intervals_are_over_identities_not_over_queries() -> None:
    """One of four people is never found: R1 75, and as wide as for four draws, however many queries each has."""
    queries = np.repeat(np.arange(4), 50)
    scores = np.eye(4)[queries]
    scores[queries == 3] = [1, 0, 0, 0]
    metrics = evaluate_queries(scores, queries, np.arange(4))
    assert metrics.num_queries_without_match == 0
    low, high = confidence_intervals(metrics)["R1"]
    assert (low, high) == (25, 100)  # of 4 draws with probability 3/4, fewer than one hit has 0.4 %, at most one 5.1 %
    assert confidence_intervals(metrics)["mINP"][0] > 25
    assert confidence_intervals(metrics, seed=0) == confidence_intervals(metrics, seed=0)


def test_intervals_have_their_nominal_coverage() -> None:
    """Of 200 experiments with 60 people of one to five queries, some 95 in a hundred."""
    random, covered = np.random.default_rng(1), 0
    for _ in range(200):
        queries = np.repeat(np.arange(60), random.integers(1, 6, 60))
        found = (random.random(60) < 0.6)[queries]  # all queries of a person, or none
        scores = np.where(found[:, None], [[1.0, 0.0]], [[0.0, 1.0]])
        person = np.where(np.arange(2) == 0, 0, -1)
        metrics = evaluate_queries(scores, np.zeros(len(queries), int), person)
        low, high = confidence_intervals(replace(metrics, query_ids=queries), draws=400)["R1"]
        covered += low <= 60 <= high
    assert 180 <= covered <= 198


def test_the_command_evaluates_a_file_of_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Metrics and intervals; queries without a match are counted; an invalid file is a one-line error."""
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    np.savez(tmp_path / "s.npz", scores=scores, query_ids=[1, 2, 9], gallery_ids=[1, 2])
    main([str(tmp_path / "s.npz"), "--out", str(tmp_path / "s.json")])
    output = capsys.readouterr().out
    assert "3 queries of 3 identities" in output
    assert "   R1   33.33  [0.00, " in output
    assert "1 queries have no match" in output
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["mAP"] == pytest.approx(50)
    assert written["queries_without_right_image"] == 1
    np.savez(tmp_path / "bad.npz", scores=scores)
    with pytest.raises(UserError, match=r"bad\.npz has no query_ids and no gallery_ids"):
        main([str(tmp_path / "bad.npz")])
    with pytest.raises(UserError, match=r"none\.npz is missing"):
        main([str(tmp_path / "none.npz")])
    np.save(tmp_path / "one.npy", scores)
    with pytest.raises(UserError, match=r"one\.npy is one array: it should be an \.npz file"):
        main([str(tmp_path / "one.npy")])
    np.savez(tmp_path / "odd.npz", scores=scores, query_ids=[1], gallery_ids=[1, 2])
    with pytest.raises(UserError, match=r"odd\.npz: scores \(3, 2\) do not fit"):
        main([str(tmp_path / "odd.npz")])


@pytest.mark.parametrize(
    ("scores", "queries", "gallery", "message"),
    [
        (np.zeros((2, 3)), [1, 2], [1, 2], "do not fit 2 query and 2 gallery ids"),
        (np.zeros((0, 3)), [], [1, 2, 3], "nothing to rank"),
        (np.zeros((2, 2)), [[1], [2]], [1, 2], "one dimension"),
        (np.array([["a"]]), [1], [1], "real numbers"),
        (np.zeros((1, 0)), [1], [], "nothing to rank"),
        (np.array([[0.0, 1.0], [0.0, np.nan]]), [1, 2], [1, 2], "NaN, first for query 1"),
    ],
)
def test_invalid_scores_are_refused(scores: NDArray, queries: list, gallery: list, message: str) -> None:
    """Shapes that do not agree, nothing, and NaN are errors, not metrics."""
    with pytest.raises(ValueError, match=message):
        rank_metrics(scores, np.array(queries), np.array(gallery))
