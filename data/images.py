"""Open image files, with errors that name the file. Does not import torch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.records import ImageRecord
from utils.errors import UserError
from utils.progress import progress

ImageOpener = Callable[[Path], Image.Image]


# Raster formats; others, such as PostScript, would start further programs.
_RASTER = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
Image.init()  # registers all formats
_FORMATS = tuple(name for name in _RASTER if name in Image.OPEN)  # some builds of Pillow lack one


def ignore_decoder_warnings() -> None:
    """Keep Pillow's warnings, as of damaged metadata, off the terminal: the pixels are used, or an error is raised.

    This is called on import; whoever resets Python's filters has to call it again.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


ignore_decoder_warnings()


class BrokenImageError(UserError):
    """An image file that cannot be read; the message names it and gives the reason."""


def open_image(path: Path) -> Image.Image:
    """Open and fully decode a photograph as a person sees it: RGB, upright by its EXIF orientation, on white.

    Raises:
        BrokenImageError: the file is missing, truncated, or no raster image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            return _as_seen(_upright(image))
    except UnidentifiedImageError:
        raise BrokenImageError(f"{path} is not an image") from None
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # decoders of damaged files raise errors of any kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenImageError(f"{path} cannot be read ({reason})") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data; the pixels are intact
        return image


def _as_seen(image: Image.Image) -> Image.Image:
    """Return an image of any mode as RGB: 16 bits and floats scaled to 8 bits, transparent parts white."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        highest = float(values.max(initial=0.0))
        whole = 1.0 if highest <= 1 else 255.0 if highest <= 255 else 65535.0 if highest <= 65535 else highest
        image = Image.fromarray((values.clip(0, whole) * (255 / whole)).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def limit_pixels(image: Image.Image, max_pixels: int) -> Image.Image:
    """Return the image, scaled down to at most `max_pixels` if it has more; the aspect ratio is kept."""
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def enlarge(image: Image.Image, shortest: int) -> Image.Image:
    """Return the image, scaled up so that no side is shorter than `shortest` pixels; the aspect ratio is kept."""
    scale = shortest / min(image.width, image.height)
    if scale <= 1:
        return image
    return image.resize((math.ceil(image.width * scale), math.ceil(image.height * scale)), Image.Resampling.BICUBIC)


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
