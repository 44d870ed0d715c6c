"""Line charts as SVG text: no library, no script; colours and type come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from retrieval.report.axes import Axis, spread
from retrieval.report.content import Curve

WIDTH, HEIGHT = 380, 236  # without the legend, which adds its own height
LETTER = 6.3  # mean width of a letter at the style sheet's chart type size, in the picture's units
LEGEND_LINE = 18
LABEL_LETTERS = 12
MARKED_POINTS = 24  # above this many points in a line, marks would run into one another
COLOURS = 6  # `.series-0` ... in the style sheet

# Told apart without colour. Five shapes against six colours: the pair first repeats at the thirty-first line.
SHAPES = (
    "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z",
    "M-2.9-2.9h5.8v5.8h-5.8z",
    "M0-4.1L4.1 0L0 4.1L-4.1 0z",
    "M0-3.9L3.9 2.9H-3.9z",
    "M0 3.9L3.9-2.9H-3.9z",
)

Point = tuple[float, float]


def line_chart(curve: Curve) -> str:
    """Draw `curve` as one `<svg>` element, `WIDTH` units wide, for the body of an HTML page.

    Each line ends in its name; the legend adds its mark and its last value; each point tells its value when pointed at.
    A point that is not finite leaves a gap, a point between two gaps is a dot, and a chart without points says so.
    """
    lines = {name: points for name, points in curve.lines.items() if any(map(_drawable, points))}
    legend, legend_height = _legend(lines)
    height = HEIGHT + legend_height
    opening = f'class="chart" viewBox="0 0 {WIDTH} {height}" role="img"'
    if not lines:
        note = f'<text class="none" x="{WIDTH / 2:g}" y="{height / 2:g}" text-anchor="middle">no data</text>'
        return f'<svg {opening} aria-label="{escape(curve.title)}: no data">{note}</svg>'

    points = [point for line in lines.values() for point in line if _drawable(point)]
    top, bottom = legend_height + 28.0, height - 38.0
    down = Axis.outward([y for _, y in points], start=bottom, end=top)
    left = 10 + LETTER * max(len(down.label(tick)) for tick in down.ticks)
    right = WIDTH - 16 - LETTER * max(len(_short(name)) for name in lines)
    along = Axis.exact([x for x, _ in points], start=left + 8, end=right - 4)

    parts = [legend, _axes(curve, along, down, left=left, right=right), _end_labels(lines, along, down, right=right)]
    parts += [_line(name, line, index, curve, along, down) for index, (name, line) in enumerate(lines.items())]
    summary = "; ".join(f"{name} ends at {_value(_last(line)[1])}" for name, line in lines.items())
    return f'<svg {opening} aria-label="{escape(f"{curve.title}: {summary}")}">{"".join(parts)}</svg>'


def _axes(curve: Curve, along: Axis, down: Axis, *, left: float, right: float) -> str:
    """Grid lines with their values, and the names of both quantities."""
    parts = [f'<text class="unit" x="0" y="{down.end - 14:.1f}">{escape(curve.y_label)}</text>']
    for tick in down.ticks:
        y = down.place(tick)
        parts.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
        parts.append(f'<text class="tick y" x="{left - 7:.1f}" y="{y + 4:.1f}">{down.label(tick)}</text>')
    for tick in along.ticks:
        x = along.place(tick)
        parts.append(f'<path class="notch" d="M{x:.1f} {down.start:.1f}v4"/>')
        parts.append(f'<text class="tick x" x="{x:.1f}" y="{down.start + 17:.1f}">{along.label(tick)}</text>')
    middle = (left + right) / 2
    parts.append(f'<path class="base" d="M{left:.1f} {down.start:.1f}H{right:.1f}"/>')
    parts.append(f'<text class="unit x" x="{middle:.1f}" y="{down.start + 33:.1f}">{escape(curve.x_label)}</text>')
    return "".join(parts)


def _line(name: str, line: Sequence[Point], index: int, curve: Curve, along: Axis, down: Axis) -> str:
    """One line with its marks and, over each point, a place that tells the value when pointed at."""
    runs = _runs(line)
    places = [[(along.place(x), down.place(y)) for x, y in run] for run in runs]
    parts = [
        '<path class="line" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + '"/>'
        for run in places
        if len(run) > 1
    ]
    everywhere = sum(map(len, runs)) <= MARKED_POINTS
    for run, spots in zip(runs, places, strict=True):
        for number, (value, (x, y)) in enumerate(zip(run, spots, strict=True)):
            last = run is runs[-1] and number == len(run) - 1
            if everywhere or last or len(run) == 1:
                parts.append(_mark(index, x, y))
            told = f"{name}: {_value(value[1])} ({curve.x_label} {_value(value[0])})"
            parts.append(f'<circle class="spot" cx="{x:.1f}" cy="{y:.1f}" r="7"><title>{escape(told)}</title></circle>')
    return f'<g class="{_colour(index)}">{"".join(parts)}</g>'


def _end_labels(lines: dict[str, Sequence[Point]], along: Axis, down: Axis, *, right: float) -> str:
    """The name of each line beside its last point, moved apart where two would cover each other."""
    ends = [_last(line) for line in lines.values()]
    places = [(along.place(x), down.place(y)) for x, y in ends]
    heights = spread([y for _, y in places], gap=13.0, low=down.end, high=down.start)
    parts = []
    for index, (name, (x, y), height) in enumerate(zip(lines, places, heights, strict=True)):
        leader = f'<path class="leader" d="M{x + 6:.1f} {y:.1f}L{right + 8:.1f} {height:.1f}"/>'
        text = f'<text class="name" x="{right + 11:.1f}" y="{height + 4:.1f}">{escape(_short(name))}</text>'
        moved = abs(height - y) > 3 or right - x > 10
        parts.append(f'<g class="{_colour(index)}">{leader if moved else ""}{text}</g>')
    return "".join(parts)


def _legend(lines: dict[str, Sequence[Point]]) -> tuple[str, int]:
    """Mark, name and last value of each line, in as many rows as they need; with the height that they take."""
    parts, x, y = [], 5.0, 10
    for index, (name, line) in enumerate(lines.items()):
        value = _value(_last(line)[1], digits=3)
        width = 24 + LETTER * (len(name) + 1 + len(value))
        if x > 5 and x + width > WIDTH:
            x, y = 5.0, y + LEGEND_LINE
        text = f'{escape(name)} <tspan class="last">{value}</tspan>'
        mark = f'<g class="{_colour(index)}">{_mark(index, x, y)}</g>'
        parts.append(f'{mark}<text class="key" x="{x + 9:.1f}" y="{y + 4:.1f}">{text}</text>')
        x += width
    return "".join(parts), y + 10


def _mark(index: int, x: float, y: float) -> str:
    return f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{SHAPES[index % len(SHAPES)]}"/>'


def _colour(index: int) -> str:
    return f"series-{index % COLOURS}"


def _runs(line: Sequence[Point]) -> list[list[Point]]:
    """The stretches of `line` between its gaps, none of them empty."""
    runs: list[list[Point]] = [[]]
    for point in line:
        if _drawable(point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _drawable(point: Point) -> bool:
    """Finite, and small enough that the difference of two such values is finite too."""
    return all(abs(value) < 1e300 for value in point) and not any(map(math.isnan, point))


def _last(line: Sequence[Point]) -> Point:
    return next(point for point in reversed(line) if _drawable(point))


def _short(name: str) -> str:
    return name if len(name) <= LABEL_LETTERS else name[: LABEL_LETTERS - 1] + "…"


def _value(value: float, *, digits: int = 4) -> str:
    """So many significant digits, and every digit of a whole number."""
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")
