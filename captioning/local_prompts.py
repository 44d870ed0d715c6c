"""What a local model is asked: a text, and a photograph that was opened while the model was busy with those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from captioning.captioner import Answer
from captioning.payload import bounded
from data.images import BrokenImageError, open_image

_THREADS = 4
_NARROWEST = 200  # no person fits into sides of such a ratio, and Qwen's processor fails on a greater one


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, with a photograph in front of it or none."""

    text: str
    image: Image.Image | None = None


def open_ahead(
    images: Sequence[Path], text: str, *, max_pixels: int, ahead: int
) -> Generator[Prompt | Answer, None, None]:
    """Put each photograph in front of `text`, in order; an answer takes the place of one that cannot be described.

    Args:
        max_pixels: photographs that have more are scaled down, in their proportions.
        ahead: photographs that are opened before they are asked for; no more are ever held here.
    """
    waiting: deque[Future[Prompt | Answer]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="photographs")
    try:
        for path in images:
            waiting.append(pool.submit(_open, path, text, max_pixels))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _open(path: Path, text: str, max_pixels: int) -> Prompt | Answer:
    try:
        image = open_image(path)
    except BrokenImageError as error:
        return Answer(None, problem=str(error))
    width, height = image.size
    image = bounded(image, max_pixels)
    if max(image.size) > _NARROWEST * min(image.size):
        return Answer(None, problem=f"{path} has {width} x {height} pixels: too narrow to be described")
    return Prompt(text, image)
