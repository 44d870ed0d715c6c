"""Photographs from disk, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from data.records import ImageRecord
from utils.errors import UserError
from utils.progress import progress

Opener = Callable[[Path], Image.Image]


class BrokenImageError(UserError):
    """A file that is no readable image; the message names it and says why."""


def open_image(path: Path) -> Image.Image:
    """Open and fully decode a photograph as RGB, turned as its EXIF data say.

    Raises:
        BrokenImageError: the file is missing, cut short, or no image.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError:
        raise BrokenImageError(f"{path} is not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{path} cannot be read ({error})") from None


def find_broken(records: Sequence[ImageRecord], *, what: str) -> dict[str, str]:
    """Decode every photograph once; return {name: why it cannot be read}, empty when all is well."""
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
        reasons = progress(pool.map(_why_broken, records), total=len(records), desc=f"checking {what}", unit="image")
        return {record.name: reason for record, reason in zip(records, reasons, strict=True) if reason}


def _why_broken(record: ImageRecord) -> str:
    try:
        open_image(record.path)
    except BrokenImageError as error:
        return str(error)
    return ""
