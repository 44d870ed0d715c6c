"""The evaluation report: what it shows of a run, an evaluation and a data set, and its templates.

The page is one HTML file that loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from clustering.pseudo_labels import are_labels
from data.images import open_image
from retrieval.ablation import AblationRow, SweepPoint
from retrieval.explanation import Ranking
from retrieval.metrics import METRICS, QueryMetrics
from retrieval.report.charts import MAX_NAMED, LineChart, Point, ScatterPlot, line_chart, scatter_plot
from retrieval.retrieval_set import DISTRACTOR_ID, RetrievalSet
from utils.errors import UserError
from utils.files import read_jsonl, read_npz

IMAGE_SIZE = (176, 352)  # pixels: twice the size shown, for screens with two device pixels per CSS pixel
_JPEG_QUALITY = 74
_MAX_WORDS = 60  # longer texts share the last bar of the histogram
_MAX_LINES = 6  # in a chart
_PERPLEXITY = 30.0  # of t-SNE
_MIN_POINTS = 5  # of a scatter plot
_MOST_SHOWN = 1e30  # of a chart; larger numbers, and what is no number, come from damaged logs
_LABELS_FILE = re.compile(r"pseudo_labels_(\d+)\.npz")

_LOSSES = ("loss", "itc", "itm", "id")
_BY_ROUND = {  # title -> y label, keys of a round's log entry
    "Pseudo-labels": ("count", ("clusters", "noise")),
    "Cluster size": ("images", ("mean_size", "median_size")),
    "Clustering, without ground truth": ("index", ("silhouette", "ari_before")),
    "Agreement with ground-truth identities": ("index", ("ari", "nmi", "purity")),
    "Pairs of the same identity": ("share", ("precision", "recall", "f")),
}


@dataclass(frozen=True)
class Report:
    """Content of the page apart from the ablation, in page order; empty parts are shown as "no data" or left out.

    Attributes:
        title: the page's heading.
        warnings: what a reader must know ("the epoch was selected on the test split").
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


def render(
    template: str,
    rows: Sequence[AblationRow],
    *,
    slot_counting: AblationRow | None = None,
    report: Report | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Fill in a template of this folder; texts are escaped in HTML.

    Args:
        rows: of the ablation; in the page's headline, the last is compared with the first.
        slot_counting: what counting equal slots reaches without a model, if the texts have slots.
        report: what else the page shows.
        notes: lines below a table.

    Raises:
        UserError: a ranked image is missing or unreadable.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "two_decimals": "{:.2f}".format,
        "interval": lambda interval: "[{:.1f}, {:.1f}]".format(*interval),
        "minus": lambda text: text.replace("-", "−"),
        "data_url": data_url,
        "line_chart": lambda chart: Markup(line_chart(chart)),
        "scatter_plot": lambda plot: Markup(scatter_plot(plot)),
        "latex": _escape_latex,
    }
    best = {metric: max(row.metrics[metric] for row in rows) for metric in METRICS}
    values = {"rows": rows, "metrics": METRICS, "best": best, "report": report, "notes": notes}
    text = environment.get_template(template).render(values | {"slot_counting": slot_counting})
    # A caption read from JSON may hold half a surrogate pair, which UTF-8 cannot encode.
    return text.encode("utf-8", "replace").decode("utf-8")


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


def _escape_latex(text: str) -> str:
    special: dict[str, Any] = {char: f"\\{char}" for char in "&%$#_{}"}
    special |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    return text.translate(str.maketrans(special))


def training_charts(log: Path) -> list[LineChart]:
    """Return losses, validation metrics and cluster quality from `log.jsonl`; empty if there is no log."""
    events = read_jsonl(log)
    epochs, validations, rounds = (
        [event for event in events if event["event"] == name] for name in ("epoch", "validation", "labels")
    )
    by_epoch = [(float(number), event) for number, event in enumerate(epochs, start=1)]  # of the entire run
    by_validation = [(float(number), event) for number, event in enumerate(validations, start=1)]
    by_round = [(number, event) for event in rounds if (number := _number(event.get("round"))) is not None]
    charts = [
        LineChart("Losses", "epoch", "mean of the epoch", _lines(by_epoch, _LOSSES)),
        LineChart("Validation", "epoch", "percent", _lines(by_validation, ("R1", "R10", "mAP"))),
        *(LineChart(title, "round", unit, _lines(by_round, keys)) for title, (unit, keys) in _BY_ROUND.items()),
    ]
    return [chart for chart in charts if chart.lines]


def _lines(events: Sequence[tuple[float, dict[str, Any]]], names: Sequence[str]) -> dict[str, list[Point]]:
    lines = {
        name: [(x, value) for x, event in events if (value := _number(event.get(name))) is not None] for name in names
    }
    return {name: points for name, points in lines.items() if points}


def _number(value: object) -> float | None:
    """Return a number of the log that a chart can show, or None."""
    return float(value) if isinstance(value, int | float) and abs(value) < _MOST_SHOWN else None


def sweep_charts(points: Sequence[SweepPoint], *, weight: float) -> list[LineChart]:
    """Return R1 and mAP over the weight of the rewrites, a line per k, and over k, with and without rewrites."""
    ks, weights = sorted({point.k for point in points}), sorted({point.weight for point in points})
    at = {(point.weight, point.k): point.metrics for point in points}
    shown = sorted({ks[round(place)] for place in np.linspace(0, len(ks) - 1, _MAX_LINES)})
    charts = []
    for name in ("R1", "mAP"):
        over_weight = {f"k = {k}": [(w, at[w, k][name]) for w in weights if (w, k) in at] for k in shown}
        over_k = {f"w = {w:g}": [(float(k), at[w, k][name]) for k in ks if (w, k) in at] for w in (0.0, weight)}
        for title, label, lines in (
            ("weight of the rewrites", "weight w", over_weight),
            ("number of re-ranked images", "re-ranked images per query, k", over_k),
        ):
            long = {line: values for line, values in lines.items() if len(values) > 2}
            if long:
                charts.append(LineChart(f"{name} by {title}", label, "percent", long))
    return charts


def word_charts(texts: Mapping[str, Sequence[str | None]]) -> list[LineChart]:
    """Return a histogram of the number of words, a line for each kind of text."""
    lines = {}
    for name, kind in texts.items():
        counts = Counter(min(words, _MAX_WORDS) for words in _words([text for text in kind if text]))
        if counts:
            total = counts.total()
            lines[name] = [(float(words), 100 * counts[words] / total) for words in range(min(counts), max(counts) + 1)]
    return [LineChart("Words per text", "words", "percent of texts", lines)] if lines else []


def cluster_plot(run: Path, *, seed: int = 0) -> ScatterPlot | None:
    """Return the last round's sample of fused features in a plane (t-SNE); None if the run has none.

    Raises:
        UserError: that round's file is damaged.
    """
    rounds = [int(match[1]) for file in run.glob("*.npz") if (match := _LABELS_FILE.fullmatch(file.name))]
    if not rounds:
        return None
    file = run / f"pseudo_labels_{max(rounds)}.npz"
    stored = read_npz(file, ["labels"], optional=["sample", "features"])
    if not {"sample", "features"} <= stored.keys():  # runs of older versions stored no sample
        return None
    labels, sample, features = stored["labels"], stored["sample"], stored["features"]
    is_sample = sample.ndim == 1 and sample.dtype.kind == "i" and features.dtype.kind == "f" and features.ndim == 2
    if not (are_labels(labels) and is_sample and len(sample) == len(features) and features.shape[1]):
        raise UserError(f"{file} is damaged: restore it, or remove it, and the report has no plot of the clusters")
    if not (np.isin(sample, np.arange(len(labels))).all() and np.isfinite(features).all()):
        raise UserError(f"{file} is damaged: its sample does not fit its labels, or holds features that are not finite")
    if len(sample) < _MIN_POINTS:
        return None
    features = features.astype(np.float32)

    from sklearn.manifold import TSNE  # takes a second to load

    features /= np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    own, sizes = labels[sample], np.bincount(labels[labels >= 0])
    largest = np.argsort(-sizes, kind="stable")[:MAX_NAMED]

    part = "" if len(sample) == len(labels) else f"{len(sample):,} of "
    return ScatterPlot(
        title="Pseudo-clusters of the last round",
        named={f"cluster {label}": plane[own == label] for label in largest if (own == label).any()},
        others=plane[(own >= 0) & ~np.isin(own, largest)],
        noise=plane[own < 0],
        note=f"t-SNE of the fused features of {part}{len(labels):,} training images, with the {len(sizes):,} clusters "
        f"of the last round: the {len(largest)} largest in color, the others as gray dots, noise "
        f"({int((labels < 0).sum()):,} images) as rings.",
    )


def data_statistics(retrieval: RetrievalSet) -> dict[str, str]:
    """Return the numbers of images, identities, queries and texts, by name."""
    known = retrieval.gallery_ids[retrieval.gallery_ids != DISTRACTOR_ID]
    _, images = np.unique(known, return_counts=True)
    identities, queries = np.unique(retrieval.query_ids, return_counts=True)
    statistics = {
        "Gallery": f"{len(known):,} images of {len(images):,} identities",
        "Images per identity": _range(images),
        "Queries": f"{len(retrieval.queries):,} of {len(identities):,} identities",
        "Queries per identity": _range(queries),
        "Words per query": _range(_words(retrieval.queries)),
        "Rewrites": _text_statistics(retrieval.rewrites),
        "Captions of the gallery": _text_statistics(retrieval.captions),
    }
    distractors = len(retrieval.gallery_ids) - len(known)
    return statistics | ({"Distractors": f"{distractors:,} images"} if distractors else {})


def _text_statistics(texts: Sequence[str | None]) -> str:
    present = [text for text in texts if text is not None]
    if not present:
        return "none"
    missing = f", {len(texts) - len(present):,} missing" if len(present) < len(texts) else ""
    return f"{len(present):,} ({len(set(present)):,} distinct){missing}; words: {_range(_words(present))}"


def _words(texts: Sequence[str]) -> list[int]:
    return [len(re.findall(r"\w+", text)) for text in texts]


def _range(values: Sequence[int] | np.ndarray) -> str:
    if not len(values):
        return "none"
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}, median {np.median(values):g}"
