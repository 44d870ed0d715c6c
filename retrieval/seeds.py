"""Several runs that differ in their seed alone: mean and standard deviation of their figures.

python -m retrieval.seeds output/demo/seed_1 output/demo/seed_2 output/demo/seed_3
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.figures import FIGURES
from utils.errors import UserError, run_script
from utils.files import read_json, write_text


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m retrieval.seeds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders that were tested")
    parser.add_argument("--out", type=Path, help="where to write the table as well")
    given = parser.parse_args(argv)
    tested = [_tested(run) for run in given.runs]
    if len(sets := {one["data"] for one in tested}) > 1:
        raise UserError(f"these runs were tested on {' and '.join(sorted(sets))}: their figures have no mean")
    table = seed_table(tested)
    print(table, end="")
    if given.out:
        write_text(given.out, table)


def seed_table(tested: Sequence[dict[str, Any]]) -> str:
    """Mean ± sample standard deviation of each figure over runs, a row for each way to score, in Markdown."""
    rows = [f"| MSM | ITM | {' | '.join(FIGURES)} |", "|" + "---|" * (len(FIGURES) + 2)]
    for way in tested[0]["ablation"]:
        same = [
            row for one in tested for row in one["ablation"] if (row["msm"], row["itm"]) == (way["msm"], way["itm"])
        ]
        cells = ["yes" if way[part] else "no" for part in ("msm", "itm")]
        rows.append(f"| {' | '.join([*cells, *(_spread([row[name] for row in same]) for name in FIGURES)])} |")
    chosen = {one["chosen_on"] for one in tested}
    note = "; their epochs were chosen on the test split" if "test" in chosen else ""
    return "\n".join(rows) + f"\n\n{len(tested)} runs, mean ± standard deviation{note}.\n"


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def _tested(run: Path) -> dict[str, Any]:
    file = run / "metrics.json"
    if not file.is_file():
        raise UserError(f"{file} is missing: test that run first (python test.py {run})")
    content: dict[str, Any] = read_json(file)
    if not {"ablation", "chosen_on", "data"} <= content.keys():
        raise UserError(f"{file} is not of this version: test that run again (python test.py {run})")
    return content


if __name__ == "__main__":
    run_script(main)
