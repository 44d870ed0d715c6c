"""The report's page: content in, one HTML file out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from retrieval.figures import FIGURES
from retrieval.report.charts import line_chart
from retrieval.report.content import AblationRow, Curve, QueryExample, Scatter
from retrieval.report.pictures import data_url
from retrieval.report.scatter import scatter_chart
from utils.files import write_text

SHOWN_IMAGES = 10
NO_DATA = "no data"


def write_report(
    path: Path,
    *,
    title: str,
    ablation: Sequence[AblationRow],
    examples: Sequence[QueryExample],
    curves: Sequence[Curve],
    facts: Mapping[str, str],
    warnings: Sequence[str] = (),
    parts: Sequence[Curve] = (),
    cameras: Mapping[str, tuple[int, Mapping[str, float]]] | None = None,
    clusters: Scatter | None = None,
    statistics: Mapping[str, str] | None = None,
    words: Sequence[Curve] = (),
    settings: str = "",
) -> None:
    """Write the test report to `path`: one HTML file that loads nothing from anywhere.

    Every text is escaped. Empty sequences and values that are not finite are shown as "no data".

    Args:
        path: the file to write, whole or not at all.
        title: the page's heading.
        ablation: the figures in the order of the table; the row with both parts gives the headline.
        examples: queries in the order of the page; of each, the first `SHOWN_IMAGES` images are shown.
        curves: charts in the order of the page.
        facts: what ran where on what, by name.
        warnings: what a reader of the figures must know ("the epoch was chosen on the test split").
        parts: charts of the figures over the weight of the rewrites and the images that are matched.
        cameras: queries and figures of each camera's gallery, by its name.
        clusters: a picture of the pseudo-clusters.
        statistics: of the data, by name.
        words: charts of the texts.
        settings: the resolved config, as text.

    Raises:
        UserError: a ranked image is missing or unreadable, or the page cannot be written.
    """
    page = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(data_url=data_url, percent=_percent, gain=_gain, score=_score)
    page.filters.update(bounds=_bounds, milliseconds=_milliseconds)
    text = page.get_template("page.html").render(
        title=title,
        metrics=FIGURES,
        ablation=ablation,
        best={metric: _best(ablation, metric) for metric in FIGURES},
        full=_row(ablation, msm=True, itm=True),
        plain=_row(ablation, msm=False, itm=False),
        costs=any(row.milliseconds is not None for row in ablation),
        charts=_drawn(curves),
        parts=_drawn(parts),
        words=_drawn(words),
        groups=_groups(examples),
        warnings=warnings,
        cameras=cameras or {},
        clusters=clusters,
        scatter=Markup(scatter_chart(clusters)) if clusters else "",
        statistics=statistics or {},
        settings=settings,
        shown=SHOWN_IMAGES,
        facts=facts,
    )
    # A caption read from JSON may hold half a surrogate pair, which UTF-8 cannot write.
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))


def _drawn(curves: Sequence[Curve]) -> list[tuple[str, Markup]]:
    return [(curve.title, Markup(line_chart(curve))) for curve in curves]


def _groups(examples: Sequence[QueryExample]) -> dict[str, list[QueryExample]]:
    """The examples under their headings, in order."""
    groups: dict[str, list[QueryExample]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    return groups


def _row(ablation: Sequence[AblationRow], *, msm: bool, itm: bool) -> AblationRow | None:
    return next((row for row in ablation if (row.msm, row.itm) == (msm, itm)), None)


def _best(ablation: Sequence[AblationRow], metric: str) -> float | None:
    """The highest finite value of a column; None where one row has nothing to be compared with."""
    values = [value for row in ablation if math.isfinite(value := getattr(row, metric))]
    return max(values) if len(values) > 1 else None


def _percent(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else NO_DATA


def _gain(value: float, base: float) -> str:
    """The signed difference of two percentages, or nothing where there is none."""
    return f"{value - base:+.2f}".replace("-", "−") if math.isfinite(value - base) else ""


def _score(value: float) -> str:
    return f"{value:.3f}".replace("-", "−") if math.isfinite(value) else NO_DATA


def _bounds(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:.1f}, {bounds[1]:.1f}]"


def _milliseconds(value: float | None) -> str:
    return NO_DATA if value is None else f"{value:.2f}" if value < 100 else f"{value:,.0f}"
