"""Photographs small enough to travel inside the page."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from utils.errors import UserError

BOX = (176, 352)  # pixels: twice the size shown, for screens with two device pixels to a CSS pixel
QUALITY = 74


def data_url(path: Path) -> str:
    """The photograph at `path`, shrunk to fit `BOX` and encoded again, as a JPEG data URL.

    Raises:
        UserError: the file is missing or not a picture.
    """
    try:
        with Image.open(path) as photo:
            small = ImageOps.exif_transpose(photo).convert("RGB")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the report shows it, so put it back or fix data.root") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is not a picture that Pillow can read: fetch it again") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    small.thumbnail(BOX, Image.Resampling.LANCZOS)
    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
