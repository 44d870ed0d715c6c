"""Where a language model is, and how it is asked: the values of the `captioner` section that its back ends need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Service:
    """One model and the manners with it.

    Attributes:
        model: its name at the server, on the hub, or a folder.
        base_urls: endpoints that serve it ("http://localhost:8000/v1"); several share the requests.
        api_key_env: environment variable that holds the key.
        concurrency: requests in flight, or processes side by side.
        timeout: seconds that a request may take.
        retries: how often a request that failed is sent again.
        stop_after: images or queries that fail in a row before everything stops.
        requests_per_minute: at most so many; None for no bound.
        form: "json" asks for slots by schema, "text" for the filled template, "auto" for JSON where it is understood.
        max_tokens: length of a reply.
        max_pixels: photographs that have more are scaled down.
        batch_size: images or queries that a local model reads at once.
        price: of a million tokens read and of a million written; None where nobody asks.
        device: "auto", "cpu", "cuda" or "cuda:N", for a local model.
    """

    model: str | None = None
    base_urls: tuple[str, ...] = ()
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 32
    timeout: float = 120.0
    retries: int = 5
    stop_after: int = 10
    requests_per_minute: float | None = None
    form: Literal["auto", "json", "text"] = "auto"
    max_tokens: int = 300
    max_pixels: int = 1_003_520
    batch_size: int = 16
    price: tuple[float, ...] | None = None
    device: str = "auto"
