"""A scatter of groups as SVG text, in the look of the charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from retrieval.report.charts import COLOURS, SHAPES
from retrieval.report.content import Scatter

WIDTH, HEIGHT, MARGIN = 1000, 620, 12
NAMED = COLOURS * 2  # groups that colour and shape can tell apart at a glance

Point = tuple[float, float]


def scatter_chart(scatter: Scatter) -> str:
    """Draw `scatter` as one `<svg>` element; a group's name shows when one of its points is pointed at."""
    everything = [*scatter.others, *scatter.none, *(point for points in scatter.named.values() for point in points)]
    label = escape(f"{scatter.title}: {len(everything)} points")
    opening = f'<svg class="chart scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    if not everything:
        middle = f'x="{WIDTH / 2:g}" y="{HEIGHT / 2:g}" text-anchor="middle"'
        return f'{opening}<text class="none" {middle}>no data</text></svg>'
    xs, ys = zip(*everything, strict=True)
    wide, high = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0

    def place(point: Point) -> Point:
        x, y = (point[0] - min_x) / wide, (point[1] - min_y) / high
        return MARGIN + x * (WIDTH - 2 * MARGIN), MARGIN + y * (HEIGHT - 2 * MARGIN)

    min_x, min_y = min(xs), min(ys)
    parts = [_dots("noise", map(place, scatter.none)), _dots("other", map(place, scatter.others))]
    for number, (name, points) in enumerate(scatter.named.items()):
        marks = "".join(_mark(number, place(point), name, len(points)) for point in points)
        parts.append(f'<g class="series-{number % COLOURS}">{marks}</g>')
    return f"{opening}{''.join(parts)}</svg>"


def _dots(kind: str, places: Sequence[Point] | map[Point]) -> str:
    return "".join(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in places)


def _mark(number: int, place: Point, name: str, size: int) -> str:
    shape = SHAPES[number // COLOURS % len(SHAPES)]
    told = escape(f"{name}, {size} images")
    return (
        f'<path class="mark" transform="translate({place[0]:.1f} {place[1]:.1f}) scale(1.25)" d="{shape}">'
        f"<title>{told}</title></path>"
    )
