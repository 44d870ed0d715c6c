"""Images a second that the training loader gives, by worker processes and by where photographs come from.

python -m benchmarks.loader --workers 0 1 2 --size 224 224

Photographs are drawn, as large as those of CUHK-PEDES mostly are, and written as JPEG.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data.cache import ImageCache
from data.images import Opener, open_image
from data.mapped import MappedImages
from data.pairs import UnlabelledPairs
from training.batches import BatchOptions, pseudo_labelled_batches
from utils.errors import run_script

PHOTOGRAPH = (128, 384)  # width and height, of which CUHK-PEDES has most


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=36)
    parser.add_argument("--size", type=int, nargs=2, default=[224, 224], help="height and width for the model")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    given = parser.parse_args(argv)
    size = (given.size[0], given.size[1])
    print(
        f"{os.cpu_count()} cores, {given.images} JPEGs of {PHOTOGRAPH[0]} x {PHOTOGRAPH[1]}, to {size[1]} x {size[0]}\n"
    )
    print("| photographs | " + " | ".join(f"{number} workers" for number in given.workers) + " |")
    print("|" + "---|" * (1 + len(given.workers)))
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder), given.images)
        openers: dict[str, Opener] = {
            "decoded each time": open_image,
            "`train.cache: memory`": ImageCache(paths, size),
            "`train.cache: mapped`": MappedImages(paths, size, Path(folder) / "images.npy"),
        }
        for name, opener in openers.items():
            rates = [images_a_second(paths, opener, size, given.batch, workers) for workers in given.workers]
            print(f"| {name} | " + " | ".join(f"{rate:.0f}" for rate in rates) + " |", flush=True)


def draw(folder: Path, count: int) -> list[Path]:
    """Pictures with as much detail as a photograph has, so that they take as long to decode."""
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (24, 8, 3), dtype=np.uint8))
        coarse = coarse.resize(PHOTOGRAPH, Image.Resampling.BICUBIC)
        noise = random.normal(0, 12, (PHOTOGRAPH[1], PHOTOGRAPH[0], 3))
        Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def images_a_second(
    paths: Sequence[Path], opener: Opener, size: tuple[int, int], batch_size: int, workers: int
) -> float:
    """Of one epoch, augmentation included, from the first batch on."""
    pairs = UnlabelledPairs(tuple(path.name for path in paths), tuple(paths), ("a person",) * len(paths))
    batches = pseudo_labelled_batches(
        pairs,
        np.zeros(len(paths), np.int64),
        BatchOptions(image=size, augment="published", batch_size=batch_size, workers=workers),
        seed=0,
        opener=opener,
    )
    each = iter(batches)
    next(each)  # workers start
    start = time.perf_counter()
    images = sum(len(pixels) for pixels, *_ in each)
    return images / (time.perf_counter() - start)


if __name__ == "__main__":
    run_script(main)
