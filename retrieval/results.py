"""What a test found, and the files that tell of it."""

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

from retrieval.ablation import Cell, Row, Way
from retrieval.answers import Explainer
from retrieval.clusters import cluster_picture
from retrieval.curves import part_curves, training_curves, word_curves
from retrieval.examples import query_examples
from retrieval.metrics import Judged
from retrieval.per_query import write_per_query
from retrieval.report import AblationRow, write_report
from retrieval.retrieval_set import RetrievalSet
from retrieval.statistics import data_statistics
from retrieval.tables import as_text, latex_table, markdown_table
from utils.files import write_json, write_text

_TITLES = {"cuhk_pedes": "CUHK-PEDES", "icfg_pedes": "ICFG-PEDES", "rstpreid": "RSTPReid", "demo": "the drawn demo"}
_NAMES = {Way(False, False): "plain", Way(True, False): "msm", Way(False, True): "itm", Way(True, True): "both"}


@dataclass(frozen=True)
class Results:
    """What a test found.

    Attributes:
        rows: the four ways to score, both parts last.
        cells: figures over weights and numbers of images.
        validation: the same on the validation split, where something was chosen there.
        by_validation: what was: `msm_weight`, `k_test`.
        explainer: takes the scores of the last row apart.
        retrieval: what was searched.
        cameras: the same queries with the gallery of one camera, by its name.
        data: name of the data set.
        root: its folder.
        trained_on: of another data set that the model learnt from.
        chosen_on: the split that chose the epoch.
        checkpoint: the weights.
        weight, k: of the rewrites, and images that are matched.
    """

    rows: Sequence[Row]
    cells: Sequence[Cell]
    validation: Sequence[Cell]
    by_validation: Sequence[str]
    explainer: Explainer
    retrieval: RetrievalSet
    cameras: Mapping[str, Judged]
    data: str
    root: str
    trained_on: str | None
    chosen_on: str
    checkpoint: Path
    weight: float
    k: int

    @property
    def warnings(self) -> list[str]:
        """What must stand beside the figures, wherever they stand."""
        retrieval, found = self.retrieval, []
        if self.chosen_on == "test":
            found.append("the epoch was chosen on the test split: these are not figures of unseen data")
        if hopeless := self.rows[-1].judged.hopeless:
            found.append(f"{hopeless} queries have no right image in the gallery: they count as never found")
        if retrieval.unwritten:
            found.append(
                f"{retrieval.unwritten} of {len(retrieval.queries)} queries have no rewrite: "
                "they are scored without MSM"
            )
        if retrieval.undescribed:
            found.append(
                f"{retrieval.undescribed} of {len(retrieval.records)} gallery images have no caption: "
                "they are scored without MSM"
            )
        without, both = (row.figures["R1"] for row in (self.rows[1], self.rows[3]))
        if self.k and both < without:
            found.append(f"matching lowers R1 here, from {without:.2f} to {both:.2f}: this model is better without it")
        if not self.weight:
            found.append("rewrites have weight 0: with MSM means without")
        if not self.k:
            found.append("no image is matched: with ITM means without")
        if self.k > len(retrieval.records):
            found.append(f"{self.k} images should be matched and the gallery has {len(retrieval.records)}: all are")
        return found

    def how(self, name: str) -> str:
        """What to say of where the weight or the k comes from."""
        return " (chosen on the validation split)" if name in self.by_validation else ""

    @property
    def notes(self) -> list[str]:
        """The warnings, and what besides belongs under a table."""
        trained = f", trained on {self.trained_on}" if self.trained_on else ""
        return [
            f"{self.data}{trained}: {len(self.retrieval.queries)} queries, "
            f"{len(self.retrieval.records)} gallery images",
            f"weight of rewrites {self.weight:g}{self.how('msm_weight')}, {self.k} images matched{self.how('k_test')}; "
            f"epoch chosen on: {self.chosen_on}",
            *(
                f"camera {name}: {len(judged.first)} queries, R1 {judged.figures()['R1']:.2f}, "
                f"mAP {judged.figures()['mAP']:.2f}"
                for name, judged in self.cameras.items()
            ),
            *self.warnings,
        ]


def write_results(
    folder: Path, results: Results, *, run: Path, examples: int, settings: str, facts: Mapping[str, str]
) -> None:
    """Write `metrics.json`, `per_query.jsonl`, `table.md`, `table.tex` and `report.html`.

    Args:
        run: the folder of the training, for its curves and clusters.
        examples: queries that the report shows.
        settings: the resolved config, as text.
        facts: what the report should say of the model and the machine besides.
    """
    retrieval, rows = results.retrieval, results.rows
    write_json(folder / "metrics.json", _as_json(results))  # first: it alone took long to find
    write_per_query(
        folder / "per_query.jsonl", retrieval, results.explainer, {_NAMES[row.way]: row.judged for row in rows}
    )
    write_text(folder / "table.md", markdown_table(rows, results.notes))
    write_text(folder / "table.tex", latex_table(rows, results.notes))
    write_report(
        folder / "report.html",
        title=f"TSN on {_title(results.data)}"
        + (f", trained on {_title(results.trained_on)}" if results.trained_on else ""),
        ablation=[_shown(row) for row in rows],
        examples=query_examples(results.explainer, rows[-1].judged, retrieval, count=examples),
        curves=training_curves(run / "log.jsonl"),
        warnings=results.warnings,
        parts=part_curves(results.cells, weight=results.weight),
        cameras={name: (len(judged.first), judged.figures()) for name, judged in results.cameras.items()},
        clusters=cluster_picture(run),
        statistics=data_statistics(retrieval),
        words=word_curves(
            {"queries": retrieval.queries, "rewrites": retrieval.rewrites, "captions": retrieval.captions}
        ),
        settings=settings,
        facts={
            "Checkpoint": str(results.checkpoint),
            "95 % intervals": as_text(rows[-1].bounds),
            "Weight of rewrite and caption": f"{results.weight:g}{results.how('msm_weight')}",
            "Images matched": f"{results.k} a query{results.how('k_test')}",
            "Epoch chosen on": results.chosen_on,
            **facts,
            "Machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "Versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
            f"transformers {transformers.__version__}",
            "Date": date.today().isoformat(),
        },
    )
    names = ("metrics.json", "report.html", "table.md", "table.tex", "per_query.jsonl")
    print(f"written to {folder}: {', '.join(names)}")


def _title(data: str) -> str:
    return _TITLES.get(data, data)


def _shown(row: Row) -> AblationRow:
    return AblationRow(
        msm=row.way.msm,
        itm=row.way.itm,
        **row.figures,
        bounds=row.bounds,
        milliseconds=row.milliseconds,
        calls=row.calls,
    )


def _as_json(results: Results) -> dict[str, Any]:
    rows, retrieval = results.rows, results.retrieval
    return rows[-1].figures | {
        "ablation": [{"msm": row.way.msm, "itm": row.way.itm, **row.figures} for row in rows],
        "intervals": [row.bounds for row in rows],
        "sweep": [{"weight": cell.weight, "k": cell.k, **cell.figures} for cell in results.cells],
        "validation": [{"weight": cell.weight, "k": cell.k, **cell.figures} for cell in results.validation],
        "cameras": {
            name: {"queries": len(judged.first), **judged.figures()} for name, judged in results.cameras.items()
        },
        "costs": [{"milliseconds": row.milliseconds, "calls": row.calls} for row in rows],
        "queries_without_right_image": rows[-1].judged.hopeless,
        "data": results.data,
        "root": results.root,
        "trained_on": results.trained_on or results.data,
        "queries": len(retrieval.queries),
        "gallery": len(retrieval.records),
        "queries_without_rewrite": retrieval.unwritten,
        "images_without_caption": retrieval.undescribed,
        "msm_weight": results.weight,
        "k_test": results.k,
        "chosen_on": results.chosen_on,
        "checkpoint": str(results.checkpoint),
    }
