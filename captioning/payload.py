"""A photograph as a message carries it: a JPEG of bounded size in a data URL."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from data.images import BrokenImageError, open_image

_QUALITY = 92


def bounded(image: Image.Image, max_pixels: int) -> Image.Image:
    """The image itself, or scaled down to at most `max_pixels` with its sides' ratio kept."""
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def data_url(path: Path, max_pixels: int) -> str:
    """Encode a photograph anew, so that nothing but its pixels is sent: no place, no date, no camera.

    Raises:
        BrokenImageError: the file cannot be read.
    """
    file = io.BytesIO()
    image = bounded(open_image(path), max_pixels)
    try:
        image.save(file, "JPEG", quality=_QUALITY)
    except OSError:
        raise BrokenImageError(f"{path} has {image.width} x {image.height} pixels, which no JPEG can have") from None
    return f"data:image/jpeg;base64,{base64.b64encode(file.getbuffer()).decode()}"
