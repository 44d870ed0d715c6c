"""The effect of the published choices on the pseudo-labels of a trained run, compared with those made here.

python -m benchmarks.choices output/demo

The fused features of its training pairs are computed by `best.pth`, with padding attended to (as published) and
masked, and clustered both ways. For choices of the evaluation see metrics.json (`python test.py RUN --ablation`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from clustering.pseudo_labels import assign_pseudo_labels
from clustering.quality import label_quality
from configs.load import load_config
from data.captions import train_file
from data.pairs import load_training_pairs
from data.readers import READERS, of_split
from data.records import person_ids
from models.tokenizer import load_tokenizer
from models.tsn import TSN, TSNOptions
from training.pseudo_labels import fused_features
from utils.device import pick_device
from utils.errors import run_script

Metric = Literal["precomputed", "rows"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("output/demo"))
    parser.add_argument(
        "--eps", type=float, default=0.5, help="tried next to the automatic radius (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    config = load_config(arguments.run / "config.yaml", [f"run.dir={arguments.run}"])
    records = of_split(READERS[config.data.name](Path(config.data.root)), "train", source=config.data.root)
    pairs = load_training_pairs(records, train_file(Path(config.captions.dir), config.data.name))
    people = person_ids(pairs.names, records)
    tokenizer, device = load_tokenizer(arguments.run / "vocab.txt"), pick_device(config.run.device)
    cluster = config.cluster
    print("| padding | metric | eps | clusters | noise | ARI |\n|---|---|---|---|---|---|", flush=True)
    for padding in (True, False):
        options = TSNOptions(fuse_padding=padding)
        model = TSN.from_checkpoint(arguments.run / "best.pth", tokenizer, options=options).to(device)
        features = fused_features(
            model, tokenizer, pairs, image_weight=cluster.image_weight, batch_size=config.eval.batch_size
        )
        tried: list[tuple[Metric, Literal["auto"] | float]]
        tried = [("rows", "auto"), ("precomputed", "auto"), ("precomputed", arguments.eps)]
        for metric, eps in tried:
            found = assign_pseudo_labels(
                features, k1=cluster.k1, k2=cluster.k2, eps=eps, min_samples=cluster.min_samples, metric=metric
            )
            quality = label_quality(found.labels, people)
            attended = "attended to" if padding else "masked"
            radius = f"auto, {found.eps:.3f}" if eps == "auto" else f"{found.eps:.3f}"
            ari = f"{quality['ari']:.3f}" if "ari" in quality else "-"
            print(
                f"| {attended} | {metric} | {radius} | {found.clusters} | {(found.labels < 0).sum()} | {ari} |",
                flush=True,
            )


if __name__ == "__main__":
    run_script(main)
