"""Captions and rewrites from a transformers model on this machine; torch and transformers load with the model."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from captioning.captioner import MAX_SAID, Answer, AnswerStream, FailureBudget, Reply
from captioning.options import CaptionerOptions
from captioning.style.prompts import Form, image_prompt, query_prompt
from captioning.style.replies import NoJsonError, read_reply
from data.images import BrokenImageError, limit_pixels, open_image
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

if TYPE_CHECKING:
    from captioning.local.model import LocalModel

_THREADS = 4  # to open photographs
_MAX_ASPECT = 200  # no person fits into sides of a greater ratio, and Qwen's processor fails on it


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, after a photograph if there is one."""

    text: str
    image: Image.Image | None = None


class LocalBackend:
    """Describes photographs with an image-text model, and rewrites queries with one, or with one for text alone.

    The model is loaded when it is first used.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: no model is named; later, it cannot be loaded or used, or gives only unfit answers.
    """

    def __init__(self, options: CaptionerOptions, device: str) -> None:
        model = options.model
        if not model:
            raise UserError("captioner.model is not set: name a folder or a model (e.g. Qwen/Qwen2.5-VL-7B-Instruct)")
        folder = Path(model).is_dir() or Path(model).is_absolute()
        # Only the last part of a folder's path: its location changes no answer.
        self.name = f"local:{Path(model).resolve().name if folder else model}"
        self._model, self._device, self._options = model, device, options
        self._form: Form = "json" if options.format == "json" else "text"

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position, answer)` batch after batch, while the photographs of the next one are opened."""
        options, text = self._options, image_prompt(self._form)
        if images:
            model = self._load(images=True)
            with closing(open_ahead(images, max_pixels=options.max_pixels, ahead=options.batch_size)) as opened:
                prompts = (image if isinstance(image, Answer) else Prompt(text, image) for image in opened)
                yield from self.answer_all(model, prompts)

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position, answer)` batch after batch."""
        if queries:
            prompts = (Prompt(query_prompt(self._form, query)) for query in queries)
            yield from self.answer_all(self._load(images=False), prompts)

    def _load(self, *, images: bool) -> LocalModel:
        from captioning.local.model import load_model  # torch and transformers take seconds to import

        return load_model(self._model, self._device, images=images)

    def answer_all(self, model: LocalModel, prompts: Iterable[Prompt | Answer]) -> AnswerStream:
        """Run the model on batches, smaller ones once memory has run out; answers among the prompts are passed on."""
        size, budget = self._options.batch_size, FailureBudget(self._options.stop_after)
        numbered = enumerate(prompts)
        with GracefulShutdown("stopping: the current batch is finished and saved; Ctrl-C again drops it") as shutdown:
            while not shutdown.requested and (chunk := list(islice(numbered, size))):
                yield from ((position, prompt) for position, prompt in chunk if isinstance(prompt, Answer))
                left = [(position, prompt) for position, prompt in chunk if not isinstance(prompt, Answer)]
                while left and not shutdown.requested:
                    batch = left[:size]
                    start = time.perf_counter()
                    replies = model.reply([prompt for _, prompt in batch], self._options.max_tokens)
                    seconds = time.perf_counter() - start
                    if replies is None and len(batch) > 1:
                        size = len(batch) // 2
                        continue
                    checked: Sequence[Reply | None] = replies or [None]
                    for (position, _), reply in zip(batch, checked, strict=True):
                        answer = self._check(reply, seconds)
                        if answer.text is not None:
                            budget.record_success()
                        else:
                            budget.record_failure(f"{answer.problem} ({answer.said!r})", unfit=True)
                        yield position, answer
                    if budget.error:
                        raise budget.error
                    del left[: len(batch)]
        if shutdown.requested:
            raise KeyboardInterrupt

    def _check(self, reply: Reply | None, seconds: float) -> Answer:
        """Turn a reply into an answer; None means that it did not fit into memory."""
        if reply is None:
            return Answer(None, "out of memory in a batch of one: lower captioner.max_pixels", seconds=seconds)
        try:
            text, problem = read_reply(reply.text, self._form)
        except NoJsonError as error:
            text, problem = None, str(error)
        if not reply.finished:
            cut = f"cut short at captioner.max_tokens={self._options.max_tokens}"
            text, problem = None, f"{problem}, {cut}" if problem else cut
        said = "" if text is not None else reply.text[:MAX_SAID]
        return Answer(text, problem, said, reply.prompt_tokens, reply.reply_tokens, seconds)


def open_ahead(images: Sequence[Path], *, max_pixels: int, ahead: int) -> Generator[Image.Image | Answer, None, None]:
    """Yield each photograph in order, with `ahead` of them opened in advance and no more in memory.

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
