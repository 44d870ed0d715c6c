"""Small images, and annotation files in the formats of the data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def picture(path: Path, color: tuple[int, int, int] = (190, 30, 35), size: tuple[int, int] = (16, 32)) -> Path:
    """Write an image of one color with width and height `size`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def entry(name: str, *, key: str = "file_path", **changes: Any) -> dict[str, Any]:
    """Return the entry of one image in an annotation file."""
    return {"split": "test", "captions": ["A man in red."], key: name, "id": 7} | changes


def annotate(root: Path, annotation: str, entries: Any, *, key: str = "file_path") -> Path:
    """Write an annotation file, and an image for each of its entries."""
    root.mkdir(parents=True, exist_ok=True)
    (root / annotation).write_text(json.dumps(entries))
    for one in entries:
        picture(root / "imgs" / one[key])
    return root
