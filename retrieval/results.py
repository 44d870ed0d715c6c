"""Evaluate a test split, and the files that the results are written to."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from retrieval.ablation import (
    AblationRow,
    SweepPoint,
    ablation_rows,
    evaluate_by_camera,
    slot_counting_row,
    sweep_around,
    weight_and_k,
)
from retrieval.explanation import ScoreBreakdown, example_rankings, write_per_query
from retrieval.metrics import QueryMetrics
from retrieval.options import EvaluationOptions
from retrieval.report.page import (
    Report,
    cluster_plot,
    data_statistics,
    render,
    sweep_charts,
    training_charts,
    word_charts,
)
from retrieval.scoring import Scorer
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
        trained_on: name of the data set that the model was trained on, if `--on` selected another.
        selected_on: the split on which the epoch was selected.
        checkpoint: the weights.
    """

    data: str
    root: str
    trained_on: str | None
    selected_on: str
    checkpoint: Path


@dataclass(frozen=True)
class Results:
    """The results of an evaluation.

    Attributes:
        provenance: where it comes from.
        rows: the variants of the method, the full method last.
        slot_counting: the ranking by equal slots, without a model; None if the texts do not follow the template.
        sweep: metrics over weights and k.
        tuned: config keys that were tuned on the validation split: `msm_weight`, `k_test`.
        validation_sweep: metrics on that split over weights and k; empty if nothing was tuned.
        breakdown: the scores of the full method.
        cameras: the metrics on the gallery of one camera, by its name.
    """

    provenance: Provenance
    rows: Sequence[AblationRow]
    slot_counting: AblationRow | None
    sweep: Sequence[SweepPoint]
    tuned: Sequence[str]
    validation_sweep: Sequence[SweepPoint]
    breakdown: ScoreBreakdown
    cameras: Mapping[str, QueryMetrics]

    @property
    def title(self) -> str:
        """A heading for the results."""
        data, trained_on = self.provenance.data, self.provenance.trained_on
        source = f", trained on {_TITLES.get(trained_on, trained_on)}" if trained_on else ""
        return f"TSN on {_TITLES.get(data, data)}{source}"

    @property
    def warnings(self) -> list[str]:
        """What a reader of the metrics must know."""
        retrieval, weight, k = self.breakdown.retrieval, self.breakdown.weight, self.breakdown.k
        queries, gallery = len(retrieval.queries), len(retrieval.records)
        unmatched = self.breakdown.queries.num_queries_without_match
        rewrites, captions = retrieval.num_missing_rewrites, retrieval.num_missing_captions
        msm, both = self.rows[1].metrics["R1"], self.rows[3].metrics["R1"]
        checks = {
            "the epoch was selected on the test split: these metrics are not of unseen data": (
                self.provenance.selected_on == "test"
            ),
            f"{unmatched} queries have no match in the gallery: they count as never found": unmatched,
            f"{rewrites} of {queries} queries have no rewrite: they are scored without MSM": rewrites,
            f"{captions} of {gallery} gallery images have no caption: they are scored without MSM": captions,
            f"matching lowers R1 from {msm:.2f} to {both:.2f}: this model is better without it": k and both < msm,
            "the weight of the rewrites is 0: rows with MSM equal those without": not weight,
            "no image is re-ranked: rows with ITM equal those without": not k,
            f"eval.k_test={k} exceeds the gallery of {gallery} images: all are re-ranked": k > gallery,
        }
        return [warning for warning, applies in checks.items() if applies]

    @property
    def settings(self) -> dict[str, str]:
        """Weight and k, with how they were determined."""
        weight, k = (
            " (tuned on the validation split)" if key in self.tuned else "" for key in ("msm_weight", "k_test")
        )
        share = f", {self.breakdown.share:g} of it for their similarity with images" if self.breakdown.share else ""
        return {
            "Weight of the rewrites": f"{self.breakdown.weight:g}{weight}{share}",
            "Re-ranked images per query": f"{self.breakdown.k}{k}",
            "Epoch selected on": self.provenance.selected_on,
        }

    @property
    def notes(self) -> list[str]:
        """Lines that belong under a table of the metrics."""
        retrieval, data, trained_on = self.breakdown.retrieval, self.provenance.data, self.provenance.trained_on
        data = f"{data}, trained on {trained_on}" if trained_on else data
        means = {camera: queries.means() for camera, queries in self.cameras.items()}
        return [
            f"{data}: {len(retrieval.queries)} queries, {len(retrieval.records)} gallery images",
            "; ".join(f"{name[0].lower()}{name[1:]}: {value}" for name, value in self.settings.items()),
            *(
                f"camera {name}: {len(queries.query_ids)} queries, R1 {means[name]['R1']:.2f}, "
                f"mAP {means[name]['mAP']:.2f}"
                for name, queries in self.cameras.items()
            ),
            *self.warnings,
        ]


def evaluate(
    scorer: Scorer,
    options: EvaluationOptions,
    provenance: Provenance,
    *,
    validation_points: Sequence[SweepPoint] = (),
    full_sweep: bool = False,
    cameras: Sequence[str] = (),
    llm_calls: int | None = None,
) -> Results:
    """Evaluate a test split.

    Args:
        validation_points: metrics on the validation split; empty if weight and k are configured.
        full_sweep: evaluate every weight with every k, rather than what needs no further pairs.
        cameras: [G] of each gallery image, to evaluate on the gallery of each; may be empty.
        llm_calls: that one rewrite took; None if unknown.
    """
    weight, k = weight_and_k(options, validation_points)
    return Results(
        provenance=provenance,
        rows=ablation_rows(scorer, weight=weight, k=k, llm_calls=llm_calls),
        slot_counting=slot_counting_row(scorer.retrieval, llm_calls=llm_calls),
        sweep=sweep_around(scorer, weight=weight, k=k, full=full_sweep),
        tuned=options.tuned_on_val,
        validation_sweep=validation_points,
        breakdown=ScoreBreakdown(scorer, weight=weight, k=k),
        cameras=evaluate_by_camera(scorer, cameras, weight=weight, k=k),
    )


def write_results(
    folder: Path, results: Results, *, run: Path, examples: int, config: str, setup: Mapping[str, str]
) -> None:
    """Log a table of the results; write `metrics.json`, `per_query.jsonl`, `table.md`, `table.tex`, `report.html`.

    Args:
        run: the folder of the training, for its log and clusters.
        examples: number of queries that the report shows.
        config: the resolved config as YAML.
        setup: what the report states about the model and the machine, by name.
    """
    rows, breakdown, retrieval = results.rows, results.breakdown, results.breakdown.retrieval
    table = partial(render, rows=rows, slot_counting=results.slot_counting)
    log.info(table("table.txt.jinja", notes=results.notes).rstrip("\n"))
    write_json(folder / "metrics.json", _to_json(results))  # first: the others follow from it and the checkpoint
    variants = {name: row.queries for name, row in zip(_VARIANT_NAMES, rows, strict=True)}
    write_per_query(folder / "per_query.jsonl", breakdown, variants)
    for name in ("table.md", "table.tex"):
        write_text(folder / name, table(f"{name}.jinja", notes=results.notes))
    report = Report(
        title=results.title,
        warnings=results.warnings,
        sweep=sweep_charts(results.sweep, weight=breakdown.weight),
        cameras=results.cameras,
        examples=example_rankings(breakdown, count=examples),
        training=training_charts(run / "log.jsonl"),
        clusters=cluster_plot(run),
        statistics=data_statistics(retrieval),
        words=word_charts(
            {"queries": retrieval.queries, "rewrites": retrieval.rewrites, "captions": retrieval.captions}
        ),
        setup={
            "Checkpoint": str(results.provenance.checkpoint),
            **results.settings,
            **setup,
            "Machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "Versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
            f"transformers {transformers.__version__}",
            "Date": date.today().isoformat(),
        },
        settings=config,
    )
    write_text(folder / "report.html", table("page.html", report=report))
    log.info(f"written to {folder}: metrics.json, report.html, table.md, table.tex, per_query.jsonl")


def _to_json(results: Results) -> dict[str, Any]:
    rows, retrieval, provenance = results.rows, results.breakdown.retrieval, results.provenance

    def points(sweep: Sequence[SweepPoint]) -> list[dict[str, float]]:
        return [{"weight": point.weight, "k": point.k, **point.metrics} for point in sweep]

    return rows[-1].metrics | {
        "slot_counting": results.slot_counting.metrics if results.slot_counting else None,
        "ablation": [{"msm": row.msm, "itm": row.itm, **row.metrics} for row in rows],
        "intervals": [row.intervals for row in rows],
        "sweep": points(results.sweep),
        "validation": points(results.validation_sweep),
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
