"""The interface of every captioning backend: answers arrive as a stream, and a failed request is an answer too."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from utils.errors import UserError

if TYPE_CHECKING:
    from captioning.local import LocalBackend
    from captioning.openai import OpenAIBackend
    from captioning.options import CaptionerOptions

# The problem of a query without any content for the template. Journals store these words: with others, every such
# query would be requested again.
NO_CONTENT = "says nothing that the template holds"

MAX_SAID = 300  # characters of a rejected reply that are kept
_UNFIT_FACTOR = 10  # times as many unfit answers as failures of the server stop the run


class BackendStoppedError(UserError):
    """A backend gave up after too many failures in a row."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend returned for one image or one query: a text, or the reason why there is none.

    Attributes:
        text: caption or rewrite in the style template; None on failure.
        problem: why there is no text ("refusal", "the server says 500").
        said: the reply that was rejected, truncated to `MAX_SAID` characters.
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


@dataclass(frozen=True, slots=True)
class Reply:
    """The output of a language model; not `finished` if the token limit cut it off."""

    text: str
    prompt_tokens: int
    reply_tokens: int
    finished: bool


AnswerStream = Generator[tuple[int, Answer], None, None]
"""Answers as they arrive: (position of the input, answer). Closing the stream cancels what has not arrived."""


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
            UserError: every further request would fail too (wrong key, no server, too many failures in a row).
                Earlier answers, failures included, have been yielded.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, likewise.
        """
        ...


class QueryRewriter(Protocol):
    """Rewrites free-form queries in the style template; `name` and failures as in `ImageCaptioner`."""

    name: str

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position in queries, answer)` as answers arrive, in any order, each position once."""
        ...


# Each backend is imported when it is chosen: the OpenAI client and scipy take about a second to load.


def load_captioner(options: CaptionerOptions, device: str) -> ImageCaptioner:
    """Return the backend `options.backend`; a local model runs on `device`.

    Raises:
        UserError: an option that the backend needs is missing or wrong.
    """
    if options.backend is None:
        return _NotChosen()
    if options.backend == "palette":
        from captioning.palette import PaletteCaptioner

        return PaletteCaptioner(workers=min(options.concurrency, os.cpu_count() or 1))
    if options.backend == "exact":
        from captioning.exact import ExactCaptioner

        return ExactCaptioner()
    return _load_language_model(options.backend, options, device)


class _NotChosen:
    """Stands for the captioner of a config that names none; captions that exist already do not need one."""

    name = "no captioner"

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Raise a `UserError` if there is anything to describe."""
        if images:
            raise UserError(
                f"captioner.backend is not set, and {len(images)} images have no caption: copy the released caption "
                "files to captions.dir, or set it to openai or local (docs/captioning.md); palette, which only reads "
                "colors, is chosen by --set captioner.backend=palette"
            )
        yield from ()


def load_rewriter(options: CaptionerOptions, device: str) -> QueryRewriter:
    """Return the backend `options.rewriter`; device and errors as in `load_captioner`."""
    if options.rewriter == "rules":
        from captioning.rules import RulesRewriter

        return RulesRewriter()
    return _load_language_model(options.rewriter, options.for_queries(), device)


def _load_language_model(
    backend: Literal["openai", "local"], options: CaptionerOptions, device: str
) -> OpenAIBackend | LocalBackend:
    if backend == "openai":
        from captioning.openai import OpenAIBackend

        return OpenAIBackend(options)
    from captioning.local import LocalBackend

    return LocalBackend(options, device)


class FailureBudget:
    """Counts consecutive failures of a language model; a run stops after too many.

    A model that gives unfit answers is reachable: ten times as many of these are accepted, so that images that it
    always refuses do not keep the others from being captioned.

    Args:
        limit: number of consecutive failures that stop a run (`captioner.stop_after`).
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._failures, self._unfit, self._reason = limit, 0, 0, ""

    def record_success(self) -> None:
        """Start counting again."""
        self._failures = self._unfit = 0

    def record_failure(self, reason: str, *, unfit: bool) -> None:
        """Count an unfit answer, or a failure of the server."""
        self._failures, self._unfit, self._reason = self._failures + (not unfit), self._unfit + unfit, reason

    @property
    def error(self) -> UserError | None:
        """The error to stop with, or None."""
        if self._failures < self._limit and self._unfit < _UNFIT_FACTOR * self._limit:
            return None
        return BackendStoppedError(
            f"stopped after {self._failures + self._unfit} failures in a row (to allow more, raise "
            f"captioner.stop_after={self._limit}), the last one: {self._reason}"
        )
