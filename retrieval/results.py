"""What an evaluation has found, and the files that it is written to."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers

from retrieval.ablation import AblationRow, SweepPoint
from retrieval.explanation import ScoreBreakdown, example_rankings, write_per_query
from retrieval.metrics import METRICS, QueryMetrics
from retrieval.report.content import cluster_plot, data_statistics, sweep_charts, training_charts, word_charts
from retrieval.report.page import Report, write_report
from utils.files import write_json, write_text
from utils.logs import log

_TITLES = {"cuhk_pedes": "CUHK-PEDES", "icfg_pedes": "ICFG-PEDES", "rstpreid": "RSTPReid", "demo": "the synthetic demo"}
_VARIANT_NAMES = ("plain", "msm", "itm", "both")  # in per_query.jsonl, in the order of the ablation's rows


@dataclass(frozen=True)
class Provenance:
    """Where results come from.

    Attributes:
        data: name of the data set.
        root: its folder.
        trained_on: name of the data set that the model was trained on, if it is another.
        selected_on: the split on which the epoch was selected.
        checkpoint: the weights.
    """

    data: str
    root: str
    trained_on: str | None
    selected_on: str
    checkpoint: Path

    @property
    def title(self) -> str:
        """A heading for the results."""
        trained = f", trained on {_TITLES.get(self.trained_on, self.trained_on)}" if self.trained_on else ""
        return f"TSN on {_TITLES.get(self.data, self.data)}{trained}"


@dataclass(frozen=True)
class Results:
    """What an evaluation has found.

    Attributes:
        provenance: where it comes from.
        rows: the variants of the method, the full method last.
        sweep: metrics over weights and k.
        tuned: config keys that were tuned on the validation split: `msm_weight`, `k_test`.
        validation_sweep: metrics on that split over weights and k; empty if nothing was tuned.
        breakdown: the scores of the full method.
        cameras: the metrics on the gallery of one camera, by its name.
    """

    provenance: Provenance
    rows: Sequence[AblationRow]
    sweep: Sequence[SweepPoint]
    tuned: Sequence[str]
    validation_sweep: Sequence[SweepPoint]
    breakdown: ScoreBreakdown
    cameras: Mapping[str, QueryMetrics]

    @property
    def warnings(self) -> list[str]:
        """What a reader of the metrics must know."""
        retrieval, k, found = self.breakdown.retrieval, self.breakdown.k, []
        if self.provenance.selected_on == "test":
            found.append("the epoch was selected on the test split: these metrics are not of unseen data")
        if missing := self.rows[-1].queries.num_queries_without_match:
            found.append(f"{missing} queries have no match in the gallery: they count as never found")
        if missing := retrieval.num_missing_rewrites:
            found.append(f"{missing} of {len(retrieval.queries)} queries have no rewrite: they are scored without MSM")
        if missing := retrieval.num_missing_captions:
            found.append(
                f"{missing} of {len(retrieval.records)} gallery images have no caption: they are scored without MSM"
            )
        msm, both = (row.metrics["R1"] for row in (self.rows[1], self.rows[3]))
        if k and both < msm:
            found.append(f"matching lowers R1 from {msm:.2f} to {both:.2f}: this model is better without it")
        if not self.breakdown.weight:
            found.append("the weight of the rewrites is 0: rows with MSM equal those without")
        if not k:
            found.append("no image is re-ranked: rows with ITM equal those without")
        if k > len(retrieval.records):
            found.append(f"eval.k_test={k} exceeds the gallery of {len(retrieval.records)} images: all are re-ranked")
        return found

    @property
    def settings(self) -> dict[str, str]:
        """Weight and k, with how they were determined."""
        tuned = {
            key: " (tuned on the validation split)" if key in self.tuned else "" for key in ("msm_weight", "k_test")
        }
        return {
            "Weight of the rewrites": f"{self.breakdown.weight:g}{tuned['msm_weight']}",
            "Re-ranked images per query": f"{self.breakdown.k}{tuned['k_test']}",
            "Epoch selected on": self.provenance.selected_on,
        }

    @property
    def notes(self) -> list[str]:
        """Lines that belong under a table of the metrics."""
        retrieval, trained_on = self.breakdown.retrieval, self.provenance.trained_on
        data = f"{self.provenance.data}, trained on {trained_on}" if trained_on else self.provenance.data
        return [
            f"{data}: {len(retrieval.queries)} queries, {len(retrieval.records)} gallery images",
            "; ".join(f"{name[0].lower()}{name[1:]}: {value}" for name, value in self.settings.items()),
            *(
                f"camera {name}: {len(queries.query_ids)} queries, R1 {queries.means()['R1']:.2f}, "
                f"mAP {queries.means()['mAP']:.2f}"
                for name, queries in self.cameras.items()
            ),
            *self.warnings,
        ]


def write_results(
    folder: Path, results: Results, *, run: Path, examples: int, config: str, setup: Mapping[str, str]
) -> None:
    """Log a table of the results; write `metrics.json`, `per_query.jsonl`, `table.md`, `table.tex`, `report.html`.

    Args:
        run: the folder of the training, for its log and clusters.
        examples: number of queries that the report shows.
        config: the resolved config as YAML.
        setup: what the report says of the model and the machine, by name.
    """
    rows, breakdown, retrieval = results.rows, results.breakdown, results.breakdown.retrieval
    log.info("\n".join([text_table(rows), *results.notes]))
    write_json(folder / "metrics.json", _to_json(results))  # first: the others follow from it and the checkpoint
    variants = {name: row.queries for name, row in zip(_VARIANT_NAMES, rows, strict=True)}
    write_per_query(folder / "per_query.jsonl", breakdown, variants)
    write_text(folder / "table.md", markdown_table(rows, results.notes))
    write_text(folder / "table.tex", latex_table(rows, results.notes))
    texts = {"queries": retrieval.queries, "rewrites": retrieval.rewrites, "captions": retrieval.captions}
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    report = Report(
        title=results.provenance.title,
        ablation=rows,
        warnings=results.warnings,
        sweep=sweep_charts(results.sweep, weight=breakdown.weight),
        cameras=results.cameras,
        examples=example_rankings(breakdown, rows[-1].queries, count=examples),
        training=training_charts(run / "log.jsonl"),
        clusters=cluster_plot(run),
        statistics=data_statistics(retrieval),
        words=word_charts(texts),
        setup={
            "Checkpoint": str(results.provenance.checkpoint),
            **results.settings,
            **setup,
            "Machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "Versions": versions,
            "Date": date.today().isoformat(),
        },
        settings=config,
    )
    write_report(folder / "report.html", report)
    log.info(f"written to {folder}: metrics.json, report.html, table.md, table.tex, per_query.jsonl")


def _to_json(results: Results) -> dict[str, Any]:
    rows, retrieval, provenance = results.rows, results.breakdown.retrieval, results.provenance
    return rows[-1].metrics | {
        "ablation": [{"msm": row.msm, "itm": row.itm, **row.metrics} for row in rows],
        "intervals": [row.intervals for row in rows],
        "sweep": [{"weight": point.weight, "k": point.k, **point.metrics} for point in results.sweep],
        "validation": [{"weight": point.weight, "k": point.k, **point.metrics} for point in results.validation_sweep],
        "cameras": {
            name: {"queries": len(queries.query_ids), **queries.means()} for name, queries in results.cameras.items()
        },
        "costs": [{"milliseconds": row.milliseconds, "calls": row.llm_calls} for row in rows],
        "queries_without_right_image": rows[-1].queries.num_queries_without_match,
        "data": provenance.data,
        "root": provenance.root,
        "trained_on": provenance.trained_on or provenance.data,
        "queries": len(retrieval.queries),
        "gallery": len(retrieval.records),
        "queries_without_rewrite": retrieval.num_missing_rewrites,
        "images_without_caption": retrieval.num_missing_captions,
        "msm_weight": results.breakdown.weight,
        "k_test": results.breakdown.k,
        "chosen_on": provenance.selected_on,
        "checkpoint": str(provenance.checkpoint),
    }


def text_table(rows: Sequence[AblationRow]) -> str:
    """Format the ablation for a terminal."""
    lines = [f"{'MSM':>4}{'ITM':>5}" + "".join(f"{name:>8}" for name in METRICS) + f"{'ms':>9}{'calls':>7}"]
    for row in rows:
        switches = f"{'yes' if row.msm else '-':>4}{'yes' if row.itm else '-':>5}"
        metrics = "".join(f"{row.metrics[name]:>8.2f}" for name in METRICS)
        lines.append(f"{switches}{metrics}{row.milliseconds:>9.2f}{_calls(row):>7}")
    lines.append(f"95 % confidence intervals (bootstrap over identities): {format_intervals(rows[-1].intervals)}")
    lines.append("ms: per query, from text to ranking; calls: LLM calls per query (?: unknown)")
    return "\n".join(lines)


def markdown_table(rows: Sequence[AblationRow], notes: Sequence[str]) -> str:
    """Format the ablation with its confidence intervals, and notes as a list."""
    lines = [
        f"| MSM | ITM | {' | '.join(METRICS)} | ms per query | LLM calls per query |",
        "|" + "---|" * (len(METRICS) + 4),
    ]
    for row in rows:
        cells = ["yes" if on else "no" for on in (row.msm, row.itm)]
        cells += [f"{row.metrics[name]:.2f} [{low:.1f}, {high:.1f}]" for name, (low, high) in row.intervals.items()]
        lines.append(f"| {' | '.join([*cells, f'{row.milliseconds:.2f}', _calls(row)])} |")
    notes = ["in brackets: 95 % confidence intervals (bootstrap over identities)", *notes]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def latex_table(rows: Sequence[AblationRow], notes: Sequence[str]) -> str:
    r"""Format the ablation as a `table` for booktabs, the best of each column in bold, with notes in its caption."""
    best = {name: max(row.metrics[name] for row in rows) for name in METRICS}
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        r"\begin{table}",
        r"  \centering",
        r"  \begin{tabular}{cc" + "r" * (len(METRICS) + 2) + "}",
        r"    \toprule",
        "    " + " & ".join(["MSM", "ITM", *METRICS, "ms", "calls"]) + r" \\",
        r"    \midrule",
    ]
    for row in rows:
        cells = [r"\checkmark" if on else "" for on in (row.msm, row.itm)]
        for name in METRICS:
            text = f"{row.metrics[name]:.2f}"
            cells.append(rf"\textbf{{{text}}}" if row.metrics[name] == best[name] else text)
        lines.append("    " + " & ".join([*cells, f"{row.milliseconds:.2f}", _calls(row)]) + r" \\")
    caption = _escape_latex(". ".join(["ms: per query; calls: LLM calls per query", *notes]))
    lines += [r"    \bottomrule", r"  \end{tabular}", rf"  \caption{{{caption}.}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def format_intervals(intervals: Mapping[str, tuple[float, float]]) -> str:
    """Format intervals as `R1 [50.1, 59.9], ...`."""
    return ", ".join(f"{name} [{low:.1f}, {high:.1f}]" for name, (low, high) in intervals.items())


def _calls(row: AblationRow) -> str:
    return "?" if row.llm_calls is None else str(row.llm_calls)


def _escape_latex(text: str) -> str:
    special = {char: f"\\{char}" for char in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"\\": r"\textbackslash{}"}
    return "".join(special.get(char, char) for char in text)
