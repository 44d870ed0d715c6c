"""Sections of `benchmarks.gpu` that no other benchmark measures, each in a process of its own."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import torch

from benchmarks.identities import draw_identities
from benchmarks.loader import write_images
from captioning.local import LocalBackend
from clustering.neighbors import Neighbors, find_neighbors
from tests.captioner_options import captioner_options
from tests.small_vlm import CAPTION, write_model
from utils.errors import UserError, run_script

NEIGHBORS = 21


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["captioner", "faiss"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, required=True, help="photographs, or points")
    parser.add_argument("--model", help="of the captioner")
    given = parser.parse_args(argv)
    if given.part == "captioner":
        caption(given.size, given.device, given.model)
    else:
        search(given.size, torch.device(given.device))


def caption(count: int, device: str, model: str | None) -> None:
    """Print the photographs per second that a model captions; without one, a small one is built from its config."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), count)
        name = model or str(write_model(Path(folder) / "model", "qwen2_5_vl", reply=CAPTION))
        backend = LocalBackend(captioner_options(model=name), device)
        warm_up = len(list(backend.describe(paths[:1])))  # loads the model
        start = time.perf_counter()
        answers = [answer for _, answer in backend.describe(paths)]
        seconds = time.perf_counter() - start
    captions = sum(answer.text is not None for answer in answers)
    if not warm_up or captions < count / 2:
        raise UserError(f"{captions} of {count} photographs have a valid caption")
    print(
        f"{model or 'Qwen2.5-VL of some ten thousand parameters'}: {count / seconds:.1f} images/s, {captions} captions"
    )
    if not model:
        print("\nNo weights were given (`--captioner MODEL`): this shows that the path runs, and no speed.")


def search(count: int, device: torch.device) -> None:
    """Print the seconds of the exact search on each device, and whether the neighbors are the same."""
    features, _ = draw_identities(count, 256, decay=2.0)
    find_neighbors(features[:100], NEIGHBORS, device="cpu")  # loads the compiled loop
    gpus = faiss.get_num_gpus()
    print(f"faiss {faiss.__version__}, {gpus} GPUs; {NEIGHBORS} neighbors of {count:,} points, 256 dimensions\n")
    print("| device | seconds |\n|---|---|")
    found: list[Neighbors] = []
    for name in ["cpu"] + ["cuda"] * (gpus > 0 and device.type == "cuda"):
        if name == "cuda":
            find_neighbors(features[:100], NEIGHBORS, device=name)  # opens the context
        start = time.perf_counter()
        found.append(find_neighbors(features, NEIGHBORS, device=name))
        print(f"| {name} | {time.perf_counter() - start:.2f} |")
    if len(found) == 1:
        print("\nfaiss finds no GPU here.")
    elif not np.array_equal(found[0].nearest, found[1].nearest):
        raise UserError("the neighbors found on the GPU are others than those found on the CPU")
    else:
        print("\nThe neighbors are the same.")


if __name__ == "__main__":
    run_script(main)
