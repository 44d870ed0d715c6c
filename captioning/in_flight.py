"""Many questions in flight at once, seen from outside as a plain iterator of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import TypeVar

from captioning.manners import Halt, HaltedError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_flight(
    items: Sequence[Item], ask: Callable[[Item], Awaitable[Result]], most: int, runner: asyncio.Runner, halt: Halt
) -> Generator[tuple[int, Result], None, None]:
    """Yield `(position, result)` in the order of arrival, with at most `most` questions asked and not answered.

    After Ctrl-C, or when a question raises, nothing more is asked; what is in flight is waited for and yielded first.
    Results wait for their reader in a short queue, so that memory does not grow with the number of items.

    Raises:
        Exception: what a question raised.
        KeyboardInterrupt: Ctrl-C.
    """
    places = iter(range(len(items)))
    reasons: list[Exception] = []

    async def work(done: asyncio.Queue[tuple[int, Result] | None]) -> None:
        try:
            for place in places:
                halt.check()
                await done.put((place, await ask(items[place])))
        except HaltedError:
            pass
        except Exception as error:  # raised where the answers are read
            reasons.append(error)
            halt.call()
        await done.put(None)

    async def start() -> tuple[asyncio.Queue[tuple[int, Result] | None], list[asyncio.Task[None]]]:
        done: asyncio.Queue[tuple[int, Result] | None] = asyncio.Queue(maxsize=most)
        return done, [asyncio.create_task(work(done)) for _ in range(min(most, len(items)))]

    done, tasks = runner.run(start())
    try:
        left = len(tasks)
        while left:
            arrived = [runner.run(done.get())]
            while not done.empty():  # all that came meanwhile, without going through the loop for each
                arrived.append(done.get_nowait())
            left -= arrived.count(None)
            yield from (result for result in arrived if result is not None)
    finally:
        runner.run(_end(tasks))
    if reasons:
        raise reasons[0]
    if halt.interrupted:
        raise KeyboardInterrupt


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
