"""The report's page: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from data.images import open_image
from retrieval.ablation import AblationRow
from retrieval.explanation import Ranking
from retrieval.metrics import METRICS, QueryMetrics
from retrieval.report.charts import LineChart, ScatterPlot, line_chart, scatter_plot
from utils.files import write_text

IMAGE_SIZE = (176, 352)  # pixels: twice the size shown, for screens with two device pixels per CSS pixel
_JPEG_QUALITY = 74


@dataclass(frozen=True)
class Report:
    """What a report shows, in the order of the page; what is empty is shown as "no data" or left out.

    Attributes:
        title: the page's heading.
        warnings: what a reader must know ("the epoch was selected on the test split").
        ablation: rows of the table; the first is the baseline of the headline, the last the headline.
        sweep: charts of metrics over the weight of the rewrites and the number of re-ranked images.
        cameras: metrics on the gallery of one camera, by its name.
        examples: rankings by heading.
        training: charts of the training.
        clusters: the pseudo-clusters.
        statistics: of the data, by name.
        words: charts of the texts.
        setup: checkpoint, machine, versions and the like, by name.
        settings: the resolved config as YAML.
    """

    title: str
    ablation: Sequence[AblationRow]
    warnings: Sequence[str] = ()
    sweep: Sequence[LineChart] = ()
    cameras: Mapping[str, QueryMetrics] | None = None
    examples: Mapping[str, Sequence[Ranking]] | None = None
    training: Sequence[LineChart] = ()
    clusters: ScatterPlot | None = None
    statistics: Mapping[str, str] | None = None
    words: Sequence[LineChart] = ()
    setup: Mapping[str, str] | None = None
    settings: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write a report atomically; every text is escaped.

    Raises:
        UserError: a ranked image is missing or unreadable, or the page cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": "{:.2f}".format,
        "gain": _signed,
        "number": _number,
        "interval": _interval,
        "milliseconds": _milliseconds,
        "data_url": data_url,
        "line_chart": lambda chart: Markup(line_chart(chart)),
        "scatter_plot": lambda plot: Markup(scatter_plot(plot)),
    }
    text = environment.get_template("page.html").render(
        report=report,
        metrics=METRICS,
        baseline=report.ablation[0],
        full=report.ablation[-1],
        best={metric: max(row.metrics[metric] for row in report.ablation) for metric in METRICS},
    )
    # A caption read from JSON may hold half a surrogate pair, which UTF-8 cannot encode.
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))


def data_url(path: Path) -> str:
    """Return an image, shrunk to `IMAGE_SIZE`, as a JPEG data URL.

    Raises:
        BrokenImageError: the file is missing or not an image.
    """
    small = open_image(path)
    small.thumbnail(IMAGE_SIZE, Image.Resampling.LANCZOS)
    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _interval(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
