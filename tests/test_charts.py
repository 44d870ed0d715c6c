"""Charts of the report: places worked out by hand, marks told apart, texts as text."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from retrieval.report import Curve, Scatter
from retrieval.report.axes import Axis, nice_step, spread
from retrieval.report.charts import COLOURS, SHAPES, line_chart
from retrieval.report.scatter import HEIGHT, MARGIN, WIDTH, scatter_chart

NAN = math.nan
ATTACK = "<script>alert(1)</script> \"quoted\" & 'so'"


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
