"""The report's page: every metric is shown, texts stay texts, one file that loads nothing."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.ablation import AblationRow
from retrieval.explanation import RankedImage, Ranking
from retrieval.metrics import METRICS, evaluate_queries
from retrieval.report.charts import LineChart
from retrieval.report.page import IMAGE_SIZE, Report, data_url, render
from tests.test_charts import ATTACK, chart
from utils.errors import UserError
from utils.files import write_text

QUERIES = evaluate_queries(np.eye(2), np.array([0, 1]), np.array([0, 1]))


class Page(HTMLParser):
    """The tags, attribute values and bare text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "person.png"
    Image.new("RGB", (400, 1000), (200, 30, 30)).save(path)
    return path


def row(on: bool, values: list[float], milliseconds: float = 0.25, llm_calls: int | None = 0) -> AblationRow:
    """A row with both parts or neither, whose intervals are two percent to either side."""
    metrics = dict(zip(METRICS, values, strict=True))
    intervals = {name: (value - 2, value + 2) for name, value in metrics.items()}
    return AblationRow(on, on, QUERIES, metrics, intervals, milliseconds, llm_calls)


ROWS = [row(False, [40, 60, 70.5, 35, 20]), row(True, [52.25, 59, 80, 45, 30], 1234.5, None)]


def image(path: Path, rank: int, correct: bool, similarity: float, **changes: Any) -> RankedImage:
    values = {
        "index": 0,
        "caption": f"caption {rank}",
        "query_image": similarity,
        "rewrite_caption": None,
        "logit": None,
    }
    score = similarity + (changes.get("logit") or 0.0)
    return RankedImage(
        **{**values, **changes}, path=path, rank=rank, correct=correct, score=score, similarity=similarity
    )


def ranking(*top: RankedImage, match: RankedImage | None = None, k: int = 0, **changes: Any) -> Ranking:
    first = match or next((one for one in top if one.correct), None)
    return Ranking(**{"query": 0, "text": "q", "rewrite": "r", **changes}, weight=0.5, k=k, top=top, first_match=first)


def written(path: Path, **content: Any) -> str:
    write_text(path, render("page.html", ROWS, report=Report(**{"title": "Test", **content})))
    return path.read_text(encoding="utf-8")


def page(path: Path, **content: Any) -> tuple[Page, str]:
    """The parsed page, and its text with single blanks."""
    parsed = Page(written(path, **content))
    return parsed, " ".join(parsed.text.split())


def test_photographs_are_embedded_and_small(photo: Path) -> None:
    head, _, body = data_url(photo).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(body))) as small:
        # 400 x 1000 into IMAGE_SIZE: the height decides.
        assert small.size == (round(IMAGE_SIZE[1] * 400 / 1000), IMAGE_SIZE[1])
        red, green, blue = small.convert("RGB").getpixel((70, 170))  # type: ignore[misc]
    assert red > 180
    assert max(green, blue) < 60


def test_every_metric_is_shown_with_its_interval_and_cost(tmp_path: Path) -> None:
    parsed, text = page(tmp_path / "report.html", setup={"Seed": "42"}, warnings=[f"selected on test {ATTACK}"])
    # Headline: the last row, and its gain over the first (59 - 60 is a loss).
    assert "R1 52.25 [50.2, 54.2] +12.25 R5 59.00 [57.0, 61.0] −1.00 R10 80.00 [78.0, 82.0] +9.50" in text
    assert "✕without✕without 40.00[38.0, 42.0] 60.00[58.0, 62.0] 70.50[68.5, 72.5]" in text
    assert "20.00[18.0, 22.0] 0.25 0 ✓with✓with 52.25" in text
    assert "30.00[28.0, 32.0] 1,234 ?" in text  # unknown who wrote the rewrites
    assert text.count("95 % confidence intervals (bootstrap over identities)") == 2
    cells = [str(cell.get("class")) for cell in parsed.all("td") if "number" in str(cell.get("class"))]
    assert [position for position, kind in enumerate(cells) if "best" in kind] == [1, 5, 7, 8, 9]
    assert "Seed42" in text
    assert f"Note selected on test {ATTACK}" in text


def test_a_ranking_is_marked_by_words_and_shapes(tmp_path: Path, photo: Path) -> None:
    top = [image(photo, rank, rank == 3, 1 - rank / 10) for rank in range(1, 11)]
    example = ranking(*top, text="A man in red", rewrite="The man is wearing red")
    parsed, text = page(tmp_path / "report.html", examples={"Worst": [example]})
    assert "first correct image at rank 3" in text
    assert "A man in red" in text
    assert "The man is wearing red" in text
    assert example.explanation in text
    assert [picture["alt"] for picture in parsed.all("img")] == [
        f"Rank {rank}: caption {rank}" for rank in range(1, 11)
    ]
    assert "2 ✕ wrong 0.800 3 ✓ correct 0.700 4 ✕ wrong 0.600" in text
    assert [item.get("class") for item in parsed.all("li")][:4] == ["wrong", "wrong", "correct", "wrong"]


def test_a_match_below_the_top_is_shown_with_the_parts_of_its_score(tmp_path: Path, photo: Path) -> None:
    """Under its heading; an image that was not re-ranked shows its similarity."""
    wrong = image(photo, 1, False, 0.75, caption="of another", logit=0.5, rewrite_caption=-0.25)
    right = image(photo, 37, True, 0.25, caption="of him")
    examples = {"Worst": [ranking(wrong, match=right, k=1)], "Best": [ranking(image(photo, 1, True, 0.5))]}
    parsed, text = page(tmp_path / "r.html", examples=examples)
    assert text.index("Worst") < text.index("Rank 1 is ahead of the first correct image (rank 37)") < text.index("Best")
    assert "1 ✕ wrong 1.250 37 ✓ correct 0.250 sim." in text
    assert "of another query and image 0.750 · rewrite and caption −0.250 · matching 0.500" in text
    assert [picture["alt"] for picture in parsed.all("img")][:2] == ["Rank 1: of another", "Rank 37: of him"]
    assert [item.get("value") for item in parsed.all("li") if item.get("value")] == ["1", "37", "1"]


def test_cameras_have_a_table(tmp_path: Path) -> None:
    parsed, text = page(tmp_path / "r.html", cameras={"cam <a>": QUERIES})
    assert "cam <a> 2 100.00 100.00" in text
    assert "#cameras" in [link["href"] for link in parsed.all("a")]
    assert "#cameras" not in [link["href"] for link in page(tmp_path / "r.html")[0].all("a")]


def test_texts_stay_texts(tmp_path: Path, photo: Path) -> None:
    example = ranking(image(photo, 1, True, 1.0, caption=ATTACK), text=ATTACK, rewrite=ATTACK)
    attacked = LineChart(ATTACK, ATTACK, ATTACK, {ATTACK: [(1, 1)]})
    content: dict[str, Any] = {"title": ATTACK, "training": [attacked], "setup": {ATTACK: ATTACK}}
    text = written(tmp_path / "r.html", examples={ATTACK: [example]}, **content)
    parsed = Page(text)
    assert not parsed.all("script")
    assert "<script" not in text
    assert parsed.all("img")[0]["title"] == ATTACK
    assert parsed.text.count(ATTACK) >= 8  # title twice, heading, query, rewrite, caption, chart, both sides of setup


def test_page_loads_nothing(tmp_path: Path, photo: Path) -> None:
    example = ranking(image(photo, 1, True, 1.0, caption=None), rewrite=None)
    text = written(tmp_path / "r.html", examples={"Best": [example]}, training=[chart(itc=[(1, 1), (2, 2)])])
    assert not re.findall(r"https?://", text)
    assert not re.search(r"url\((?!#)|@import|(?:src|href)=\"//", text)
    parsed = Page(text)
    links = [tag["href"] for tag in parsed.all("a") + parsed.all("link") + parsed.all("use")]
    assert all(str(link).startswith(("#", "data:")) for link in links)
    assert all(str(picture["src"]).startswith("data:image/jpeg;base64,") for picture in parsed.all("img"))
    assert "prefers-color-scheme: dark" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.all("meta")


def test_empty_sections_say_so(tmp_path: Path, photo: Path) -> None:
    assert page(tmp_path / "r.html")[1].count("no data") == 3  # queries, training, setup
    bare = ranking(image(photo, 1, False, 0.5), rewrite=None)
    text = page(tmp_path / "r.html", examples={"Worst": [bare]})[1]
    assert "no correct image" in text
    assert text.count("no data") == 3  # training, setup and the rewrite


def test_a_missing_or_broken_photograph_is_named_and_the_old_report_stays(tmp_path: Path) -> None:
    report, missing, broken = tmp_path / "report.html", tmp_path / "missing.jpg", tmp_path / "broken.jpg"
    report.write_text("the old one")
    broken.write_text("not an image")
    for path in (missing, broken):
        with pytest.raises(UserError, match=re.escape(str(path))):
            written(report, examples={"Worst": [ranking(image(path, 1, False, 0.5))]})
    assert report.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jpg", "report.html"]


def test_the_page_is_complete_in_a_new_folder_and_the_same_each_time(tmp_path: Path, photo: Path) -> None:
    example = ranking(image(photo, 1, True, 0.5, caption="half a pair \ud800"), text="日本語 é")
    content = {"examples": {"Best": [example]}, "training": [chart(itc=[(1, 1), (2, 2)])]}
    first = written(tmp_path / "new" / "report.html", **content)
    assert first.rstrip().endswith("</html>")
    assert first.startswith("<!doctype html>")
    assert "日本語 é" in first
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    assert written(tmp_path / "again.html", **content) == first
