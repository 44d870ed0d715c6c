"""A server on the loopback that speaks the OpenAI chat protocol, describes by hash, and misbehaves on request.

`ChatServer` runs in a thread of a test; `python -m tests.chat_server` runs one in a separate process.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from captioning.style.template import Slots, render

COLORS = ("red", "blue", "green", "black", "white", "gray", "yellow", "brown")
OK = "ok"
REFUSAL = "I'm sorry, but I can't help with describing people."


@dataclass
class ChatRequest:
    """One request, as the server's log keeps it."""

    key: str  # hash of the image's bytes, or the query
    number: int  # of the requests with this key, from 0
    form: str  # "json" where a schema was sent
    authorization: str
    fault: str = OK
    status: int = 200
    time: float = field(default_factory=time.monotonic)
    body: dict[str, Any] = field(default_factory=dict, repr=False)


Plan = Callable[[ChatRequest], str]


def slots_of(key: str) -> Slots:
    """The description of an image or query: derived from its hash."""
    drawn = hashlib.sha256(key.encode()).digest()
    upper, lower, shoes, gender = (COLORS[byte % len(COLORS)] for byte in drawn[:4])
    return Slots(
        gender="male" if gender in COLORS[:4] else "female",
        upper_color=upper,
        upper_garment="jacket",
        lower_color=lower,
        lower_garment="trousers",
        shoe_color=shoes,
        shoes="shoes",
        belongings=f"a {COLORS[drawn[4] % len(COLORS)]} backpack",
    )


def faults(shares: dict[str, float]) -> Plan:
    """Misbehave in these shares of the requests, drawn by the request's hash and number."""

    def plan(request: ChatRequest) -> str:
        drawn = int.from_bytes(hashlib.sha256(f"{request.key} {request.number}".encode()).digest()[:4], "big") / 2**32
        for fault, share in shares.items():
            if drawn < share:
                return fault
            drawn -= share
        return OK

    return plan


class ChatServer:
    """Use as a context manager; `url` is the base URL, `log` every request in the order of the answers.

    Args:
        plan: how to answer a request: "ok", "slow", "cut", "stall", "broken", "refusal", "empty", "long", "endless",
            "prose", "nothing", "echo", or an HTTP status such as "429", as text.
        delay: seconds that an answer takes.
        retry_after: seconds named by a 429.
        location: address named by a redirect.
        key: the API key that clients must send; None: any.
        models: names that are known; None: any.
    """

    def __init__(
        self,
        plan: Plan = lambda request: OK,
        *,
        delay: float = 0.0,
        retry_after: float | None = None,
        location: str = "",
        key: str | None = None,
        models: tuple[str, ...] | None = None,
        port: int = 0,
    ) -> None:
        self.plan, self.delay, self.retry_after, self.key, self.models, self.port = (
            plan,
            delay,
            retry_after,
            key,
            models,
            port,
        )
        self.location = location
        self.log: list[ChatRequest] = []
        self.in_flight = self.most_in_flight = 0
        self.counts: dict[str, int] = {}
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ChatServer:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.serve())

    async def serve(self) -> None:
        """Answer until the context ends."""
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=2**24, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                headers = {
                    name.strip().lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    request = self._read(json.loads(body), headers)
                    if not await self._answer(request, writer):
                        break
                finally:
                    self.in_flight -= 1
        writer.close()

    def _read(self, body: dict[str, Any], headers: dict[str, str]) -> ChatRequest:
        content = body["messages"][-1]["content"]
        if isinstance(content, str):
            key = content.partition("<sentence>")[2].partition("</sentence>")[0].strip()
        else:
            image = next(part["image_url"]["url"] for part in content if part["type"] == "image_url")
            key = hashlib.sha256(base64.b64decode(image.partition(",")[2])).hexdigest()[:16]
        number = self.counts[key] = self.counts.get(key, -1) + 1
        form = "json" if "response_format" in body else "text"
        return ChatRequest(key, number, form, headers.get("authorization", ""), body=body)

    async def _answer(self, request: ChatRequest, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open."""
        request.fault = self._door(request) or self.plan(request)
        if self.delay or request.fault == "slow":
            await asyncio.sleep(self.delay + (1.0 if request.fault == "slow" else 0.0))
        self.log.append(request)  # before the client can know of the answer
        if request.fault == "stall":
            await asyncio.sleep(3600)
        ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        if request.fault == "endless":
            writer.write(ok + b"Content-Length: 9000000000\r\n\r\n")
            while True:
                writer.write(b" " * 65536)
                await writer.drain()
        request.status = int(request.fault) if request.fault.isdigit() else 200
        body: dict[str, Any] = {"error": {"message": self._message(request), "type": "error", "code": request.status}}
        if request.status == 200:
            body = _completion(self._reply(request), request)
        if request.fault == "hidden limit":  # as some gateways report it, with status 200
            body = {"error": {"message": "Rate limit reached", "code": 429}}
        data = json.dumps(body).encode()
        if request.fault == "cut":
            writer.write(ok + b"Content-Length: 900\r\n\r\n" + data[:20])
            await writer.drain()
            return False
        if request.fault == "broken":
            data = data[: len(data) // 2]
        extra = f"Retry-After: {self.retry_after}\r\n" if request.status == 429 and self.retry_after is not None else ""
        extra += f"Location: {self.location}\r\n" if self.location else ""
        head = f"HTTP/1.1 {request.status} X\r\nContent-Type: application/json\r\n{extra}"
        writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        return True

    def _door(self, request: ChatRequest) -> str:
        if self.key is not None and request.authorization != f"Bearer {self.key}":
            return "401"
        if self.models is not None and request.body["model"] not in self.models:
            return "404"
        return ""

    def _message(self, request: ChatRequest) -> str:
        if request.status == 400 and request.form == "json":
            return "guided decoding is not supported here"
        bearer = request.authorization.removeprefix("Bearer ")
        return {
            401: f"Incorrect API key provided: {bearer}",
            404: f"The model `{request.body['model']}` does not exist.",
            429: "Rate limit reached",
        }.get(request.status, "something went wrong")

    def _reply(self, request: ChatRequest) -> str:
        slots = slots_of(request.key)
        if request.fault == "refusal":
            return REFUSAL
        if request.fault in ("empty", "nothing"):
            return json.dumps(asdict(Slots())) if request.fault == "nothing" else ""
        if request.fault == "echo":
            return f"The male is wearing a {request.authorization} coat."
        if request.fault == "long":
            return render(slots) + " and then".join(f" word{number}" for number in range(300))
        if request.form == "json" and request.fault != "prose":
            return json.dumps(asdict(slots))
        return render(slots)


def _completion(reply: str, request: ChatRequest) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply},
                "finish_reason": "length" if request.fault == "long" else "stop",
            }
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": 60, "total_tokens": 460},
    }


def main() -> None:
    """Serve on a port until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds an answer takes")
    parser.add_argument("--fault", nargs="*", default=[], metavar="NAME=SHARE", help="e.g. 429=0.1 cut=0.1")
    given = parser.parse_args()
    shares = {name: float(share) for name, _, share in (text.partition("=") for text in given.fault)}
    server = ChatServer(faults(shares), delay=given.delay, port=given.port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(server.serve())


if __name__ == "__main__":
    main()
