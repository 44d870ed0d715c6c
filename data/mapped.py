"""Photographs that are decoded and resized once, in a file that every process of a run maps into its memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib import format as npy
from PIL import Image

from data.cache import ImageCache
from data.images import Opener, open_image
from data.transforms import resize
from utils import distributed
from utils.files import atomic_write
from utils.progress import progress


def kept_images(
    kept: Literal["memory", "mapped"] | bool, paths: Sequence[Path], size: tuple[int, int], folder: Path
) -> Opener:
    """Who opens photographs: from their files, or, those at `paths`, from memory or from a mapped file in `folder`."""
    if not kept:
        return open_image
    if kept != "mapped":
        return ImageCache(paths, size)
    described = [str(size), *(f"{path} {path.stat().st_size}" for path in paths)]
    name = hashlib.sha256("\n".join(described).encode()).hexdigest()[:16]
    return MappedImages(paths, size, folder / f"images_{name}.npy")


class MappedImages:
    """Opens photographs like `ImageCache`, from a file: the system keeps in memory what there is room for.

    Args:
        paths: what to keep, at three bytes a pixel.
        size: height and width in pixels.
        file: a .npy file [N, H, W, 3], made where it is missing.

    Raises:
        UserError: a photograph cannot be read, the disk is full, or the file is of other photographs.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], file: Path) -> None:
        self._resize = resize(size)
        self._rows = {path: row for row, path in enumerate(paths)}
        distributed.run_on_main(lambda: None if file.exists() else self._write(paths, size, file))
        self._pixels = np.load(file, mmap_mode="r", allow_pickle=False)

    def __call__(self, path: Path) -> Image.Image:
        """A photograph as RGB, of the size that is kept."""
        row = self._rows.get(path)
        return self._open(path) if row is None else Image.fromarray(self._pixels[row])

    def _write(self, paths: Sequence[Path], size: tuple[int, int], file: Path) -> None:
        # Not through a map: where the disk is full, that would end the process without a word.
        with atomic_write(file) as aside, aside.open("wb") as out, ThreadPoolExecutor() as pool:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *size, 3)}
            npy.write_array_header_1_0(out, header)
            images = progress(pool.map(self._open, paths), total=len(paths), desc="resizing", unit="image")
            for image in images:
                out.write(image.tobytes())

    def _open(self, path: Path) -> Image.Image:
        image: Image.Image = self._resize(open_image(path))
        return image
