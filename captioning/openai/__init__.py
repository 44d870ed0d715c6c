"""Captions and rewrites from a model behind any OpenAI-compatible endpoint (vLLM, SGLang, DashScope, OpenAI)."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import httpx2

from captioning.captioner import Answer, AnswerStream
from captioning.openai.client import ChatClient, StoppedError, StopSignal
from captioning.options import CaptionerOptions
from captioning.style.prompts import image_prompt, query_prompt
from data.images import BrokenImageError, enlarge, limit_pixels, open_image
from utils.errors import UserError
from utils.interrupts import GracefulShutdown

Item = TypeVar("Item")

_NOTICE = "stopping: what is in flight is waited for and saved; Ctrl-C again drops it"
_JPEG_QUALITY = 92
_SHORTEST_SIDE = 28  # pixels; vision models refuse images that are smaller than a patch (28 pixels for Qwen-VL)


class OpenAIBackend:
    """Describes photographs and rewrites queries with a model behind `options.base_urls`.

    Raises:
        UserError: no model or no endpoint is configured.
    """

    def __init__(self, options: CaptionerOptions) -> None:
        if not options.model:
            raise UserError("captioner.model is not set: name the model to use (e.g. Qwen/Qwen2.5-VL-7B-Instruct)")
        if not options.base_urls:
            raise UserError("captioner.base_url is not set: name the server's URL (e.g. http://localhost:8000/v1)")
        for url in options.base_urls:
            if not _is_url(url):
                shown = url.rpartition("@")[2]  # without user name and password
                raise UserError(
                    f"captioner.base_url={shown} is not a URL that begins with http:// or https://, without user name "
                    f"and password (for a key, set captioner.api_key_env)"
                )
        self.name, self._options = f"openai:{options.model}", options

    def describe(self, images: Sequence[Path]) -> AnswerStream:
        """Yield `(position, answer)` as answers arrive; raises as `ImageCaptioner.describe`, and without consent."""
        if images:
            self._options.check_consent(f"{len(images)} photographs of people")

        async def request(client: ChatClient, path: Path) -> Answer:
            try:
                url = await asyncio.to_thread(jpeg_data_url, path, self._options.max_pixels)
            except BrokenImageError as error:
                return Answer(None, str(error))
            image = {"type": "image_url", "image_url": {"url": url}}
            return await client.request(lambda form: [image, {"type": "text", "text": image_prompt(form)}])

        return self._request_all(images, request)

    def rewrite(self, queries: Sequence[str]) -> AnswerStream:
        """Yield `(position, answer)` as answers arrive; raises as `describe`."""
        if queries:
            self._options.check_consent(f"{len(queries)} sentences about people")

        async def request(client: ChatClient, query: str) -> Answer:
            return await client.request(partial(query_prompt, query=query), query=True)

        return self._request_all(queries, request)

    def _request_all(
        self, items: Sequence[Item], send: Callable[[ChatClient, Item], Awaitable[Answer]]
    ) -> AnswerStream:
        """Keep requests in flight and yield their answers; after a stop, yield those in flight and raise its reason."""
        # Somewhat more than may be sent at once, so that the next photographs are already encoded when a slot is free.
        limit = self._options.concurrency + max(1, self._options.concurrency // 4)
        positions, count = iter(range(len(items))), 0
        tasks: dict[asyncio.Task[Answer | None], int] = {}
        with asyncio.Runner() as runner, GracefulShutdown(_NOTICE) as shutdown:
            loop, stop = runner.get_loop(), StopSignal(shutdown)
            # No more threads than cores: more would only compete with the event loop for the interpreter.
            loop.set_default_executor(ThreadPoolExecutor(os.cpu_count()))
            client = ChatClient(self._options, stop)
            try:
                while True:
                    for position in islice(positions, 0 if stop.is_set else limit - len(tasks)):
                        tasks[loop.create_task(_answer(send(client, items[position]), stop))] = position
                    if not tasks:
                        break
                    done, _ = runner.run(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
                    for task in [task for task in tasks if task in done]:
                        position, answer = tasks.pop(task), task.result()
                        if answer is not None:
                            count += 1
                            yield position, answer
            finally:
                runner.run(_end(tasks, client))
        if stop.error and count < len(items):
            raise stop.error
        if shutdown.requested:
            raise KeyboardInterrupt


def _is_url(url: str) -> bool:
    try:
        httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        return False
    return bool(re.match(r"https?://[^/@\s\\]+(/|$)", url))


async def _answer(asking: Awaitable[Answer], stop: StopSignal) -> Answer | None:
    """Await an answer; None if there was a stop before. An unforeseen exception is a failure of its item alone."""
    try:
        return await asking
    except StoppedError:
        return None
    except UserError as error:
        stop.set(error)
        return None
    except Exception as error:
        return Answer(None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


async def _end(tasks: Iterable[asyncio.Task[Answer | None]], client: ChatClient) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()


def jpeg_data_url(path: Path, max_pixels: int) -> str:
    """Re-encode a photograph so that only its pixels are sent, and no metadata (place, date, camera).

    Raises:
        BrokenImageError: the file cannot be read.
    """
    file = io.BytesIO()
    image = enlarge(limit_pixels(open_image(path), max_pixels), _SHORTEST_SIDE)
    try:
        image.save(file, "JPEG", quality=_JPEG_QUALITY)
    except OSError:
        raise BrokenImageError(f"{path}: {image.width} x {image.height} pixels do not fit into a JPEG") from None
    return f"data:image/jpeg;base64,{base64.b64encode(file.getbuffer()).decode()}"
