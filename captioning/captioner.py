"""What every captioning back end offers: answers as they come, failures as values."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NOTHING = "says nothing that the template holds"  # the problem of a query that no rewriter can do anything with


@dataclass(frozen=True, slots=True)
class Answer:
    """What a back end made of one image or one query: a text, or the reason why there is none.

    Attributes:
        text: in the style template; None where there is none.
        problem: why there is none ("refusal", "the server says 500").
        said: what a model said that was not fit to be the text, cut to some hundred characters.
        prompt_tokens, reply_tokens: what a language model read and wrote for it, unfit replies included.
        seconds: from the first request to the last reply.
    """

    text: str | None
    problem: str = ""
    said: str = ""
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether asking again is pointless: there is a text, or it is known that there can be none."""
        return self.text is not None or self.problem == NOTHING


Arriving = Generator[tuple[int, Answer], None, None]
"""Answers as they come: (position of the question, answer). Closing it drops what has not come yet."""


class ImageCaptioner(Protocol):
    """Describes photographs in the style template.

    Attributes:
        name: back end and model, as the journal records them ("palette 2", "openai:qwen-vl-max").
    """

    name: str

    def describe(self, images: Sequence[Path]) -> Arriving:
        """Yield `(position in images, answer)` as answers arrive, in any order, each position once.

        A back end batches and runs requests side by side as it likes. One image that fails is an `Answer` with a
        problem; only what makes every further request pointless (a wrong key, no server) raises `UserError`.
        """
        ...


class QueryRewriter(Protocol):
    """Rewrites free-style queries into the style template; `name` and failures as in `ImageCaptioner`."""

    name: str

    def rewrite(self, queries: Sequence[str]) -> Arriving:
        """Yield `(position in queries, answer)` as answers arrive, in any order, each position once."""
        ...
