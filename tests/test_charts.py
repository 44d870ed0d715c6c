"""Charts of the report: inline SVG in the page's colors, with tooltips, the same each time."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from retrieval.report.charts import MARKERS, SERIES, LineChart, ScatterPlot, line_chart, scatter_plot

ATTACK = "<script>alert(1)</script> \"quoted\" & 'so' $x^2$"


def chart(**lines: list[tuple[float, float]]) -> LineChart:
    return LineChart("Losses", "epoch", "loss", lines)


def tooltips(svg: str) -> list[str]:
    return [str(title.text) for title in ElementTree.fromstring(svg).iter("title")]


def texts(svg: str) -> list[str]:
    return [str(text.text) for text in ElementTree.fromstring(svg).iter("text")]


def test_points_are_where_their_ticks_are() -> None:
    """The expected positions of the markers follow from those of the tick labels."""
    root = ElementTree.fromstring(line_chart(chart(itc=[(1, 0), (2, 4), (3, 10)])))
    places = {str(text.text): (float(text.attrib["x"]), float(text.attrib["y"])) for text in root.iter("text")}
    marks = [use for use in root.iter("use") if use.find("title") is not None]
    marks_x, marks_y = ([float(use.attrib[axis]) for use in marks] for axis in "xy")
    assert marks_x == pytest.approx([places[tick][0] for tick in "123"], abs=0.01)
    height = places["0"][1] - places["10"][1]
    assert [marks_y[0] - y for y in marks_y] == pytest.approx([0, 0.4 * height, height], abs=0.01)


def test_each_point_has_a_tooltip() -> None:
    svg = line_chart(chart(itc=[(1, 0.5), (2, -0.25)], itm=[(1, 1234)]))
    assert tooltips(svg) == ["itc: 0.5 (epoch 1)", "itc: −0.25 (epoch 2)", "itm: 1,234 (epoch 1)"]
    assert {"itc: −0.25", "itm: 1,234", "epoch", "loss"} <= set(texts(svg))


def test_values_that_are_not_finite_are_gaps() -> None:
    line = [(1.0, 1.0), (2.0, 2.0), (3.0, math.nan), (4.0, math.inf), (5.0, 3.0)]
    svg = line_chart(chart(itc=line, gone=[(1.0, math.nan)]))
    assert len(tooltips(svg)) == 3
    assert "nan" not in svg
    assert "inf" not in svg
    assert "gone" not in svg


@pytest.mark.parametrize("lines", [{}, {"itc": []}, {"itc": [(1.0, math.nan), (math.inf, 1.0)]}])
def test_a_chart_without_points_says_so(lines: dict[str, list[tuple[float, float]]]) -> None:
    assert ElementTree.fromstring(line_chart(chart(**lines))).get("aria-label") == "Losses: no data"


def test_lines_differ_in_color_and_marker() -> None:
    lines = {f"line{number}": [(1.0, float(number)), (2.0, 0.0)] for number in range(len(SERIES) * len(MARKERS))}
    root = ElementTree.fromstring(line_chart(chart(**lines)))
    shapes = {path.attrib["id"]: path.attrib["d"] for path in root.iter("path") if "id" in path.attrib}
    visible = [
        use for use in root.iter("use") if "opacity: 0" not in use.get("style", "") and "series" in str(use.attrib)
    ]
    looks = {(shapes[use.attrib["href"][1:]], use.attrib["style"]) for use in visible}
    assert len(looks) == len(lines)


def test_colors_follow_the_page_and_nothing_is_loaded_or_repeated() -> None:
    """Every color is a variable of the style sheet, so that dark mode works; no rule applies beyond the chart."""
    for svg in (
        line_chart(chart(itc=[(1, 1), (2, 2)])),
        scatter_plot(ScatterPlot("Clusters", {"cluster 0": [(0.0, 1.0)]}, [(1.0, 1.0)], [(2.0, 3.0)], "")),
    ):
        assert "#" not in svg.replace('href="#', "").replace("url(#", "")
        assert "var(--series-0)" in svg
        assert "http" not in svg
        assert "<style" not in svg
        assert 'id="figure_1"' not in svg


def test_charts_are_the_same_each_time() -> None:
    assert line_chart(chart(itc=[(1, 1), (2, 2)])) == line_chart(chart(itc=[(1, 1), (2, 2)]))


def test_texts_stay_texts() -> None:
    svg = line_chart(LineChart(ATTACK, ATTACK, ATTACK, {ATTACK: [(1, 1), (2, 2)]}))
    root = ElementTree.fromstring(svg)
    assert not list(root.iter("script"))
    assert ATTACK in str(root.get("aria-label"))
    assert tooltips(svg)[0] == f"{ATTACK}: 1 ({ATTACK} 1)"
    assert ATTACK in texts(svg)


def test_the_largest_clusters_can_be_distinguished() -> None:
    """By color and marker, with their names as tooltips; other images are dots, noise is rings."""
    named = {f"cluster {number}": [(number, -number), (3.0 * number, 5.0)] for number in range(8)}
    svg = scatter_plot(ScatterPlot("Clusters", named, [(100.0, 100.0)], [(-100.0, -100.0), (0.0, 0.0)], "note"))
    assert tooltips(svg) == [f"{name}, 2 images" for name in named]
    root = ElementTree.fromstring(svg)
    assert len(list(root.iter("use"))) == 16 + 1 + 2
    assert root.get("aria-label") == "Clusters: 19 points"
    scatter_plot(ScatterPlot("One", {}, [(1.0, 1.0)], [], ""))  # a plane without extent
