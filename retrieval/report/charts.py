"""Charts of the report as inline SVG, drawn by matplotlib in colors that follow the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING  # only drawing loads matplotlib, which takes a second
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
Points = Sequence[Point] | NDArray[np.float32]

# Colors as matplotlib draws them -> variables of style.css, which has other values for dark mode.
SERIES = ("#0067a5", "#c24e00", "#00805c", "#a4437f", "#846a00", "#55595e")
_INK, _QUIET, _GRID, _SHEET = "#1b1d20", "#5b6168", "#ebebe6", "#ffffff"
_VARIABLES = {color: f"var(--series-{number})" for number, color in enumerate(SERIES)}
_VARIABLES |= {_INK: "var(--ink)", _QUIET: "var(--quiet)", _GRID: "var(--grid)", _SHEET: "var(--sheet)"}
# Lines can be distinguished without color, too; five markers and six colors: a pair first repeats at the 31st line.
MARKERS = ("o", "s", "D", "^", "v")
MAX_NAMED = 2 * len(SERIES)  # groups of a scatter plot that are easy to distinguish
_MAX_MARKED = 24  # points; the markers of longer lines would run into one another
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_STYLE = Path(__file__).with_name("charts.mplstyle")


@dataclass(frozen=True)
class LineChart:
    """One or more lines over the same axes.

    Attributes:
        title: what the chart shows ("Losses").
        x_label: the quantity along the horizontal axis ("epoch").
        y_label: the quantity along the vertical axis, with its unit.
        lines: points (x, y) by the name of their line; a point that is not finite is a gap.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[Point]]


@dataclass(frozen=True)
class ScatterPlot:
    """Points of a plane in groups, some of which are named.

    Attributes:
        title: what the plot shows.
        named: points [N, 2] by group, each group with its own look.
        others: points of groups that are too many or too small to be distinguished.
        noise: points that belong to no group.
        note: text below the plot.
    """

    title: str
    named: Mapping[str, Points]
    others: Points
    noise: Points
    note: str


def line_chart(chart: LineChart) -> str:
    """Draw a chart as one `<svg>` element, with a legend of last values and a tooltip on each point."""
    lines = {
        name: [point for point in points if all(map(math.isfinite, point))] for name, points in chart.lines.items()
    }
    lines = {name: points for name, points in lines.items() if points}
    tooltips: dict[str, Sequence[str]] = {}
    with _figure(380, 262) as figure:
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(lines.items()):
            color, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
            marked = None if len(points) <= _MAX_MARKED else [len(chart.lines[name]) - 1]
            label = f"{name}: {_text(points[-1][1], digits=3)}"
            axes.plot(
                *np.reshape(chart.lines[name], (-1, 2)).T, color=color, marker=marker, markevery=marked, label=label
            )
            # Large transparent markers, which a pointer hits easily.
            axes.plot(*np.reshape(points, (-1, 2)).T, "o", color=color, alpha=0, markersize=14, gid=f"points {number}")
            tooltips[f"points {number}"] = [f"{name}: {_text(y)} ({chart.x_label} {_text(x)})" for x, y in points]
        _style_axes(axes, chart)
        if lines:
            columns = max(1, 60 // (max(len(text) for text in axes.get_legend_handles_labels()[1]) + 5))
            figure.legend(loc="outside upper left", ncols=columns, frameon=False, handlelength=1, columnspacing=1.2)
        summary = "; ".join(f"{name} ends at {_text(points[-1][1])}" for name, points in lines.items())
        return _inline_svg(figure, f"{chart.title}: {summary or 'no data'}", tooltips)


def scatter_plot(plot: ScatterPlot) -> str:
    """Draw a scatter plot as one `<svg>` element, with the name of its group as the tooltip of a point."""
    tooltips = {name: [f"{name}, {len(points)} images"] for name, points in plot.named.items()}
    with _figure(1000, 620) as figure:
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.plot(*np.reshape(plot.noise, (-1, 2)).T, "o", mfc="none", mec=_QUIET, alpha=0.35, markersize=5)
        axes.plot(*np.reshape(plot.others, (-1, 2)).T, "o", color=_QUIET, alpha=0.45, markersize=5, mew=0)
        for number, (name, points) in enumerate(plot.named.items()):
            color, marker = SERIES[number % len(SERIES)], MARKERS[number // len(SERIES) % len(MARKERS)]
            axes.plot(*np.reshape(points, (-1, 2)).T, marker, color=color, markersize=8, gid=name)
        count = len(plot.noise) + len(plot.others) + sum(map(len, plot.named.values()))
        return _inline_svg(figure, f"{plot.title}: {count} points", tooltips)


@contextmanager
def _figure(width: int, height: int) -> Iterator[Figure]:
    """A figure whose size in CSS pixels is that of its `<svg>` element at full size."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(fname=_STYLE):
        yield Figure(figsize=(width / 72, height / 72), layout="constrained")  # matplotlib's SVG has 72 units per inch


def _style_axes(axes: Axes, chart: LineChart) -> None:
    from matplotlib.ticker import MaxNLocator

    steps = [1, 2, 5, 10]
    integers = all(float(x).is_integer() for points in chart.lines.values() for x, _ in points)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=steps, integer=integers))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=steps))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _text(value, digits=6))
    axes.set_title(chart.y_label, loc="left")
    axes.set_xlabel(chart.x_label)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "left", "right"]].set_visible(False)


def _inline_svg(figure: Figure, label: str, tooltips: Mapping[str, Sequence[str]]) -> str:
    """Save a figure as an `<svg>` element for the body of a page.

    Args:
        label: describes the chart to screen readers.
        tooltips: by `gid` of an artist: one for each of its markers, or a single one for all.
    """
    file = StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(file.getvalue())
    root.attrib = {"class": "chart", "viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = {key.removeprefix(_XLINK): value for key, value in element.attrib.items()}
        style = element.get("style", "")
        for color, variable in _VARIABLES.items():
            style = style.replace(color, variable)
        if style:
            element.set("style", style)
    for definitions in root.findall("defs"):  # matplotlib's rules, which would apply to the entire page
        for rules in definitions.findall("style"):
            definitions.remove(rules)
    for group in list(root.iter("g")):
        texts = tooltips.get(group.attrib.pop("id", ""), ())  # other ids would be repeated in the next chart
        targets = list(group.iter("use")) if len(texts) > 1 else [group]
        for target, text in zip(targets, texts, strict=bool(texts)):
            ElementTree.SubElement(target, "title").text = text
    return ElementTree.tostring(root, encoding="unicode")


def _text(value: float, *, digits: int = 4) -> str:
    """A number with so many significant digits, whole numbers with all of theirs."""
    integer = float(value).is_integer() and abs(value) < 1e9
    return (f"{value:,.0f}" if integer else f"{value:.{digits}g}").replace("-", "−")
