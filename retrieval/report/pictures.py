"""Photographs small enough to travel inside the page."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image

from data.images import open_image

BOX = (176, 352)  # pixels: twice the size shown, for screens with two device pixels to a CSS pixel
QUALITY = 74


def data_url(path: Path) -> str:
    """The photograph at `path`, shrunk to fit `BOX` and encoded again, as a JPEG data URL.

    Raises:
        BrokenImageError: the file is missing or not a picture.
    """
    small = open_image(path)
    small.thumbnail(BOX, Image.Resampling.LANCZOS)
    jpeg = BytesIO()
    small.save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
