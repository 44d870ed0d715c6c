"""Photographs as language models receive them: of bounded size, in a message as a JPEG data URL."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from data.images import BrokenImageError, open_image

_QUALITY = 92


def limit_pixels(image: Image.Image, max_pixels: int) -> Image.Image:
    """Return the image, scaled down to at most `max_pixels` if it has more; the aspect ratio is kept."""
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def jpeg_data_url(path: Path, max_pixels: int) -> str:
    """Re-encode a photograph so that only its pixels are sent, and no metadata (place, date, camera).

    Raises:
        BrokenImageError: the file cannot be read.
    """
    file = io.BytesIO()
    image = limit_pixels(open_image(path), max_pixels)
    try:
        image.save(file, "JPEG", quality=_QUALITY)
    except OSError:
        raise BrokenImageError(f"{path}: {image.width} x {image.height} pixels do not fit into a JPEG") from None
    return f"data:image/jpeg;base64,{base64.b64encode(file.getbuffer()).decode()}"
