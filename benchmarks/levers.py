"""What each choice of the training contributes: runs without it, next to runs with everything.

python -m benchmarks.levers configs/demo.yaml --seeds 1,2,3 [--only all text-text ...] [--set key=value ...]

Trains and tests each variant with each seed in output/levers/<config>/<variant>/seed_<N>, and prints a table of means
and standard deviations. What has been tested is not run again, and interrupted trainings are resumed. levers.jsonl has
a line for each run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.seeds import mean_text
from utils.errors import UserError, run_script
from utils.files import read_json, read_jsonl, write_text

# What turns each lever of the preset `tiny` off; the last one replaces a lever by another.
LEVERS: dict[str, list[str]] = {
    "all": [],
    "drawn people": [
        "model.init=null",
        "train.freeze_text=false",
        "train.text_text=1",
        "train.pretrain_epochs=8",
        "train.pretrain_lr=1.0e-3",
    ],
    "image-image": ["train.image_image=0"],
    "image in clusters": ["cluster.image_weight=0"],
    "strong augmentation": ["train.augment=light"],
    "paraphrases": ["train.paraphrase=0"],
    "rounds": ["train.rounds=1"],
    "frozen text": ["train.freeze_text=false"],
    "frozen text, but with text-text": ["train.freeze_text=false", "train.text_text=1"],
}
COLUMNS = ("slots", "query-image", "MSM", "MSM and ITM", "ARI first", "ARI last", "precision", "minutes")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", nargs="+", choices=LEVERS, default=list(LEVERS), metavar="LEVER")
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args(argv)
    folder = Path("output/levers") / arguments.config.stem
    found = {(run["lever"], run["seed"]): run for run in read_jsonl(folder / "levers.jsonl", key="lever")}
    for name in arguments.only:
        for seed in arguments.seeds.split(","):
            run = folder / name.replace(" ", "_") / f"seed_{seed}"
            if not (run / "metrics.json").is_file():
                overrides = [*arguments.overrides, *LEVERS[name], f"train.seed={seed}", f"run.dir={run}"]
                _train_and_test(arguments.config, overrides)
            found[name, int(seed)] = {"lever": name, "seed": int(seed), **measure(run)}
            lines = (f"{json.dumps(line)}\n" for line in found.values())
            write_text(folder / "levers.jsonl", "".join(lines))
    print(table(list(found.values()), arguments.only), end="")


def _train_and_test(config: Path, overrides: Sequence[str]) -> None:
    for script in ("train.py", "test.py"):
        command = [sys.executable, script, "--config", str(config), "--set", *overrides]
        if status := subprocess.run(command, check=False).returncode:
            raise UserError(f"{script} ended with status {status} for {' '.join(overrides)}")


def measure(run: Path) -> dict[str, Any]:
    """Return what the table shows of a tested run; R1 and mAP in percent."""
    metrics, log = read_json(run / "metrics.json"), list(read_jsonl(run / "log.jsonl"))
    labels = [entry for entry in log if entry["event"] == "labels"]
    pairs = [metrics["slot_counting"], *(metrics["ablation"][row] for row in (0, 1, 3))]
    found = {name: [row["R1"], row["mAP"]] if row else None for name, row in zip(COLUMNS[:4], pairs, strict=True)}
    return found | {
        "ARI first": labels[0].get("ari") if labels else None,
        "ARI last": labels[-1].get("ari") if labels else None,
        "precision": labels[-1].get("precision") if labels else None,
        "minutes": sum(entry["seconds"] for entry in log if entry["event"] == "epoch") / 60,
    }


def table(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Format a Markdown table with a row for each lever: R1 / mAP, and the quality of the pseudo-labels."""
    lines = ["| without | " + " | ".join(COLUMNS) + " | seeds |", "|" + "---|" * (len(COLUMNS) + 2)]
    for name in names:
        own = [run for run in runs if run["lever"] == name]
        cells = [_cell([run[column] for run in own]) for column in COLUMNS]
        lines.append(f"| {'-' if name == 'all' else name} | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[Any]) -> str:
    if None in values:
        return "-"
    if isinstance(values[0], list):  # R1 and mAP
        return " / ".join(map(mean_text, zip(*values, strict=True)))
    return mean_text(values, digits=3 if max(values) <= 1 else 1)


if __name__ == "__main__":
    run_script(main)
