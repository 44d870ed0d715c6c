"""Turn images into model inputs: the transforms of BLIP, and caches of resized images.

Images stay at 8 bits until they are on the device: a quarter of the bytes in shared memory and on the bus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as pictures

from data.images import ImageOpener, open_image
from utils import distributed
from utils.device import send
from utils.files import atomic_write
from utils.progress import progress

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class RawPixels(NamedTuple):
    """An image, or with a further first dimension a batch, which `normalize` turns into the model's input.

    Attributes:
        values: [3, H, W] uint8.
        erased: [4] int64: top, left, height and width of a rectangle that is erased; zeros for none.
    """

    values: Tensor
    erased: Tensor


Transform = Callable[[Image.Image], RawPixels]


def normalize(raw: RawPixels, device: torch.device | str = "cpu") -> Tensor:
    """Scale, normalize and erase on the device: [..., 3, H, W] float32, the same to the bit as image by image before.

    An erased rectangle becomes `MEAN`, after normalization (as published).
    """
    white, mean, std = _constants(torch.device(device))
    pixels = send(raw.values, device).float().div_(white).sub_(mean).div_(std)
    if not raw.erased.any():
        return pixels
    top, left, height, width = send(raw.erased, device)[..., None].unbind(-2)
    rows, columns = (torch.arange(side, device=device) for side in pixels.shape[-2:])
    inside = ((rows >= top) & (rows < top + height))[..., :, None] & ((columns >= left) & (columns < left + width))[
        ..., None, :
    ]
    return torch.where(inside[..., None, :, :], mean, pixels)


@lru_cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """White, mean and standard deviation: kept, since copying them to a GPU would make the host wait for it.

    As tensors, because a GPU divides by a number by multiplying by its rounded inverse.
    """
    with torch.inference_mode(False):
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
        return torch.tensor(255.0, device=device), mean, std


def test_transform(size: tuple[int, int]) -> Transform:
    """Resize to `size` (height, width)."""
    return partial(_to_raw, _resize(size), None)


def train_transform(
    size: tuple[int, int], *, augment: Literal["published", "light", "strong"] = "published"
) -> Transform:
    """Resize and augment.

    `published` flips, pads by 10 pixels of 224 and crops, and erases 2 % to 40 % of the image; `light` does not erase,
    for small images, where the erased part may contain all that a caption describes. `strong` changes framing, light
    and sharpness as cameras do, but hues hardly, since captions name colors.
    """
    if augment == "strong":
        steps = [
            transforms.RandomResizedCrop(size, (0.6, 1.0), (0.4, 0.62), interpolation=InterpolationMode.BILINEAR),
            transforms.RandomHorizontalFlip(0.5),
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.02),
            transforms.RandomApply([transforms.GaussianBlur(3, (0.1, 1.5))], 0.3),
        ]
        return partial(_to_raw, transforms.Compose(steps), transforms.RandomErasing(0.3, scale=(0.02, 0.2)))
    pad = max(1, round(10 / 224 * min(size)))
    steps = [_resize(size), transforms.RandomHorizontalFlip(0.5), transforms.Pad(pad), transforms.RandomCrop(size)]
    erasing = transforms.RandomErasing(scale=(0.02, 0.4)) if augment == "published" else None
    return partial(_to_raw, transforms.Compose(steps), erasing)


def _to_raw(
    change: Callable[[Image.Image], Image.Image], erasing: transforms.RandomErasing | None, image: Image.Image
) -> RawPixels:
    # Contiguous, because a batch of images with interleaved channels would be convolved by another algorithm.
    values = pictures.pil_to_tensor(change(image)).contiguous()
    if erasing is not None and torch.rand(1) < erasing.p:
        *rectangle, _ = erasing.get_params(values, erasing.scale, erasing.ratio, [0.0])
        if rectangle[2:] != [*values.shape[1:]]:  # torchvision found none that fits
            return RawPixels(values, torch.tensor(rectangle))
    return RawPixels(values, torch.zeros(4, dtype=torch.int64))


def _resize(size: tuple[int, int]) -> Callable[[Image.Image], Image.Image]:
    return transforms.Resize(size, interpolation=InterpolationMode.BICUBIC)


def _open_resized(path: Path, size: tuple[int, int]) -> Image.Image:
    # The transforms leave an image of this size as it is, so that a cached image gives the same pixels as its file.
    return _resize(size)(open_image(path))


def cached_opener(
    cache: Literal["memory", "mapped"] | bool, paths: Sequence[Path], size: tuple[int, int], folder: Path
) -> ImageOpener:
    """Return an opener: `open_image`, or a cache of `paths`, in memory or in a memory-mapped file in `folder`."""
    if not cache:
        return open_image
    if cache != "mapped":
        return ImageCache(paths, size)
    key = [str(size), *(f"{path} {path.stat().st_size}" for path in paths)]
    name = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return ImageCache(paths, size, folder / f"images_{name}.npy")


class ImageCache:
    """Open images, resized; the images at `paths` are decoded once and kept, at three bytes per pixel.

    In memory, they are shared with worker processes that are forked later. In a file, they are shared by all processes
    of a run, and the operating system keeps in memory as much of it as fits.

    Args:
        paths: images to cache.
        size: height and width in pixels.
        file: a .npy file [N, H, W, 3] with these images, created if missing; None keeps them in memory.

    Raises:
        UserError: an image cannot be read, or the disk is full.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], file: Path | None = None) -> None:
        self._open = partial(_open_resized, size=size)
        self._rows = {path: row for row, path in enumerate(paths)}
        shape = (len(paths), *size, 3)
        if file is None:
            self._pixels = np.empty(shape, np.uint8)
            for row, image in enumerate(self._decode(paths)):
                self._pixels[row] = np.asarray(image)
        else:
            distributed.run_on_main(lambda: None if file.exists() else self._write(paths, shape, file))
            self._pixels = np.load(file, mmap_mode="r", allow_pickle=False)

    def __call__(self, path: Path) -> Image.Image:
        """Return an image as RGB, resized."""
        row = self._rows.get(path)
        return self._open(path) if row is None else Image.fromarray(self._pixels[row])

    def _decode(self, paths: Sequence[Path]) -> Iterator[Image.Image]:
        with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes and resizes
            yield from progress(pool.map(self._open, paths), total=len(paths), desc="resizing", unit="image")

    def _write(self, paths: Sequence[Path], shape: tuple[int, ...], file: Path) -> None:
        # Not through a memory map: with a full disk, that would kill the process without an error message.
        with atomic_write(file) as temporary, temporary.open("wb") as out:
            npy.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for image in self._decode(paths):
                out.write(image.tobytes())
