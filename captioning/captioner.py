"""The interface of every captioning backend: answers arrive as a stream, and a failed request is an answer too."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# The problem of a query without any content for the template. Journals hold these words: other words would make every
# such query be requested again.
NO_CONTENT = "says nothing that the template holds"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend returned for one image or one query: a text, or the reason why there is none.

    Attributes:
        text: caption or rewrite in the style template; None on failure.
        problem: why there is no text ("refusal", "the server says 500").
        said: the reply that was rejected, truncated to a few hundred characters.
        prompt_tokens, reply_tokens: tokens that a language model read and wrote, rejected replies included.
        seconds: from the first request to the last reply.
    """

    text: str | None
    problem: str = ""
    said: str = ""
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0

    @property
    def is_final(self) -> bool:
        """Whether another request is pointless: there is a text, or the query has no content."""
        return self.text is not None or self.problem == NO_CONTENT


AnswerStream = Generator[tuple[int, Answer], None, None]
"""Answers in order of arrival: (position of the input, answer). Closing the stream cancels what has not arrived."""


class ImageCaptioner(Protocol):
    """Describes images in the style template.

    Attributes:
        name: backend and model, as the journal records them ("palette 2", "openai:qwen-vl-max").
    """

    name: str

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position in images, answer)` as answers arrive, in any order, each position once.

        A backend batches and parallelizes as it likes. An image that fails is an `Answer` with a problem.

        Raises:
            UserError: every further request would fail too (wrong key, no server, too many failures in a row). What
                was answered before, failures included, has been yielded.
        """
        ...


class QueryRewriter(Protocol):
    """Rewrites free-form queries in the style template; `name` and failures as in `ImageCaptioner`."""

    name: str

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position in queries, answer)` as answers arrive, in any order, each position once."""
        ...
