"""Captioner and rewriter behind OpenAI-compatible endpoints, with many requests in flight."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from captioning.captioner import Answer, AnswerStream
from captioning.openai.client import ChatClient
from captioning.openai.errors import StoppedError, StopSignal
from captioning.options import LanguageModelOptions
from captioning.photographs import jpeg_data_url
from captioning.style.prompts import image_prompt, query_prompt
from data.images import BrokenImageError
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

Item = TypeVar("Item")

_NOTICE = "stopping: what is in flight is waited for and saved; Ctrl-C again drops it"


class _Backend:
    """A model behind `options.base_urls`.

    Raises:
        UserError: no model or no endpoint is configured.
    """

    def __init__(self, options: LanguageModelOptions) -> None:
        if not options.model:
            raise UserError("captioner.model is not set: name the model to use (e.g. Qwen/Qwen2.5-VL-7B-Instruct)")
        if not options.base_urls:
            raise UserError("captioner.base_url is not set: where is the server? (e.g. http://localhost:8000/v1)")
        for url in options.base_urls:
            _check_url(url)
        self.name, self._options = f"openai:{options.model}", options


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UserError(f"captioner.base_url={url} is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"captioner.base_url={url} is not a URL that begins with http:// or https://")
    if parts.username or parts.password:
        raise UserError("captioner.base_url contains a user name or password: set captioner.api_key_env instead")


class OpenAICaptioner(_Backend):
    """Describes photographs with a multimodal model."""

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position, answer)` as answers arrive; raises as `_ask_all` does."""

        async def ask(client: ChatClient, path: Path) -> Answer:
            encoding = asyncio.get_running_loop().run_in_executor(pool, jpeg_data_url, path, self._options.max_pixels)
            try:
                image = {"type": "image_url", "image_url": {"url": await encoding}}
            except BrokenImageError as error:
                return Answer(None, str(error))

            return await client.ask(lambda form: [image, {"type": "text", "text": image_prompt(form)}])

        # No more threads than cores: more would only take the interpreter from the thread that talks to the server.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from _ask_all(self._options, images, ask)


class OpenAIRewriter(_Backend):
    """Rewrites queries with a language model."""

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position, answer)` as answers arrive; raises as `_ask_all` does."""

        async def ask(client: ChatClient, query: str) -> Answer:
            return await client.ask(lambda form: query_prompt(form, query), query=True)

        yield from _ask_all(self._options, queries, ask)


def _ask_all(
    options: LanguageModelOptions, items: Sequence[Item], ask: Callable[[ChatClient, Item], Awaitable[Answer]]
) -> AnswerStream:
    """Yield `(position, answer)` in the order of arrival; after a stop, what was in flight, and then raise the reason.

    Answers wait for their reader in a bounded queue, so that memory does not grow with the number of items.

    Raises:
        UserError: every other request would fail as well, or too many failed in a row while others were left.
        KeyboardInterrupt: after Ctrl-C or SIGTERM.
    """
    # Somewhat more than may be sent at once, so that the next photographs are already encoded when a slot is free.
    workers = min(len(items), options.concurrency + max(1, options.concurrency // 4))
    positions = iter(range(len(items)))
    queue: asyncio.Queue[tuple[int, Answer] | None] = asyncio.Queue(maxsize=workers)  # None: a worker has ended
    with asyncio.Runner() as runner, GracefulShutdown(_NOTICE) as shutdown:
        stop = StopSignal(shutdown)
        client = ChatClient(options, stop)

        async def work() -> None:
            try:
                for position in positions:
                    stop.check()
                    await queue.put((position, await _answer(ask(client, items[position]))))
            except StoppedError:
                pass
            except UserError as error:
                stop.set(error)
            await queue.put(None)

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

        tasks = [runner.get_loop().create_task(work()) for _ in range(workers)]
        running, count = workers, 0
        try:
            while running:
                arrived = [runner.run(queue.get())]
                while not queue.empty():  # without running the loop for each
                    arrived.append(queue.get_nowait())
                results = [result for result in arrived if result is not None]
                running, count = running - (len(arrived) - len(results)), count + len(results)
                yield from results
        finally:
            runner.run(end())
        if stop.error and count < len(items):
            raise stop.error
        if shutdown.requested:
            raise KeyboardInterrupt


async def _answer(asking: Awaitable[Answer]) -> Answer:
    """Turn an unforeseen exception into a failure of its item alone, so that the others go on."""
    try:
        return await asking
    except (UserError, StoppedError):
        raise
    except Exception as error:
        return Answer(None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
