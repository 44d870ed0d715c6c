"""The report's page: every figure told, texts as text, one file that needs nothing else."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from retrieval.report import AblationRow, Curve, QueryExample, RankedImage, write_report
from retrieval.report.pictures import BOX, data_url
from tests.test_charts import ATTACK, NAN, curve
from utils.errors import UserError


class Seen(HTMLParser):
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


def written(path: Path, **changes: object) -> str:
    content: dict[str, object] = {"title": "Test", "ablation": [], "examples": [], "curves": [], "facts": {}}
    write_report(path, **{**content, **changes})  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8")


def test_photographs_travel_inside_the_page_and_small(photo: Path) -> None:
    head, _, body = data_url(photo).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(body))) as small:
        # 400 x 1000 into BOX: the height decides.
        assert small.size == (round(BOX[1] * 400 / 1000), BOX[1])
        red, green, blue = small.convert("RGB").getpixel((70, 170))  # type: ignore[misc]
    assert red > 180
    assert max(green, blue) < 60


def test_page_tells_every_figure(tmp_path: Path) -> None:
    rows = [AblationRow(False, False, 40.0, 60.0, 70.5, 35.0, 20.0), AblationRow(True, True, 52.25, 59, 80, NAN, 30)]
    seen = Seen(written(tmp_path / "report.html", ablation=rows, facts={"Seed": "42"}))
    text = " ".join(seen.text.split())
    # Headline: the row with both, and what it gained over the row with neither (59 - 60 is a loss).
    assert "R1 52.25 +12.25 R5 59.00 −1.00 R10 80.00 +9.50 mAP no data mINP 30.00 +10.00" in text
    assert "✕without✕without 40.00 60.00 70.50 35.00 20.00" in text
    assert "✓with✓with 52.25 59.00 80.00 no data 30.00" in text
    cells = [str(cell.get("class")) for cell in seen.all("td") if "number" in str(cell.get("class"))]
    # Five cells a row: R5 is best above, R1, R10 and mINP below; mAP has one value and so no best.
    assert [position for position, kind in enumerate(cells) if "best" in kind] == [1, 5, 7, 9]
    assert "Seed42" in text


def test_ranking_is_marked_by_words_and_shapes(tmp_path: Path, photo: Path) -> None:
    ranked = [RankedImage(photo, place in (2, 11), 10.0 - place, f"caption {place}") for place in range(12)]
    example = QueryExample("A man in red", "The man is wearing red", tuple(ranked), 3)
    seen = Seen(written(tmp_path / "report.html", examples=[example]))
    text = " ".join(seen.text.split())
    assert "first right at rank 3" in text
    assert "A man in red" in text
    assert "The man is wearing red" in text
    assert [picture["alt"] for picture in seen.all("img")] == [
        f"Rank {place + 1}: caption {place}" for place in range(10)
    ]
    assert "2 ✕ wrong 9.000 3 ✓ right 8.000 4 ✕ wrong 7.000" in text
    assert [item.get("class") for item in seen.all("li")][:4] == ["wrong", "wrong", "right", "wrong"]


def test_intervals_costs_and_warnings_stand_beside_the_figures(tmp_path: Path) -> None:
    bounds = {"R1": (48.04, 56.96)}
    rows = [
        AblationRow(False, False, 40, 60, 70, 35, 20, {"R1": (36.0, 44.0)}, 0.25, 0),
        AblationRow(True, True, 52, 59, 80, 45, 30, bounds, 1234.5, None),
    ]
    seen = Seen(written(tmp_path / "r.html", ablation=rows, warnings=[f"chosen on test {ATTACK}"]))
    text = " ".join(seen.text.split())
    assert "R1 52.00 [48.0, 57.0] +12.00" in text
    assert "40.00[36.0, 44.0]" in text
    assert "0.25 0" in text
    assert "1,234 ?" in text  # nobody knows who wrote the rewrites
    assert f"Note chosen on test {ATTACK}" in text
    bare = [AblationRow(True, True, 52, 59, 80, 45, 30)]
    assert "ms a query" not in Seen(written(tmp_path / "r.html", ablation=bare)).text


def test_what_came_first_is_explained_and_the_first_right_image_is_shown(tmp_path: Path, photo: Path) -> None:
    """Under its heading, with its parts; an image that was not matched tells its similarity."""
    wrong = RankedImage(photo, False, 0.75, "of somebody", rank=1, matched=False, parts={"query and image": "0.750"})
    right = RankedImage(photo, True, 0.25, "of him", rank=37)
    examples = [
        QueryExample("q", "r", (wrong,), 37, why="Rank 1 beats it.", later=right, group="Answered worst"),
        QueryExample("p", "r", (right,), 1, group="Answered best"),
    ]
    seen = Seen(written(tmp_path / "r.html", examples=examples))
    text = " ".join(seen.text.split())
    assert text.index("Answered worst") < text.index("Rank 1 beats it.") < text.index("Answered best")
    assert "1 ✕ wrong 0.750 sim. 37 ✓ right 0.250" in text
    assert "of somebody query and image 0.750" in text
    assert [picture["alt"] for picture in seen.all("img")][:2] == ["Rank 1: of somebody", "Rank 37: of him"]
    assert [item.get("value") for item in seen.all("li") if item.get("value")] == ["1", "37", "37"]


def test_cameras_have_a_table(tmp_path: Path) -> None:
    figures = dict.fromkeys(("R1", "R5", "R10", "mAP", "mINP"), 12.5)
    seen = Seen(written(tmp_path / "r.html", cameras={"cam <a>": (34, figures)}))
    assert "cam <a> 34 12.50 12.50" in " ".join(seen.text.split())
    assert "#cameras" in [link["href"] for link in seen.all("a")]
    assert "#cameras" not in [link["href"] for link in Seen(written(tmp_path / "r.html")).all("a")]


def test_texts_stay_texts(tmp_path: Path, photo: Path) -> None:
    example = QueryExample(ATTACK, ATTACK, (RankedImage(photo, True, 1.0, ATTACK),), 1)
    chart = Curve(ATTACK, ATTACK, ATTACK, {ATTACK: [(1, 1)]})
    page = written(tmp_path / "r.html", title=ATTACK, examples=[example], curves=[chart], facts={ATTACK: ATTACK})
    seen = Seen(page)
    assert not seen.all("script")
    assert "<script" not in page
    assert seen.all("img")[0]["title"] == ATTACK
    assert seen.text.count(ATTACK) >= 7  # title twice, query, rewrite, caption, chart's name, both sides of the fact


def test_page_loads_nothing(tmp_path: Path, photo: Path) -> None:
    example = QueryExample("q", None, (RankedImage(photo, True, 1.0, ""),), 1)
    page = written(tmp_path / "r.html", examples=[example], curves=[curve(itc=[(1, 1), (2, 2)])])
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert not re.search(r"url\(|@import|(?:src|href)=\"//", page)
    seen = Seen(page)
    links = [tag["href"] for tag in seen.all("a") + seen.all("link")]
    assert all(str(link).startswith(("#", "data:")) for link in links)
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in seen.all("img"))
    assert "prefers-color-scheme: dark" in page
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in seen.all("meta")


def test_empty_sections_say_so(tmp_path: Path) -> None:
    assert Seen(written(tmp_path / "r.html")).text.count("no data") == 5
    bare = QueryExample("q", None, (), None)
    text = Seen(written(tmp_path / "r.html", examples=[bare])).text
    assert "no right image" in text
    assert text.count("no data") == 6  # four sections, the rewrite and the ranking


def test_a_missing_or_broken_photograph_is_named_and_the_old_report_stays(tmp_path: Path) -> None:
    report, gone, broken = tmp_path / "report.html", tmp_path / "gone.jpg", tmp_path / "broken.jpg"
    report.write_text("the old one")
    broken.write_text("no picture")
    for path in (gone, broken):
        example = QueryExample("q", None, (RankedImage(path, False, NAN, "c"),), None)
        with pytest.raises(UserError, match=re.escape(str(path))):
            written(report, examples=[example])
    assert report.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.jpg", "report.html"]


def test_page_appears_whole_in_a_new_folder_and_is_the_same_each_time(tmp_path: Path, photo: Path) -> None:
    ranked = (RankedImage(photo, True, NAN, "half a pair \ud800"),)
    examples = [QueryExample("日本語 é", None, ranked, 1)]
    first = written(tmp_path / "new" / "report.html", examples=examples)
    assert first.rstrip().endswith("</html>")
    assert first.startswith("<!doctype html>")
    assert "日本語 é" in first
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    assert written(tmp_path / "again.html", examples=examples) == first
