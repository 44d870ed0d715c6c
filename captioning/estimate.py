"""What captioning would take, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from captioning.plan import Plan
from captioning.style import image_prompt, query_prompt
from captioning.tally import cost

Tokens = tuple[float, float]
"""Read and written for one answer."""

NONE: Tokens = (0.0, 0.0)  # of what reads no tokens: pixels and rules
_LETTERS = 4  # of a token, about, in English
_PIXELS = 28 * 28  # of a token of Qwen2.5-VL
_REPLY = 100.0  # tokens of a filled template as JSON, about; less as prose
_SAMPLE = 200  # images whose sizes are looked at


def estimate(plan: Plan, what: str, name: str, each: Tokens, price: Sequence[float] | None) -> str:
    """One line: how much is done, how much is to be asked, and what tokens and money that takes.

    Args:
        what: "images" or "queries".
        name: who is asked.
        each: tokens of one question.
        price: of a million tokens read and of a million written.
    """
    distinct, done = len(plan.distinct()), len(plan.kept) + len(plan.answered)
    line = f"{done + len(plan.missing)} {what}, {done} of them done; {len(plan.missing)} to ask {name}"
    line += f" ({distinct} distinct)" if distinct < len(plan.missing) else ""
    read, written = distinct * each[0], distinct * each[1]
    if read:
        line += f", about {read:,.0f} tokens read and {written:,.0f} written"
        line += f", cost about {cost(read, written, price):.2f}" if price else ""
    return line


def tokens_of_images(paths: Sequence[Path], max_pixels: int) -> Tokens:
    """Tokens of a photograph with its prompt, on the average, about, seen from a sample of the files."""
    step = max(1, len(paths) // _SAMPLE)
    sizes = [pixels for path in paths[::step] if (pixels := _pixels(path))]
    mean = sum(max(4.0, min(pixels, max_pixels) / _PIXELS) for pixels in sizes) / max(len(sizes), 1)
    return mean + len(image_prompt("json")) / _LETTERS, _REPLY


def tokens_of_queries(queries: Iterable[str]) -> Tokens:
    """Tokens of a query with its prompt, on the average, about."""
    lengths = [len(query_prompt("json", query)) for query in queries]
    return sum(lengths) / max(len(lengths), 1) / _LETTERS, _REPLY


def _pixels(path: Path) -> int:
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0
