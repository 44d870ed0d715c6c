"""Any OpenAI-compatible endpoint (vLLM, SGLang, DashScope, OpenAI) as captioner and as rewriter."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from captioning.captioner import Answer, Arriving
from captioning.chat import Chat, Content
from captioning.in_flight import in_flight
from captioning.manners import Halt, HaltedError
from captioning.payload import data_url
from captioning.service import Service
from captioning.style import Form, image_prompt, query_prompt
from data.images import BrokenImageError
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

Item = TypeVar("Item")

_NOTICE = "stopping: what is in flight is waited for and saved; Ctrl-C again drops it"


class OpenAICaptioner:
    """Describes photographs by a multimodal model behind `service.base_urls`.

    Raises:
        UserError: no model or no endpoint is configured.
    """

    def __init__(self, service: Service) -> None:
        self.service = _checked(service)
        self.name = f"openai:{service.model}"

    def describe(self, images: Sequence[Path]) -> Arriving:
        """Yield `(position, answer)` as answers arrive."""

        async def ask(chat: Chat, path: Path) -> Answer:
            try:
                url = await asyncio.get_running_loop().run_in_executor(pool, data_url, path, self.service.max_pixels)
            except BrokenImageError as error:
                return Answer(None, str(error))
            image = {"type": "image_url", "image_url": {"url": url}}

            def content(form: Form) -> Content:
                return [image, {"type": "text", "text": image_prompt(form)}]

            return await chat.ask(content)

        # No more threads than cores: more of them only take the interpreter from the one that talks to the server.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from _converse(self.service, images, ask)


class OpenAIRewriter:
    """Rewrites queries by a language model behind `service.base_urls`; errors as of `OpenAICaptioner`."""

    def __init__(self, service: Service) -> None:
        self.service = _checked(service)
        self.name = f"openai:{service.model}"

    def rewrite(self, queries: Sequence[str]) -> Arriving:
        """Yield `(position, answer)` as answers arrive."""

        async def ask(chat: Chat, query: str) -> Answer:
            return await chat.ask(lambda form: query_prompt(form, query), query=True)

        yield from _converse(self.service, queries, ask)


def _converse(service: Service, items: Sequence[Item], ask: Callable[[Chat, Item], Awaitable[Answer]]) -> Arriving:
    """Ask one question first, which finds out about key, model and schema; then many at once."""
    with asyncio.Runner() as runner, GracefulShutdown(_NOTICE) as shutdown:
        halt = Halt(shutdown)

        async def start() -> Chat:
            return Chat(service, halt)

        chat = runner.run(start())

        async def one(item: Item) -> Answer:
            try:
                return await ask(chat, item)
            except (UserError, HaltedError):
                raise
            except Exception as error:  # whatever one image or its answer holds, the others go on
                return Answer(None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")

        try:
            first = 0
            while first < len(items) and not chat.answered:
                with closing(in_flight(items[first : first + 1], one, 1, runner, halt)) as answers:
                    for _, answer in answers:
                        yield first, answer
                first += 1
            # some more than are let through at once: they are encoded by the time that it is their turn
            most = service.concurrency + max(1, service.concurrency // 4)
            with closing(in_flight(items[first:], one, most, runner, halt)) as answers:
                for place, answer in answers:
                    yield first + place, answer
        finally:
            runner.run(chat.close())


def _checked(service: Service) -> Service:
    if not service.model:
        raise UserError("captioner.model is not set: which model should answer? (e.g. Qwen/Qwen2.5-VL-7B-Instruct)")
    if not service.base_urls:
        raise UserError(
            "captioner.base_url is not set: where does the model run? (e.g. http://localhost:8000/v1 for vllm serve)"
        )
    for url in service.base_urls:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise UserError(f"captioner.base_url={url} is no address") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"captioner.base_url={url} is no address: it should begin with http:// or https://")
        if parts.username or parts.password:
            raise UserError("captioner.base_url holds a name or a password: put the key into captioner.api_key_env")
    return service
