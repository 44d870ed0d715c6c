"""Cluster the features of a file: k-reciprocal Jaccard distance, DBSCAN, labels.

python -m clustering features.npy --eps 0.5 --out labels.npy
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.feature_files import read_features, read_ids
from clustering.quality import label_quality
from clustering.together import assign_together
from utils import distributed
from utils.device import pick_device
from utils.errors import UserError, run_script
from utils.files import atomic_write, write_text


def main(argv: Sequence[str] | None = None) -> None:
    given = parser().parse_args(argv)
    if given.out and given.out.suffix not in (".npy", ".txt"):
        raise UserError(f"--out {given.out}: labels are written as .npy or .txt")
    features = read_features(given.features)
    ids = read_ids(given.ids) if given.ids else None
    if ids is not None and len(ids) != len(features):
        raise UserError(f"{given.ids} has {len(ids)} ids, {given.features} has {len(features)} rows: they must agree")
    start = time.monotonic()
    device = device_of(given.device)
    with distributed.process_group(device):
        found = assign_together(
            features,
            k1=given.k1,
            k2=given.k2,
            eps=radius(given.eps),
            min_samples=given.min_samples,
            metric=given.metric,
            knn=given.knn,
            device=device,
        )
        if not distributed.is_main_process():
            return
    seconds = time.monotonic() - start
    print(f"{len(features)} x {features.shape[1]} {features.dtype} features, eps {found.eps:.4f}, {seconds:.1f} s")
    for name, value in label_quality(found.labels, ids, silhouette=found.silhouette).items():
        print(f"{name:12} {value:.4f}" if isinstance(value, float) else f"{name:12} {value}")
    if given.out:
        write_labels(given.out, found.labels)
        print(f"written: {given.out}")


def parser() -> argparse.ArgumentParser:
    """The arguments of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m clustering", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("features", type=Path, help="a matrix [N, D]: .npy, .npz, or .pt (tensors and numbers alone)")
    made.add_argument("--k1", type=int, default=20, help="neighbours that may be reciprocal (default: %(default)s)")
    made.add_argument("--k2", type=int, default=6, help="neighbourhoods averaged (default: %(default)s)")
    made.add_argument(
        "--eps", default="silhouette", help="radius: a number, auto (as published) or clearest (default: %(default)s)"
    )
    made.add_argument("--min-samples", type=int, default=4, help="points of a core's ball (default: %(default)s)")
    made.add_argument("--metric", default="precomputed", help="precomputed or rows (default: %(default)s)")
    made.add_argument("--knn", default="exact", help="exact, or ivf from 200,000 rows on (default: %(default)s)")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    made.add_argument("--ids", type=Path, help="who is on each image, a file as above: the labels are judged by them")
    made.add_argument("--out", type=Path, help="where to write the labels: .npy, or .txt with one a line; -1 is noise")
    return made


def radius(text: str) -> Any:
    """A number, or the name of a rule."""
    try:
        return float(text)
    except ValueError:
        return text


def device_of(name: str) -> torch.device:
    """The device of that name, where it is there."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"--device {name}: it should be auto, cpu, cuda or cuda:N")
    try:
        return pick_device(name)
    except UserError as error:
        raise UserError(str(error).replace("run.device=", "--device ")) from None


def write_labels(path: Path, labels: NDArray[np.int64]) -> None:
    """Write labels [N], whole or not at all."""
    if path.suffix == ".txt":
        write_text(path, "".join(f"{label}\n" for label in labels))
        return
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.save(file, labels)


if __name__ == "__main__":
    run_script(main)
