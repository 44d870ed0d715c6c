"""Mean and standard deviation of the metrics of several runs that differ only in their seed.

python -m retrieval.seeds output/demo/seed_1 output/demo/seed_2 output/demo/seed_3
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, field_validator

from data.records import read_entries
from utils.errors import UserError, run_script
from utils.files import as_path, read_object, write_text
from utils.logs import show


class _Metrics(BaseModel):
    """What is read of metrics.json."""

    data: str
    chosen_on: str
    ablation: Annotated[list[dict[str, FiniteFloat]], Field(min_length=1)]

    @field_validator("ablation")
    @classmethod
    def _have_the_same_names(cls, rows: list[dict[str, float]]) -> list[dict[str, float]]:
        if any(list(row) != list(rows[0]) for row in rows) or not {"msm", "itm"} <= rows[0].keys():
            raise ValueError("its rows should have msm, itm and the same metrics")
        return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m retrieval.seeds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=as_path, help="run folders that have been tested")
    parser.add_argument("--out", type=as_path, help="also write the table to this file")
    arguments = parser.parse_args(argv)
    results = [_read_metrics(run) for run in arguments.runs]
    if len(data := {one["data"] for one in results}) > 1:
        raise UserError(f"these runs were tested on {' and '.join(sorted(data))}: their metrics have no common mean")
    if len({tuple(tuple(row) for row in one["ablation"]) for one in results}) > 1:
        raise UserError("these runs have different metrics, of several versions or damaged: test them again (test.py)")
    table = seed_table(results)
    show(table, end="")  # the purpose of this command
    if arguments.out:
        write_text(arguments.out, table)


def seed_table(results: Sequence[dict[str, Any]]) -> str:
    """Format the mean ± sample standard deviation of each metric, a row for each variant of the method, in Markdown."""
    names = [name for name in results[0]["ablation"][0] if name not in ("msm", "itm")]
    rows = [f"| MSM | ITM | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    for variant in zip(*(one["ablation"] for one in results), strict=True):
        switches = ["yes" if variant[0][part] else "no" for part in ("msm", "itm")]
        rows.append(f"| {' | '.join([*switches, *(mean_text([row[name] for row in variant]) for name in names)])} |")
    selected_on_test = any(one["chosen_on"] == "test" for one in results)
    note = "; epochs were selected on the test split" if selected_on_test else ""
    return "\n".join(rows) + f"\n\n{len(results)} runs, mean ± standard deviation{note}.\n"


def mean_text(values: Sequence[float], *, digits: int = 1) -> str:
    """Format mean ± sample standard deviation; of one value, the value alone."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def _read_metrics(run: Path) -> dict[str, Any]:
    file = run / "metrics.json"
    if not file.is_file():
        raise UserError(f"{file} is missing: test that run first (python test.py {run})")
    content = read_object(file)
    if not {"ablation", "chosen_on", "data"} <= content.keys():
        raise UserError(f"{file} is of an older version: test that run again (python test.py {run})")
    return read_entries(file, _Metrics).model_dump()


if __name__ == "__main__":
    run_script(main)
