"""Captioner and rewriter that run a transformers model on this machine, batch after batch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from captioning.captioner import Answer, AnswerStream
from captioning.options import LanguageModelOptions
from captioning.photographs import limit_pixels
from captioning.style.prompts import Form, image_prompt, query_prompt
from captioning.style.replies import NoJsonError, read_reply
from data.images import BrokenImageError, open_image
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

if TYPE_CHECKING:
    from captioning.local.model import LocalModel, Prompt, Reply

_UNFIT_FACTOR = 10  # times `stop_after` unfit answers in a row stop the run
_MAX_SAID = 300  # characters of an unfit reply that are kept
_THREADS = 4  # that open photographs
_MAX_ASPECT = 200  # no person fits into sides of a greater ratio, and Qwen's processor fails on it


class _Backend:
    """A model on this machine, which is loaded when it is first used.

    Args:
        options: `model`, `device`, `batch_size`, `max_pixels`, `max_tokens`, `form` and `stop_after` are used.

    Raises:
        UserError: no model is named; later, it cannot be loaded or used, or gives only unfit answers.
    """

    def __init__(self, options: LanguageModelOptions) -> None:
        model = options.model
        if not model:
            raise UserError("captioner.model is not set: name a folder or a model (e.g. Qwen/Qwen2.5-VL-7B-Instruct)")
        folder = Path(model).is_dir() or Path(model).is_absolute()
        # Of a folder only its last part: its location changes no answer.
        self.name, self._options = f"local:{Path(model).resolve().name if folder else model}", options


class LocalCaptioner(_Backend):
    """Describes photographs with an image-text model."""

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position, answer)` batch after batch, while the photographs of the next one are opened."""
        if not images:
            return
        from captioning.local.model import Prompt, load_model  # torch and transformers take seconds to import

        options = self._options
        model, text = load_model(options.model or "", options.device, images=True), image_prompt(_form(options))
        with closing(open_ahead(images, max_pixels=options.max_pixels, ahead=options.batch_size)) as opened:
            prompts = (image if isinstance(image, Answer) else Prompt(text, image) for image in opened)
            yield from _answers(model, prompts, options)


class LocalRewriter(_Backend):
    """Rewrites queries with an image-text model, or one for text alone."""

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position, answer)` batch after batch."""
        if not queries:
            return
        from captioning.local.model import Prompt, load_model  # torch and transformers take seconds to import

        options = self._options
        model = load_model(options.model or "", options.device, images=False)
        yield from _answers(model, (Prompt(query_prompt(_form(options), query)) for query in queries), options)


def open_ahead(images: Sequence[Path], *, max_pixels: int, ahead: int) -> Generator[Image.Image | Answer, None, None]:
    """Yield each photograph in order, with `ahead` of them opened in advance and no more held.

    One with more than `max_pixels` is scaled down; one that cannot be described is replaced by an answer that says why.
    """
    waiting: deque[Future[Image.Image | Answer]] = deque()
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="photographs")
    try:
        for path in images:
            waiting.append(pool.submit(_open, path, max_pixels))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _open(path: Path, max_pixels: int) -> Image.Image | Answer:
    try:
        image = open_image(path)
    except BrokenImageError as error:
        return Answer(None, str(error))
    scaled = limit_pixels(image, max_pixels)
    if max(scaled.size) > _MAX_ASPECT * min(scaled.size):
        return Answer(None, f"{path} has {image.width} x {image.height} pixels: too narrow to be described")
    return scaled


def _form(options: LanguageModelOptions) -> Form:
    return "json" if options.form == "json" else "text"


def _answers(model: LocalModel, prompts: Iterator[Prompt | Answer], options: LanguageModelOptions) -> AnswerStream:
    """Run the model on batches, on smaller ones once memory ran out; answers among the prompts are passed on."""
    size, unfit = options.batch_size, 0
    numbered = enumerate(prompts)
    with GracefulShutdown("stopping: the current batch is finished and saved; Ctrl-C again drops it") as shutdown:
        while not shutdown.requested and (chunk := list(islice(numbered, size))):
            yield from ((position, prompt) for position, prompt in chunk if isinstance(prompt, Answer))
            left = [(position, prompt) for position, prompt in chunk if not isinstance(prompt, Answer)]
            while left and not shutdown.requested:
                batch = left[:size]
                start = time.perf_counter()
                replies = model.reply([prompt for _, prompt in batch], options.max_tokens)
                seconds = time.perf_counter() - start
                if replies is None and len(batch) > 1:
                    size = len(batch) // 2
                    continue
                checked: Sequence[Reply | None] = replies or [None]
                answers = [_answer(reply, options, seconds) for reply in checked]
                for (position, _), answer in zip(batch, answers, strict=True):
                    yield position, answer
                    unfit = 0 if answer.text is not None else unfit + 1
                if unfit >= _UNFIT_FACTOR * options.stop_after:
                    raise UserError(
                        f"captioner.model: the last {unfit} answers of '{options.model}' were unfit; the last one, "
                        f"{answer.said!r}, has this problem: {answer.problem}"
                    )
                del left[: len(batch)]
    if shutdown.requested:
        raise KeyboardInterrupt


def _answer(reply: Reply | None, options: LanguageModelOptions, seconds: float) -> Answer:
    """Check a reply; None stands for one that did not fit into memory."""
    if reply is None:
        return Answer(None, "out of memory in a batch of one: lower captioner.max_pixels", seconds=seconds)
    try:
        text, problem = read_reply(reply.text, _form(options))
    except NoJsonError as error:
        text, problem = None, str(error)
    if not reply.finished:
        cut = f"cut off at {reply.tokens} tokens (captioner.max_tokens)"
        text, problem = None, f"{problem}, {cut}" if problem else cut
    said = "" if text is not None else reply.text[:_MAX_SAID]
    return Answer(text, problem, said, reply.prompt_tokens, reply.tokens, seconds)
