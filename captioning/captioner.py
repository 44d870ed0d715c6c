"""What every captioning back end offers: answers as they come, failures as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """What a back end made of one image or one query: a text, or the reason why there is none."""

    text: str | None
    problem: str = ""


class ImageCaptioner(Protocol):
    """Describes photographs in the style template.

    Attributes:
        name: back end and model, as the journal records them ("palette 2", "openai:qwen-vl-max").
    """

    name: str

    def describe(self, images: Sequence[Path]) -> Iterator[tuple[int, Answer]]:
        """Yield `(position in images, answer)` as answers arrive, in any order, each position once.

        A back end batches and runs requests side by side as it likes. One image that fails is an `Answer` with a
        problem; only what makes every further request pointless (a wrong key, no server) raises `UserError`.
        """
        ...


class QueryRewriter(Protocol):
    """Rewrites free-style queries into the style template; `name` and failures as in `ImageCaptioner`."""

    name: str

    def rewrite(self, queries: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        """Yield `(position in queries, answer)` as answers arrive, in any order, each position once."""
        ...
