"""Retrieval without a model: compare the slots of rewrites and captions, as a baseline for trained models.

python -m benchmarks.texts_alone configs/demo.yaml

Each slot that both texts fill scores 1 if the values are equal, and -1 otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from captioning.style.template import Slots, parse
from configs.load import load_config
from data.captions import query_file
from data.readers import READERS
from retrieval.metrics import confidence_intervals, evaluate_queries
from retrieval.retrieval_set import read_retrieval_set
from utils.errors import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=Path("configs/demo.yaml"))
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.overrides)
    file = query_file(Path(config.captions.dir), config.data.name)
    retrieval = read_retrieval_set(READERS[config.data.name](Path(config.data.root)), "test", file, root="data.root")
    rewrites, captions = ([parse(text or "") for text in texts] for texts in (retrieval.rewrites, retrieval.captions))
    scores = np.zeros((len(rewrites), len(captions)), np.float32)
    for field in fields(Slots):
        query, gallery = (np.array([getattr(one, field.name) or "" for one in side]) for side in (rewrites, captions))
        both = (query != "")[:, None] & (gallery != "")[None]
        scores += both * np.where(query[:, None] == gallery[None], 1, -1)
    metrics = evaluate_queries(scores, retrieval.query_ids, retrieval.gallery_ids)
    print(", ".join(f"{name} {value:.1f}" for name, value in metrics.means().items()))
    intervals = (f"{name} [{low:.1f}, {high:.1f}]" for name, (low, high) in confidence_intervals(metrics).items())
    print(f"95 % confidence intervals (bootstrap over identities): {', '.join(intervals)}")


if __name__ == "__main__":
    run_script(main)
