"""Images per second of the training data loader, by number of worker processes and by image cache.

python -m benchmarks.loader --workers 0 1 2 --size 224 224

The images are synthetic JPEGs of the most common size in CUHK-PEDES.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from configs.load import load_config
from data.images import ImageOpener, open_image
from data.pairs import UnlabelledPairs
from data.transforms import ImageCache
from models.options import DRAWN
from models.tokenizer import load_tokenizer
from training.batches import TextInputs, pseudo_labelled_batches
from utils.errors import run_script

IMAGE_SIZE = (128, 384)  # width and height, the most common in CUHK-PEDES


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=36)
    parser.add_argument("--size", type=int, nargs=2, default=[224, 224], help="height and width for the model")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    given = parser.parse_args(argv)
    size = (given.size[0], given.size[1])
    print(
        f"{os.cpu_count()} cores, {given.images} JPEGs of {IMAGE_SIZE[0]} x {IMAGE_SIZE[1]}, to {size[1]} x {size[0]}\n"
    )
    print("| images | " + " | ".join(f"{number} workers" for number in given.workers) + " |")
    print("|" + "---|" * (1 + len(given.workers)))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(Path(folder), given.images)
        openers: dict[str, ImageOpener] = {
            "no cache": open_image,
            "`train.cache: memory`": ImageCache(paths, size),
            "`train.cache: mapped`": ImageCache(paths, size, Path(folder) / "images.npy"),
        }
        for name, opener in openers.items():
            rates = [images_per_second(paths, opener, size, given.batch, workers) for workers in given.workers]
            print(f"| {name} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |", flush=True)


def write_images(folder: Path, count: int) -> list[Path]:
    """Write images with as much detail as photographs, so that they take as long to decode."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (24, 8, 3), dtype=np.uint8))
        coarse = coarse.resize(IMAGE_SIZE, Image.Resampling.BICUBIC)
        noise = random.normal(0, 12, (IMAGE_SIZE[1], IMAGE_SIZE[0], 3))
        Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def images_per_second(
    paths: Sequence[Path], opener: ImageOpener, size: tuple[int, int], batch_size: int, workers: int
) -> float:
    """Measure one epoch after its first batch, augmentation included."""
    pairs = UnlabelledPairs(tuple(path.name for path in paths), tuple(paths), ("a person",) * len(paths))
    options = load_config(Path("configs/base.yaml")).train
    batches = pseudo_labelled_batches(
        pairs,
        np.zeros(len(paths), np.int64),
        replace(options, batch_size=batch_size, workers=workers),
        image=size,
        seed=0,
        opener=opener,
        texts=TextInputs(load_tokenizer(DRAWN / "vocab.txt")),
    )
    each = iter(batches)
    next(each)  # workers start
    start = time.perf_counter()
    images = sum(len(batch.indices) for batch in each)
    return images / (time.perf_counter() - start)


if __name__ == "__main__":
    run_script(main)
