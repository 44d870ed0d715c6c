"""Photographs that are decoded and resized once, for data sets that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL.Image import Image

from data.images import open_image
from data.transforms import resize


class ImageCache:
    """Opens photographs like `open_image`, resized; those given at the start are kept in memory.

    A transform's own resizing to the same size then changes nothing, so that a view is the same with the cache as
    without. Filled before any worker process is forked, it is shared by all of them.

    Args:
        paths: what to keep, at four bytes a pixel.
        size: height and width in pixels.

    Raises:
        BrokenImageError: one of them cannot be read.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self._resize = resize(size)
        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes outside the interpreter's lock
            self._kept = dict(zip(paths, pool.map(self._open, paths), strict=True))

    def __call__(self, path: Path) -> Image:
        """A photograph as RGB, of the cache's size."""
        return self._kept[path] if path in self._kept else self._open(path)

    def _open(self, path: Path) -> Image:
        image: Image = self._resize(open_image(path))
        return image
