"""Open image files, with errors that name the file. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from data.records import ImageRecord
from utils.errors import UserError
from utils.progress import progress

ImageOpener = Callable[[Path], Image.Image]


class BrokenImageError(UserError):
    """An image file that cannot be read; the message names it and gives the reason."""


def open_image(path: Path) -> Image.Image:
    """Open and fully decode an image as RGB, rotated according to its EXIF orientation.

    Raises:
        BrokenImageError: the file is missing, truncated, or not an image.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise BrokenImageError(f"{path} is not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{path} cannot be read ({error})") from None


def limit_pixels(image: Image.Image, max_pixels: int) -> Image.Image:
    """Return the image, scaled down to at most `max_pixels` if it has more; the aspect ratio is kept."""
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def find_broken(records: Sequence[ImageRecord], *, what: str) -> dict[str, str]:
    """Decode every image once and return {name: reason} of those that cannot be read; `what` labels the progress."""
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        reasons = progress(pool.map(_read_error, records), total=len(records), desc=f"checking {what}", unit="image")
        return {record.name: reason for record, reason in zip(records, reasons, strict=True) if reason}


def _read_error(record: ImageRecord) -> str:
    try:
        open_image(record.path)
    except BrokenImageError as error:
        return str(error)
    return ""
