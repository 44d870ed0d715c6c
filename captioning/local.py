"""Descriptions and rewrites by a transformers model on one's own GPU: batches, and what goes wrong with them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.captioner import Answer, Arriving
from captioning.local_prompts import Prompt, open_ahead
from captioning.manners import UNFIT_FACTOR
from captioning.service import Service
from captioning.style import Form, NoJsonError, image_prompt, query_prompt, read_reply
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

if TYPE_CHECKING:
    from captioning.local_model import LocalModel, Reply

_SAID = 300  # characters of an unfit reply that are kept


class LocalCaptioner:
    """Describes photographs with an image-text model, which is loaded when the first are there.

    Args:
        service: of it count `model`, `device`, `batch_size`, `max_pixels`, `max_tokens`, `form` and `stop_after`.

    Raises:
        UserError: no model is named.
    """

    def __init__(self, service: Service) -> None:
        self.name = _name(service.model)
        self._service = service

    def describe(self, images: Sequence[Path]) -> Arriving:
        """Yield `(position, answer)`, batch after batch, while the photographs of the next one are opened.

        Raises:
            UserError: the model cannot be loaded, knows no images, or says nothing that is fit.
        """
        if not images:
            return
        service, model = self._service, _load(self._service, images=True)
        text = image_prompt(_form(service))
        opened = open_ahead(images, text, max_pixels=service.max_pixels, ahead=service.batch_size)
        with closing(opened) as prompts:
            yield from _answers(model, prompts, service)


class LocalRewriter:
    """Rewrites queries with a language model, one that sees or one of text alone; else as `LocalCaptioner`."""

    def __init__(self, service: Service) -> None:
        self.name = _name(service.model)
        self._service = service

    def rewrite(self, queries: Sequence[str]) -> Arriving:
        """Yield `(position, answer)`, batch after batch.

        Raises:
            UserError: the model cannot be loaded, or says nothing that is fit.
        """
        if not queries:
            return
        service, model = self._service, _load(self._service, images=False)
        yield from _answers(model, (Prompt(query_prompt(_form(service), query)) for query in queries), service)


def _load(service: Service, *, images: bool) -> LocalModel:
    from captioning.local_model import load_model  # torch and transformers take seconds, which others need not wait

    return load_model(service.model or "", service.device, images=images)


def _name(model: str | None) -> str:
    """Of a folder, the last part alone: where it lies does not change what the model says."""
    if not model:
        raise UserError("captioner.model: name a folder or a model on the hub, for example Qwen/Qwen2.5-VL-7B-Instruct")
    folder = Path(model).is_dir() or Path(model).is_absolute()
    return f"local:{Path(model).resolve().name if folder else model}"


def _form(service: Service) -> Form:
    return "json" if service.form == "json" else "text"


def _answers(model: LocalModel, prompts: Iterator[Prompt | Answer], service: Service) -> Arriving:
    """Ask batch after batch, in smaller ones once memory ran out; an answer in place of a prompt is passed on."""
    size, unfit = service.batch_size, 0
    numbered = enumerate(prompts)
    with GracefulShutdown("stopping: the batch at work is waited for and saved; Ctrl-C again drops it") as shutdown:
        while not shutdown.requested and (chunk := list(islice(numbered, size))):
            yield from ((position, prompt) for position, prompt in chunk if isinstance(prompt, Answer))
            batch = [(position, prompt) for position, prompt in chunk if isinstance(prompt, Prompt)]
            while batch and not shutdown.requested:
                part = batch[:size]
                start = time.perf_counter()
                replies = model.reply([prompt for _, prompt in part], service.max_tokens)
                seconds = time.perf_counter() - start
                if replies is None and len(part) > 1:
                    size = len(part) // 2
                    continue
                said: Sequence[Reply | None] = replies or [None]
                answers = [_answer(reply, service, seconds) for reply in said]
                for (position, _), answer in zip(part, answers, strict=True):
                    yield position, answer
                    unfit = 0 if answer.text is not None else unfit + 1
                if unfit >= UNFIT_FACTOR * service.stop_after:
                    raise UserError(
                        f"captioner.model: the last {unfit} answers of '{service.model}' were unfit; of the last one, "
                        f"{answer.said!r}, the problem is: {answer.problem}"
                    )
                del batch[: len(part)]
    if shutdown.requested:
        raise KeyboardInterrupt


def _answer(reply: Reply | None, service: Service, seconds: float) -> Answer:
    """Read a reply; None is one for which memory did not suffice."""
    if reply is None:
        return Answer(None, problem="too little memory for it alone: lower captioner.max_pixels", seconds=seconds)
    try:
        text, problem = read_reply(reply.text, _form(service))
    except NoJsonError as error:
        text, problem = None, str(error)
    if not reply.finished:
        cut = f"cut off at {reply.tokens} tokens (captioner.max_tokens)"
        text, problem = None, f"{problem}, {cut}" if problem else cut
    said = "" if text is not None else reply.text[:_SAID]
    return Answer(text, problem, said, reply.prompt_tokens, reply.tokens, seconds)
