"""The report: places in the charts worked out by hand, texts as text, one file that needs nothing else."""

from __future__ import annotations

import base64
import math
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from retrieval.report import AblationRow, Curve, QueryExample, RankedImage, Scatter, write_report
from retrieval.report.axes import Axis, nice_step, spread
from retrieval.report.charts import COLOURS, SHAPES, line_chart
from retrieval.report.pictures import BOX, data_url
from retrieval.report.scatter import HEIGHT, MARGIN, WIDTH, scatter_chart
from utils.errors import UserError

NAN = math.nan
ATTACK = "<script>alert(1)</script> \"quoted\" & 'so'"


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


def curve(**lines: list[tuple[float, float]]) -> Curve:
    return Curve("Losses", "epoch", "loss", lines)


def parts(svg: str, tag: str, kind: str) -> list[ElementTree.Element]:
    """The elements of a class, in drawing order."""
    return [element for element in ElementTree.fromstring(svg).iter(tag) if kind in element.get("class", "").split()]


def tick_places(svg: str, kind: str, coordinate: str) -> dict[str, float]:
    ticks = [element for element in parts(svg, "text", "tick") if element.get("class") == f"tick {kind}"]
    return {str(element.text): float(str(element.get(coordinate))) for element in ticks}


def corners(path: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = [pair.split() for pair in str(path.get("d")).lstrip("M").split("L")]
    return [(float(x), float(y)) for x, y in pairs]


@pytest.mark.parametrize(
    ("span", "count", "step"), [(10, 5, 2), (29, 6, 5), (0.3, 3, 0.1), (100, 5, 20), (11, 5, 5), (1e-5, 5, 2e-6)]
)
def test_steps_are_one_two_or_five_times_a_power_of_ten(span: float, count: int, step: float) -> None:
    assert nice_step(span, count) == pytest.approx(step)


def test_vertical_axis_ends_on_ticks() -> None:
    # Seven units in at most five pieces: 2 is the step, and the multiples of 2 around [1, 8] run from 0 to 8.
    axis = Axis.outward([8, 1, 3], start=200, end=40)
    assert axis.ticks == [0, 2, 4, 6, 8]
    assert [axis.place(value) for value in (0, 2, 8)] == [200, 160, 40]


def test_horizontal_axis_ends_with_its_values_and_counts_in_whole_numbers() -> None:
    axis = Axis.exact([1, 2, 3], start=0, end=100)
    assert axis.ticks == [1, 2, 3]
    assert [axis.place(value) for value in (1, 2, 3)] == [0, 50, 100]
    assert Axis.exact(range(1, 31), start=0, end=1).ticks == [5, 10, 15, 20, 25, 30]
    assert Axis.exact([0.0, 0.3], start=0, end=1, count=3).ticks == [0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(("value", "ticks"), [(0, [0, 1]), (3, [3]), (0.5, [0.46, 0.48, 0.5, 0.52, 0.54])])
def test_one_value_gets_an_axis_around_it(value: float, ticks: list[float]) -> None:
    assert Axis.exact([value, value], start=0, end=1).ticks == pytest.approx(ticks)


def test_tick_labels_have_the_digits_of_their_step() -> None:
    def labels(*values: float) -> list[str]:
        axis = Axis.outward(values, start=0, end=1)
        return [axis.label(tick) for tick in axis.ticks]

    assert labels(-0.4, 0.6) == ["−0.4", "−0.2", "0.0", "0.2", "0.4", "0.6"]
    assert labels(0, 15000) == ["0", "5,000", "10,000", "15,000"]
    assert labels(0, 1e-5) == ["0", "2e−06", "4e−06", "6e−06", "8e−06", "1e−05"]


def test_labels_that_meet_move_apart_in_order_and_stay_inside() -> None:
    assert spread([50, 20], gap=10, low=0, high=100) == [50, 20]
    assert spread([50, 52, 51], gap=10, low=0, high=100) == [50, 70, 60]
    assert spread([98, 99], gap=10, low=0, high=100) == [90, 100]
    assert spread([5, 5, 5], gap=80, low=0, high=100) == [0, 50, 100]


def test_points_lie_where_their_ticks_are() -> None:
    svg = line_chart(curve(itc=[(1, 0), (2, 4), (3, 10)]))
    x, y = tick_places(svg, "x", "x"), tick_places(svg, "y", "y")
    assert list(x) == ["1", "2", "3"]
    assert list(y) == ["0", "2", "4", "6", "8", "10"]
    (line,) = parts(svg, "path", "line")
    # A label's baseline is 4 units below its grid line.
    assert corners(line) == [(x["1"], y["0"] - 4), (x["2"], y["4"] - 4), (x["3"], y["10"] - 4)]
    assert x["2"] - x["1"] == pytest.approx(x["3"] - x["2"], abs=0.11)
    assert y["0"] > y["10"]


def test_everything_stays_inside_the_picture() -> None:
    svg = line_chart(Curve("C", "epoch", "count", {"a name longer than its room": [(1, 12345.0), (150, 20000.0)]}))
    width = float(str(ElementTree.fromstring(svg).get("viewBox")).split()[2])
    (label,) = parts(svg, "text", "name")
    assert float(str(label.get("x"))) + 5.5 * len(str(label.text)) < width
    assert str(label.text).endswith("…")
    assert "a name longer than its room" in svg
    for tick in parts(svg, "text", "y"):
        assert float(str(tick.get("x"))) - 6 * len(str(tick.text)) > 0


def test_each_line_has_its_own_mark_and_colour() -> None:
    lines = {f"line{number}": [(1.0, float(number)), (2.0, 0.0)] for number in range(COLOURS * len(SHAPES))}
    svg = line_chart(curve(**lines))
    groups = [group for group in ElementTree.fromstring(svg).iter("g") if group.find("circle") is not None]
    looks = {(group.get("class"), str(group.findall("path")[-1].get("d"))) for group in groups}
    assert len(looks) == COLOURS * len(SHAPES)


def test_each_point_tells_its_value() -> None:
    svg = line_chart(curve(itc=[(1, 0.5), (2, 0.25)], itm=[(1, 1234)]))
    told = [element.text for element in ElementTree.fromstring(svg).iter("title")]
    assert told == ["itc: 0.5 (epoch 1)", "itc: 0.25 (epoch 2)", "itm: 1,234 (epoch 1)"]


def test_a_single_point_is_a_dot_without_a_line() -> None:
    svg = line_chart(curve(itc=[(1, 0.3)]))
    assert not parts(svg, "path", "line")
    assert len(parts(svg, "circle", "spot")) == 1
    assert len(parts(svg, "path", "mark")) == 2  # one on the chart, one in the legend


def test_values_that_are_not_finite_are_gaps() -> None:
    line = [(1.0, 1.0), (2.0, 2.0), (3.0, NAN), (4.0, math.inf), (5.0, 3.0), (6.0, NAN), (7.0, 4.0), (8.0, 5.0)]
    svg = line_chart(curve(itc=line, gone=[(1, NAN)]))
    assert [len(corners(path)) for path in parts(svg, "path", "line")] == [2, 2]
    assert len(parts(svg, "circle", "spot")) == 5
    assert "nan" not in svg
    assert "inf" not in svg
    assert "gone" not in svg


@pytest.mark.parametrize("lines", [{}, {"itc": []}, {"itc": [(1.0, NAN), (math.inf, 1.0)]}])
def test_a_chart_without_points_says_so(lines: dict[str, list[tuple[float, float]]]) -> None:
    assert "no data" in "".join(ElementTree.fromstring(line_chart(curve(**lines))).itertext())


def test_chart_escapes_its_texts() -> None:
    svg = line_chart(Curve(ATTACK, ATTACK, ATTACK, {ATTACK: [(1, 1), (2, 2)]}))
    root = ElementTree.fromstring(svg)
    assert not list(root.iter("script"))
    assert ATTACK in str(root.get("aria-label"))
    assert any(text.startswith(f"{ATTACK}: 1 ({ATTACK} 1)") for text in root.itertext())


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


def test_clusters_are_drawn_inside_their_picture_and_told_apart() -> None:
    """The largest by colour and shape, with their names; the others are dots, noise is rings."""
    named = {f"cluster {number}": [(number, -number), (3.0 * number, 5.0)] for number in range(8)}
    svg = scatter_chart(Scatter("Clusters", named, [(100.0, 100.0)], [(-100.0, -100.0), (0.0, 0.0)], "note"))
    marks = parts(svg, "path", "mark")
    assert len(marks) == 16
    groups = list(ElementTree.fromstring(svg).iter("g"))
    looks = {(group.get("class"), str(group[0].get("d"))) for group in groups}
    assert len(looks) == 8
    assert len(parts(svg, "circle", "other")) == 1
    assert len(parts(svg, "circle", "noise")) == 2
    assert next(str(element.text) for element in ElementTree.fromstring(svg).iter("title")) == "cluster 0, 2 images"
    for circle in ElementTree.fromstring(svg).iter("circle"):
        assert MARGIN <= float(str(circle.get("cx"))) <= WIDTH - MARGIN
        assert MARGIN <= float(str(circle.get("cy"))) <= HEIGHT - MARGIN
    (other,) = parts(svg, "circle", "other")
    assert (other.get("cx"), other.get("cy")) == (f"{WIDTH - MARGIN:.1f}", f"{HEIGHT - MARGIN:.1f}")
    assert "no data" in scatter_chart(Scatter("Clusters", {}, [], [], ""))
    scatter_chart(Scatter("One", {}, [(1.0, 1.0)], [], ""))  # a plane without width


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
