"""What each part brings: figures from stored similarities, what is chosen by them, and why an image came first."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.records import ImageRecord
from retrieval.ablation import KS, WEIGHTS, Cell, four_rows, pick, ranges, sweep, sweep_what_is_there
from retrieval.answers import Explainer
from retrieval.cameras import cameras_of, judge_by_camera
from retrieval.curves import part_curves, word_curves
from retrieval.embed import Embedded
from retrieval.examples import query_examples
from retrieval.metrics import judge_queries, rank_metrics
from retrieval.retrieval_set import NOBODY, RetrievalSet, with_distractors
from retrieval.scorer import Scorer
from retrieval.scoring import fused_similarity, rerank
from retrieval.statistics import data_statistics
from retrieval.tables import latex_table, markdown_table, text_table
from tests.pictures import picture
from utils.errors import UserError

Q, G, E = 12, 40, 8
DRAW = torch.Generator().manual_seed(3)
LOGITS = torch.randn(Q, G, generator=DRAW)


class Known:
    """A matching head whose logits are known, and which counts."""

    def __init__(self) -> None:
        self.asked: set[tuple[int, int]] = set()
        self.seconds = 2.0

    @property
    def pairs(self) -> int:
        return len(self.asked)

    def __call__(self, queries: Tensor, images: Tensor) -> Tensor:
        self.asked |= set(zip(queries.tolist(), images.tolist(), strict=True))
        return LOGITS[queries, images]


def _of(logits: Tensor, queries: Tensor, images: Tensor) -> Tensor:
    return logits[queries, images]


def unit(count: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, E, generator=DRAW), dim=1)


EMBEDDED = Embedded(
    image=unit(G),
    image_tokens=None,
    query=unit(Q),
    query_ids=torch.zeros(Q, 3, dtype=torch.int64),
    query_mask=torch.ones(Q, 3, dtype=torch.int64),
    rewrite=unit(Q) * (torch.arange(Q) != 2)[:, None],
    caption=unit(G) * (torch.arange(G) != 5)[:, None],
    seconds={"gallery": 9.0, "queries": 0.6, "rewrites": 0.3, "captions": 9.0},
)
RETRIEVAL = RetrievalSet(
    records=tuple(ImageRecord(Path(f"{n}.png"), f"{n % 3:04d}_c{n % 3}_{n}.png", (), n % 10, "test") for n in range(G)),
    captions=tuple(None if n == 5 else f"caption {n}" for n in range(G)),
    queries=tuple(f"query number {n}" for n in range(Q)),
    rewrites=tuple(None if n == 2 else f"rewrite {n}" for n in range(Q)),
    query_ids=np.array([*(n % 10 for n in range(Q - 1)), 99]),  # the last one asks for somebody who is not there
    gallery_ids=np.arange(G) % 10,
    described=np.arange(Q),
)


@pytest.fixture
def scorer() -> Scorer:
    made = Scorer(EMBEDDED, RETRIEVAL, Known())  # type: ignore[arg-type]
    made.seconds = 0.12
    return made


def by_formula(weight: float, k: int) -> dict[str, float]:
    similarity = fused_similarity(EMBEDDED.query, EMBEDDED.image, EMBEDDED.rewrite, EMBEDDED.caption, weight)
    scores = rerank(similarity, lambda queries, images: LOGITS[queries, images], k)
    return rank_metrics(scores.numpy(), RETRIEVAL.query_ids, RETRIEVAL.gallery_ids)


def test_every_cell_is_what_the_formula_gives(scorer: Scorer) -> None:
    cells = sweep(scorer, WEIGHTS, (0, 4, 16, 32))
    assert len(cells) == 44
    for cell in cells:
        assert cell.figures == pytest.approx(by_formula(cell.weight, cell.k), abs=1e-9), (cell.weight, cell.k)


def test_four_rows_and_what_they_cost(scorer: Scorer) -> None:
    """A query takes its own embedding and a similarity; its rewrite and another; and its pairs."""
    rows = four_rows(scorer, weight=0.4, k=8, calls=1)
    for row, (weight, k) in zip(rows, ((0, 0), (0.4, 0), (0, 8), (0.4, 8)), strict=True):
        assert row.figures == pytest.approx(by_formula(weight, k), abs=1e-9)
        assert all(low <= row.figures[name] <= high for name, (low, high) in row.bounds.items())
    pair = 2.0 / scorer.match.pairs
    base, rewritten, matched = (0.6 + 0.12) / Q, (0.3 + 0.12) / Q, 8 * pair
    expected = [base, base + rewritten, base + matched, base + rewritten + matched]
    assert [row.milliseconds for row in rows] == pytest.approx([1000 * one for one in expected])
    assert [row.calls for row in rows] == [0, 1, 0, 1]
    assert {row.judged.hopeless for row in rows} == {1}
    assert [row.calls for row in four_rows(scorer, weight=0.4, k=0, calls=None)] == [0, None, 0, None]
    assert [row.calls for row in four_rows(scorer, weight=0.0, k=0, calls=1)] == [0, 0, 0, 0]
    scorer.told = None
    assert [row.calls for row in four_rows(scorer, weight=0.4, k=0, calls=1)] == [0, 0, 0, 0]


def test_curves_without_another_pair(scorer: Scorer) -> None:
    four_rows(scorer, weight=0.4, k=16, calls=0)
    pairs = scorer.match.pairs
    cells = sweep_what_is_there(scorer, weight=0.4, k=16)
    assert scorer.match.pairs == pairs
    assert {cell.k for cell in cells} == {0, 2, 4, 8, 16}
    assert {cell.weight for cell in cells if not cell.k} == set(WEIGHTS)
    assert {cell.weight for cell in cells if cell.k} == {0.0, 0.4}
    assert len({(cell.weight, cell.k) for cell in cells}) == len(cells)
    titles = [curve.title for curve in part_curves(cells, weight=0.4)]
    assert titles == [
        f"{name} by {what}" for name in ("R1", "mAP") for what in ("weight of rewrites", "images matched a query")
    ]


def test_the_best_cell_and_of_equal_ones_the_cheapest() -> None:
    def cell(weight: float, k: int, value: float) -> Cell:
        return Cell(weight, k, {"mAP": value, "R1": -value})

    cells = [cell(0.1, 16, 50), cell(0.5, 2, 60), cell(0.2, 4, 60), cell(0.3, 2, 60), cell(0.9, 0, 59)]
    assert (pick(cells, "mAP").weight, pick(cells, "mAP").k) == (0.3, 2)
    assert pick(cells, "R1").k == 16


def test_what_is_given_is_not_searched_for() -> None:
    assert ranges("val", 16, 100) == (WEIGHTS, [16])
    assert ranges(0.3, "val", 20) == ([0.3], [k for k in KS if k <= 20])


def test_tables_say_what_must_be_known(scorer: Scorer) -> None:
    """Intervals, costs and notes in Markdown; characters that LaTeX would take for its own are escaped."""
    rows = four_rows(scorer, weight=0.4, k=8, calls=1)
    note = "5 % of cuhk_pedes & chosen on #1"
    markdown, latex = markdown_table(rows, [note]), latex_table(rows, [note])
    first = rows[0]
    low, high = first.bounds["R1"]
    assert f"| no | no | {first.figures['R1']:.2f} [{low:.1f}, {high:.1f}] |" in markdown
    assert markdown.count("\n| ") == 4
    assert f"- {note}" in markdown
    assert r"5 \% of cuhk\_pedes \& chosen on \#1." in latex
    best = max(row.figures["mAP"] for row in rows)
    assert rf"\textbf{{{best:.2f}}}" in latex
    assert latex.count(r"\\") == 5
    assert "95 % intervals over people, both: R1 " in text_table(rows)


def test_a_score_is_the_sum_of_its_parts(scorer: Scorer) -> None:
    """The first ten are the ranking's; right ones are told; what was not matched or has no text has no such part."""
    explainer = Explainer(scorer, RETRIEVAL, weight=0.4, k=8)
    scores = scorer.scores(weight=0.4, k=8).numpy()
    for answer in explainer.answers(range(Q)):
        order = np.argsort(-scores[answer.query], kind="stable")
        assert [one.image for one in answer.top] == order[:10].tolist()
        for one in answer.top:
            assert one.right == (RETRIEVAL.gallery_ids[one.image] == RETRIEVAL.query_ids[answer.query])
            assert (one.logit is None) == (one.rank > 8)
            assert (one.told is None) == (answer.query == 2 or one.image == 5)
            share = 0.4 if one.told is not None else 0.0
            logit = -100.0 if one.logit is None else one.logit
            assert one.score == pytest.approx(share * (one.told or 0) + (1 - share) * one.plain + logit, abs=1e-4)
        right = np.flatnonzero(RETRIEVAL.gallery_ids[order] == RETRIEVAL.query_ids[answer.query])
        assert (answer.first_right.rank if answer.first_right else None) == (right[0] + 1 if len(right) else None)
    assert explainer.why(explainer.answers([Q - 1])[0]) == "No image of the gallery shows this person."


def test_why_names_what_decided(scorer: Scorer) -> None:
    """The differences of the parts add up to that of the scores."""
    explainer = Explainer(scorer, RETRIEVAL, weight=0.4, k=G)
    for answer in explainer.answers(range(Q - 1)):
        said = explainer.why(answer).replace("−", "-")
        assert said.startswith(f"Rank 1 beats the first {'wrong' if answer.top[0].right else 'right'} one, rank ")
        gap, parts = said.removesuffix(".").split(", by ")[1].split(": ")
        assert sum(float(part.split()[-1]) for part in parts.split(", ")) == pytest.approx(float(gap), abs=0.03)
    few = Explainer(scorer, RETRIEVAL, weight=0.4, k=1)
    assert "which is beyond the 1 that are matched: query and image " in few.why(few.answers([0])[0])


def test_examples_are_the_worst_and_the_best_of_different_people(scorer: Scorer) -> None:
    explainer = Explainer(scorer, RETRIEVAL, weight=0.4, k=8)
    judged = scorer.judge(weight=0.4, k=8)
    examples = query_examples(explainer, judged, RETRIEVAL, count=5)
    assert [example.group.partition(",")[0] for example in examples] == ["Answered worst"] * 3 + ["Answered best"] * 2
    precision = {text: judged.precision[number] for number, text in enumerate(RETRIEVAL.queries)}
    found = [precision[example.text] for example in examples]
    assert found[0] == 0  # nobody is there
    assert found[:3] == sorted(found[:3])
    assert found[3] == max(precision.values()) >= found[4] > found[2]
    people = [RETRIEVAL.query_ids[RETRIEVAL.queries.index(example.text)] for example in examples]
    assert len(set(people)) == 5
    assert all((example.later is not None) == ((example.first_right or 0) > 10) for example in examples)


def test_names_tell_cameras() -> None:
    assert cameras_of(["0002_c1s1_000451_03.jpg", "a/0003_c12_1.jpg"]) == ["1", "12"]
    assert cameras_of([f"test/0627/0627_0{n}_0{n}_0303afternoon_1591_0.jpg" for n in (10, 5)]) == ["010", "05"]
    assert cameras_of(["cam_a/001.jpg", "CUHK03/002.png"]) == ["cam_a", "CUHK03"]
    assert cameras_of(["x-left.png", "y-right.png"], r"-(\w+)") == ["left", "right"]
    with pytest.raises(UserError, match=r"the name a\.png does not tell a camera"):
        cameras_of(["cam/b.png", "a.png"])
    with pytest.raises(UserError, match=r"--by-camera \( is no pattern"):
        cameras_of(["a.png"], "(")
    with pytest.raises(UserError, match="no pattern with one group"):
        cameras_of(["a.png"], "a")
    with pytest.raises(UserError, match=r"the name test/_1\.png does not tell a camera"):
        cameras_of(["test/_1.png", "test/2.png"], r"_(\d)|test")
    with pytest.raises(UserError, match=r"the name test/\w+\.png does not tell a camera"):  # one folder is no camera
        cameras_of(["test/a.png", "test/b.png"])


def test_one_cameras_gallery_is_judged_by_itself(scorer: Scorer) -> None:
    """Of the queries whose person it has seen, as if there were no other images: also in what is matched."""
    cameras = cameras_of([record.name for record in RETRIEVAL.records])
    found = judge_by_camera(scorer, RETRIEVAL, cameras, weight=0.4, k=3)
    similarity = scorer.similarity(0.4)
    assert set(found) == {"0", "1", "2"}
    for name, judged in found.items():
        gallery = [place for place, camera in enumerate(cameras) if camera == name]
        seen = {int(RETRIEVAL.gallery_ids[place]) for place in gallery}
        queries = [place for place, person in enumerate(RETRIEVAL.query_ids) if person in seen]
        logits = LOGITS[queries][:, gallery]
        scores = rerank(similarity[queries][:, gallery], partial(_of, logits), 3)
        alone = judge_queries(scores.numpy(), RETRIEVAL.query_ids[queries], RETRIEVAL.gallery_ids[gallery])
        assert judged.figures() == alone.figures()
        assert judged.hopeless == 0


def test_distractors_are_nobody(tmp_path: Path) -> None:
    """They stand behind the gallery, of any depth, without captions; a folder without photographs is refused."""
    (tmp_path / "deep").mkdir()
    picture(tmp_path / "deep" / "1.png", (1, 2, 3))
    picture(tmp_path / "2.png", (1, 2, 3))
    found = with_distractors(RETRIEVAL, [], tmp_path)
    assert [record.name for record in found.records[G:]] == ["2.png", "deep/1.png"]
    assert found.gallery_ids[G:].tolist() == [NOBODY, NOBODY]
    assert found.captions[G:] == (None, None)
    assert found.undescribed == 3
    assert "Distractors" in data_statistics(found)
    for folder, message in ((tmp_path / "none", "no .*none"), (tmp_path / "deep" / "er", "no ")):
        with pytest.raises(UserError, match=f"--distractors: {message}"):
            with_distractors(RETRIEVAL, [], folder)
    with pytest.raises(UserError, match=r"2 photographs of .* are the data set's own, the first .*2\.png"):
        with_distractors(RETRIEVAL, [ImageRecord(tmp_path / "deep" / "1.png", "1", (), 3, "train")], tmp_path)

    entry = {"image_path": "imgs/deep/1.png", "generated_text": "The man is wearing red."}
    (tmp_path / "said.json").write_text(json.dumps([entry]))
    told = with_distractors(RETRIEVAL, [], tmp_path, tmp_path / "said.json")
    assert told.captions[G:] == (None, "The man is wearing red.")
    (tmp_path / "said.json").write_text(json.dumps([entry | {"image_path": "imgs/other.png"}]))
    with pytest.raises(UserError, match="captions of another data set"):
        with_distractors(RETRIEVAL, [], tmp_path, tmp_path / "said.json")


def test_statistics_count() -> None:
    found = data_statistics(RETRIEVAL)
    assert found["Gallery"] == "40 images of 10 people"
    assert found["Images of a person"] == "4"
    assert found["Queries"] == "12 about 11 people"
    assert found["Queries of a person"] == "1 to 2, median 1"
    assert found["Words of a query"] == "3"
    assert found["Rewrites"] == "11, 11 of them distinct, 1 missing; words: 2"
    (curve,) = word_curves({"queries": RETRIEVAL.queries, "rewrites": ["one", None, "two words"], "none": [None]})
    assert curve.lines == {"queries": [(3.0, 100.0)], "rewrites": [(1.0, 50.0), (2.0, 50.0)]}
