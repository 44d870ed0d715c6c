"""Test TSN: Rank-1/5/10, mAP and mINP without and with rewrites (MSM) and matching (ITM), and a report."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import platform
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch

from configs.load import add_config_arguments, load_config
from configs.schema import Config
from data.captions import check_same_data, read_test_texts, test_file
from data.readers import READERS, of_split
from models.tokenizer import load_tokenizer
from models.tsn import TSN
from retrieval.embed import embed
from retrieval.evaluate import VARIANTS, judge, score
from retrieval.metrics import intervals
from retrieval.report import AblationRow, write_report
from retrieval.retrieval_set import build_retrieval_set
from retrieval.summary import query_examples, training_curves
from utils.device import pick_device
from utils.errors import UserError, run_script
from utils.files import read_json, write_json
from utils.precision import pick_precision


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="a released checkpoint: test.py --checkpoint checkpoint_best.pth --config configs/cuhk_pedes.yaml",
    )
    parser.add_argument(
        "run", nargs="?", type=Path, help="run folder, or checkpoint (default: the config's run folder)"
    )
    parser.add_argument("--checkpoint", type=Path, help="weights to test (default: best.pth of the run folder)")
    add_config_arguments(parser, default=None)
    arguments = parser.parse_args(argv)
    config, checkpoint = choose(arguments)
    device = pick_device(config.run.device)
    start = time.monotonic()

    source = f"{config.data.root} (test)"
    every = READERS[config.data.name](Path(config.data.root))
    if config.data.name == "custom" and not any(record.split == "test" and record.captions for record in every):
        print(f"{config.data.root}: no test image has a query in captions.json: there is nothing to test")
        return
    records = of_split(every, "test", source=config.data.root)
    file = test_file(Path(config.captions.dir), config.data.name)
    if not file.is_file():
        raise UserError(f"{file} is missing: describe the gallery and rewrite the queries first with gen_test_data.py")
    texts = read_test_texts(file)
    check_same_data(texts, records, file)
    retrieval = build_retrieval_set(records, texts, source=source)
    unwritten = sum(rewrite is None for rewrite in retrieval.rewrites)

    tokenizer = load_tokenizer(vocabulary(config, checkpoint))
    image = config.model.image_size
    model = TSN.from_checkpoint(
        checkpoint,
        tokenizer,
        image=(image[0], image[1]) if image else None,
        precision=pick_precision(config.train.precision, device),
    ).to(device)
    embedded = embed(
        model,
        tokenizer,
        retrieval,
        keep_tokens=True,
        batch_size=config.eval.batch_size,
        workers=config.train.workers,
        desc="test",
    )

    # The four ways to score: neither part, each alone, both.
    figures, bounds = {}, {}
    for variant in VARIANTS:
        scores = score(
            model,
            embedded,
            variant,
            weight=config.eval.msm_weight,
            k=config.eval.k_test,
            batch_size=config.eval.batch_size,
        )
        judged = judge(scores, retrieval)
        figures[variant], bounds[variant] = judged.figures(), intervals(judged)
    print_table(figures, bounds)
    if judged.hopeless:
        print(f"{judged.hopeless} queries have no right image in the gallery: they count as never found")
    chosen_on = chooser(checkpoint)
    if chosen_on == "test":
        print("the epoch was chosen on the test split: these are not figures of unseen data")
    if unwritten:
        print(f"{unwritten} of {len(retrieval.queries)} queries have no rewrite: they are scored without MSM")

    ablation = [AblationRow(msm=variant.msm, itm=variant.itm, **row) for variant, row in figures.items()]
    folder = Path(config.run.dir)
    write_json(
        folder / "metrics.json",
        figures[VARIANTS[-1]]
        | {
            "ablation": [vars(row) for row in ablation],
            "intervals": [bounds[variant] for variant in VARIANTS],
            "queries_without_right_image": judged.hopeless,
            "data": config.data.name,
            "queries": len(retrieval.queries),
            "gallery": len(records),
            "queries_without_rewrite": unwritten,
            "msm_weight": config.eval.msm_weight,
            "k_test": config.eval.k_test,
            "chosen_on": chosen_on,
            "checkpoint": str(checkpoint),
        },
    )
    write_report(
        folder / "report.html",
        title=f"TSN on {config.data.name}" + (", epoch chosen on the test split" if chosen_on == "test" else ""),
        ablation=ablation,
        examples=query_examples(scores, retrieval, count=config.eval.examples),
        curves=training_curves(folder / "log.jsonl"),
        facts={
            "Checkpoint": str(checkpoint),
            "95 % intervals, over people": as_text(bounds[VARIANTS[-1]]),
            "Gallery": f"{len(records)} images of {len(set(retrieval.gallery_ids.tolist()))} people",
            "Queries": f"{len(retrieval.queries)}, of which {unwritten} without a rewrite",
            "Weight of rewrite-caption similarity": str(config.eval.msm_weight),
            "Images a query that are matched again": str(config.eval.k_test),
            "Model": f"{config.model.preset}, images of {model.sizes.image[0]} x {model.sizes.image[1]} pixels",
            "Epoch chosen on": chosen_on,
            "Seed": str(config.train.seed),
            "Machine": f"{platform.system()} {platform.machine()}, {device.type}, torch {torch.__version__}",
            "Date": date.today().isoformat(),
            "Test took": f"{time.monotonic() - start:.0f} s",
        },
    )
    print(f"written: {folder / 'metrics.json'}, {folder / 'report.html'}")


def choose(arguments: argparse.Namespace) -> tuple[Config, Path]:
    """Which settings and which weights: a run folder brings both."""
    run: Path | None = arguments.run
    checkpoint: Path | None = arguments.checkpoint
    if run is not None and not run.is_dir():
        if not run.exists():
            raise UserError(f"{run} is neither a run folder nor a checkpoint")
        if checkpoint is not None:
            raise UserError(f"which checkpoint: {run} or {checkpoint}?")
        run, checkpoint = None, run
    file = arguments.config or (run / "config.yaml" if run else None)
    if file is None:
        raise UserError("say what to test: a run folder, or a checkpoint with --config FILE")
    if run and not arguments.config and not file.is_file():
        raise UserError(f"{run} is no run folder: it has no config.yaml")
    overrides = [*arguments.overrides, *([f"run.dir={run}"] if run else [])]
    config = load_config(file, overrides)
    checkpoint = checkpoint or Path(config.run.dir) / "best.pth"
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint} is missing: train first (train.py --config {file}), or name a checkpoint")
    folder = Path(config.run.dir)
    if (folder / "last.pth").exists() and checkpoint.resolve().parent != folder.resolve():
        raise UserError(f"{folder} holds another run: set run.dir to a folder for the figures of {checkpoint}")
    return config, checkpoint


def vocabulary(config: Config, checkpoint: Path) -> str | Path:
    """The vocabulary that belongs to a checkpoint: the one beside it, else the configured one."""
    beside = checkpoint.parent / "vocab.txt"
    if beside.is_file():
        return beside
    if config.model.vocab is None:
        raise UserError(
            f"model.vocab is not set and there is no {beside}: which vocabulary was {checkpoint} made with?"
        )
    return config.model.vocab


def chooser(checkpoint: Path) -> str:
    """The split on which the checkpoint was chosen, where its run folder says so."""
    stamp = checkpoint.parent / "run.json"
    return str(read_json(stamp).get("eval.select")) if stamp.is_file() else "not known"


def print_table(figures: dict, bounds: dict) -> None:
    """Print one row for each way to score, and between what the figures of the last lie."""
    print(f"{'MSM':>4}{'ITM':>5}" + "".join(f"{name:>8}" for name in ("R1", "R5", "R10", "mAP", "mINP")))
    for variant, row in figures.items():
        marks = f"{'yes' if variant.msm else '-':>4}{'yes' if variant.itm else '-':>5}"
        print(marks + "".join(f"{row[name]:>8.2f}" for name in ("R1", "R5", "R10", "mAP", "mINP")))
    print(f"95 % intervals over people, both: {as_text(bounds[VARIANTS[-1]])}")


def as_text(bounds: dict[str, tuple[float, float]]) -> str:
    """Intervals as `R1 50.1 to 59.9, ...`."""
    return ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, (low, high) in bounds.items())


if __name__ == "__main__":
    run_script(main)
