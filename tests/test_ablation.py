"""Ablation, sweeps, cameras, tables and statistics, from known embeddings and logits."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from data.records import ImageRecord
from retrieval.ablation import (
    KS,
    WEIGHTS,
    SweepPoint,
    ablation_rows,
    camera_names,
    evaluate_by_camera,
    slot_counting_row,
    sweep,
    sweep_around,
    tune,
    weight_and_k,
)
from retrieval.metrics import evaluate_queries, rank_metrics
from retrieval.options import EvaluationOptions
from retrieval.report.page import data_statistics, render, sweep_charts, word_charts
from retrieval.retrieval_set import DISTRACTOR_ID, with_distractors
from retrieval.scoring import Scorer, fused_similarity, rerank
from retrieval.slots import slot_agreement
from tests.known_scores import EMBEDDINGS, LOGITS, RETRIEVAL, G, Q, known_scorer
from tests.pictures import picture
from utils.errors import UserError


def _of(logits: Tensor, queries: Tensor, images: Tensor) -> Tensor:
    return logits[queries, images]


@pytest.fixture
def scorer() -> Scorer:
    return known_scorer()


def by_formula(weight: float, k: int) -> dict[str, float]:
    similarity = fused_similarity(EMBEDDINGS.query, EMBEDDINGS.image, EMBEDDINGS.rewrite, EMBEDDINGS.caption, weight)
    scores = rerank(similarity, lambda queries, images: LOGITS[queries, images], k)
    return rank_metrics(scores.numpy(), RETRIEVAL.query_ids, RETRIEVAL.gallery_ids)


def test_a_sweep_agrees_with_the_formula(scorer: Scorer) -> None:
    points = sweep(scorer, WEIGHTS, (0, 4, 16, 32))
    assert len(points) == 44
    for point in points:
        assert point.metrics == pytest.approx(by_formula(point.weight, point.k), abs=1e-9), (point.weight, point.k)


def test_ablation_rows_and_their_costs(scorer: Scorer) -> None:
    """Each query needs an embedding and a similarity; a rewrite needs both again; matching adds the pairs."""
    rows = ablation_rows(scorer, weight=0.4, k=8, llm_calls=1)
    assert [(row.msm, row.itm) for row in rows] == [(False, False), (True, False), (False, True), (True, True)]
    for row, (weight, k) in zip(rows, ((0, 0), (0.4, 0), (0, 8), (0.4, 8)), strict=True):
        assert row.metrics == pytest.approx(by_formula(weight, k), abs=1e-9)
        assert all(low <= row.metrics[name] <= high for name, (low, high) in row.intervals.items())
    pair = 2.0 / scorer.match.num_pairs
    base, rewritten, matched = (0.6 + 0.12) / Q, (0.3 + 0.12) / Q, 8 * pair
    expected = [base, base + rewritten, base + matched, base + rewritten + matched]
    assert [row.milliseconds for row in rows] == pytest.approx([1000 * one for one in expected])
    assert [row.llm_calls for row in rows] == [0, 1, 0, 1]
    assert {row.queries.num_queries_without_match for row in rows} == {1}
    assert [row.llm_calls for row in ablation_rows(scorer, weight=0.4, k=0, llm_calls=None)] == [0, None, 0, None]
    assert [row.llm_calls for row in ablation_rows(scorer, weight=0.0, k=0, llm_calls=1)] == [0, 0, 0, 0]
    scorer.rewrite_caption = None
    assert [row.llm_calls for row in ablation_rows(scorer, weight=0.4, k=0, llm_calls=1)] == [0, 0, 0, 0]


def test_the_default_sweep_scores_no_further_pair(scorer: Scorer) -> None:
    ablation_rows(scorer, weight=0.4, k=16, llm_calls=0)
    pairs = scorer.match.num_pairs
    points = sweep_around(scorer, weight=0.4, k=16, full=False)
    assert scorer.match.num_pairs == pairs
    assert {point.k for point in points} == {0, 2, 4, 8, 16}
    assert {point.weight for point in points if not point.k} == set(WEIGHTS)
    assert {point.weight for point in points if point.k} == {0.0, 0.4}
    assert len({(point.weight, point.k) for point in points}) == len(points)
    titles = [chart.title for chart in sweep_charts(points, weight=0.4)]
    assert titles == [
        f"{name} by {what}"
        for name in ("R1", "mAP")
        for what in ("weight of the rewrites", "number of re-ranked images")
    ]


def evaluation_options(**changes: Any) -> EvaluationOptions:
    values: dict[str, Any] = {"select": "val", "held_out": 0.1, "select_by": "mAP", "select_k": 0, "select_weight": 0.0}
    values |= {
        "msm_weight": "val",
        "rewrite_image": 0.0,
        "k_test": "val",
        "token_precision": "full",
        "batch_size": 8,
        "examples": 4,
    }
    return EvaluationOptions(**values | changes)


def test_of_equally_good_points_the_cheapest_is_best() -> None:
    def point(weight: float, k: int, value: float) -> SweepPoint:
        return SweepPoint(weight, k, {"mAP": value, "R1": -value})

    points = [point(0.1, 16, 50), point(0.5, 2, 60), point(0.2, 4, 60), point(0.3, 2, 60), point(0.9, 0, 59)]
    assert weight_and_k(evaluation_options(select_by="mAP"), points) == (0.3, 2)
    assert weight_and_k(evaluation_options(select_by="R1"), points) == (0.1, 16)
    assert weight_and_k(evaluation_options(msm_weight=0.5, k_test=3), []) == (0.5, 3)


def test_configured_values_are_not_searched(scorer: Scorer) -> None:
    """Only values to tune are, with k up to the size of the gallery."""
    for changes, weights, ks in (
        ({"k_test": 5}, WEIGHTS, [5]),
        ({"msm_weight": 0.3}, [0.3], [k for k in KS if k <= G]),
    ):
        points = tune(scorer, evaluation_options(**changes))
        assert {(point.weight, point.k) for point in points} == {(weight, k) for weight in weights for k in ks}


def test_tables_have_intervals_costs_and_notes(scorer: Scorer) -> None:
    """Also in Markdown; the special characters of LaTeX are escaped."""
    rows = ablation_rows(scorer, weight=0.4, k=8, llm_calls=1)
    note = "5 % of cuhk_pedes & selected on #1"
    text, markdown, latex = (render(f"table.{kind}.jinja", rows, notes=[note]) for kind in ("txt", "md", "tex"))
    low, high = rows[0].intervals["R1"]
    assert f"| no | no | {rows[0].metrics['R1']:.2f} [{low:.1f}, {high:.1f}] |" in markdown
    assert markdown.count("\n| ") == 4
    assert f"- {note}" in markdown
    assert r"5 \% of cuhk\_pedes \& selected on \#1." in latex
    best = max(row.metrics["mAP"] for row in rows)
    assert rf"\textbf{{{best:.2f}}}" in latex
    assert latex.count(r"\\") == 5
    for table in (markdown, text):
        assert "95 % confidence intervals (bootstrap over identities)" in table


def test_slots_are_counted_by_hand() -> None:
    """Equal slots count 1, unequal ones -1, and slots that one side leaves open 0; so does a missing text."""
    rewrites = ["The male is wearing a red top with blue trousers.", "The female is carrying a bag.", None]
    captions = [
        "The male is wearing a red top.",  # gender, color and garment
        "The female is wearing a red jacket with black trousers.",  # the color and the trousers, against three others
        None,
    ]
    scores = slot_agreement(rewrites, captions)
    assert scores is not None
    assert scores.tolist() == [[3, -1, 0], [-1, 1, 0], [0, 0, 0]]


def test_a_ranking_without_a_model_stands_above_those_with_one(scorer: Scorer) -> None:
    """If the texts follow the template; else there is no such row."""
    assert slot_counting_row(RETRIEVAL, llm_calls=1) is None
    colors = ("red", "blue", "black", "white", "green")
    texts = [f"The person is wearing a {colors[n % 5]} top with {colors[n // 5]} trousers." for n in range(10)]
    retrieval = replace(
        RETRIEVAL,
        captions=tuple(texts[n % 10] for n in range(G)),
        rewrites=tuple(texts[n % 10] for n in range(Q)),
    )
    row = slot_counting_row(retrieval, llm_calls=1)
    assert row is not None
    assert row.metrics["R1"] == pytest.approx(100 * (Q - 1) / Q)  # all but the query without a match
    assert row.calls == "1"
    rows = ablation_rows(scorer, weight=0.4, k=8, llm_calls=1)
    text, markdown, latex = (render(f"table.{kind}.jinja", rows, slot_counting=row) for kind in ("txt", "md", "tex"))
    assert "| slots | | 91.67 [" in markdown
    assert re.search(r"^ +slots +91\.67", text, re.MULTILINE)
    assert r"\multicolumn{2}{c}{slots} & 91.67" in latex


def test_cameras_are_read_from_image_names() -> None:
    assert camera_names(["0002_c1s1_000451_03.jpg", "a/0003_c12_1.jpg"]) == ["1", "12"]
    assert camera_names([f"test/0627/0627_0{n}_0{n}_0303afternoon_1591_0.jpg" for n in (10, 5)]) == ["010", "05"]
    assert camera_names(["cam_a/001.jpg", "CUHK03/002.png"]) == ["cam_a", "CUHK03"]
    assert camera_names(["x-left.png", "y-right.png"], r"-(\w+)") == ["left", "right"]


@pytest.mark.parametrize(
    ("names", "pattern", "message"),
    [
        (["cam/b.png", "a.png"], None, r"a\.png"),
        (["a.png"], "(", r"--by-camera \( is not"),
        (["a.png"], "a", "one group"),
        (["test/_1.png", "test/2.png"], r"_(\d)|test", r"test/_1\.png"),
        (["test/a.png", "test/b.png"], None, r"test/\w+\.png"),  # a single folder is not a camera
    ],
)
def test_names_without_a_camera_are_refused(names: list[str], pattern: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        camera_names(names, pattern)


def test_one_cameras_gallery_is_evaluated_by_itself(scorer: Scorer) -> None:
    """With the queries whose person it has captured, as if there were no other images: also for re-ranking."""
    cameras = camera_names([record.name for record in RETRIEVAL.records])
    found = evaluate_by_camera(scorer, cameras, weight=0.4, k=3)
    similarity = scorer.similarity(0.4)
    assert set(found) == {"0", "1", "2"}
    for name, metrics in found.items():
        gallery = [place for place, camera in enumerate(cameras) if camera == name]
        seen = {int(RETRIEVAL.gallery_ids[place]) for place in gallery}
        queries = [place for place, person in enumerate(RETRIEVAL.query_ids) if person in seen]
        logits = LOGITS[queries][:, gallery]
        scores = rerank(similarity[queries][:, gallery], partial(_of, logits), 3)
        alone = evaluate_queries(scores.numpy(), RETRIEVAL.query_ids[queries], RETRIEVAL.gallery_ids[gallery])
        assert metrics.means() == alone.means()
        assert metrics.num_queries_without_match == 0


def test_distractors_match_no_query(tmp_path: Path) -> None:
    """They are appended to the gallery, from any depth, without captions; a folder without images is refused."""
    (tmp_path / "deep").mkdir()
    picture(tmp_path / "deep" / "1.png", (1, 2, 3))
    picture(tmp_path / "2.png", (1, 2, 3))
    found = with_distractors(RETRIEVAL, [], tmp_path)
    assert [record.name for record in found.records[G:]] == ["2.png", "deep/1.png"]
    assert found.gallery_ids[G:].tolist() == [DISTRACTOR_ID, DISTRACTOR_ID]
    assert found.captions[G:] == (None, None)
    assert found.num_missing_captions == 3
    assert "Distractors" in data_statistics(found)
    for folder, message in ((tmp_path / "none", "no .*none"), (tmp_path / "deep" / "er", "no ")):
        with pytest.raises(UserError, match=f"--distractors: {message}"):
            with_distractors(RETRIEVAL, [], folder)
    with pytest.raises(UserError, match=r"2 images of .* data set itself, the first .*2\.png"):
        with_distractors(RETRIEVAL, [ImageRecord(tmp_path / "deep" / "1.png", "1", (), 3, "train")], tmp_path)

    entry = {"image_path": "imgs/deep/1.png", "generated_text": "The man is wearing red."}
    (tmp_path / "captions.json").write_text(json.dumps([entry]))
    captioned = with_distractors(RETRIEVAL, [], tmp_path, tmp_path / "captions.json")
    assert captioned.captions[G:] == (None, "The man is wearing red.")
    (tmp_path / "captions.json").write_text(json.dumps([entry | {"image_path": "imgs/other.png"}]))
    with pytest.raises(UserError, match="captions of another data set"):
        with_distractors(RETRIEVAL, [], tmp_path, tmp_path / "captions.json")


def test_statistics_count() -> None:
    found = data_statistics(RETRIEVAL)
    assert found["Gallery"] == "40 images of 10 identities"
    assert found["Images per identity"] == "4"
    assert found["Queries"] == "12 of 11 identities"
    assert found["Queries per identity"] == "1 to 2, median 1"
    assert found["Words per query"] == "3"
    assert found["Rewrites"] == "11 (11 distinct), 1 missing; words: 2"
    (chart,) = word_charts({"queries": RETRIEVAL.queries, "rewrites": ["one", None, "two words"], "none": [None]})
    assert chart.lines == {"queries": [(3.0, 100.0)], "rewrites": [(1.0, 50.0), (2.0, 50.0)]}
