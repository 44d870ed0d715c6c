"""The `captioner` section of a config, and the options of the language models that it describes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from utils.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, options

Price = Annotated[list[NonNegativeFloat], Field(min_length=2, max_length=2)]
"""Price of a million prompt tokens and of a million reply tokens, in any currency."""


@dataclass(frozen=True)
class LanguageModelOptions:
    """One model, where it is served, and how requests are sent to it.

    Attributes:
        model: its name at the server or on the hub, or a folder; None for backends without a language model.
        base_urls: endpoints that serve the model ("http://localhost:8000/v1"); they share the requests.
        api_key_env: environment variable that holds the API key.
        concurrency: requests in flight, or parallel processes.
        timeout: seconds per request.
        retries: how often a failed request is repeated.
        stop_after: consecutive failures after which the run stops.
        requests_per_minute: upper bound of the rate; None for no bound.
        form: "json" requests slots by schema, "text" the filled template, "auto" JSON where the server supports it.
        max_tokens: maximum length of a reply.
        max_pixels: larger images are scaled down.
        batch_size: images or queries per batch of a local model.
        price: see `Price`; None if unknown.
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


@options
class CaptionerOptions:
    """Which models describe images and rewrite queries; `configs/base.yaml` explains each key."""

    backend: Literal["palette", "openai", "local"]
    rewriter: Literal["rules", "openai", "local"]
    base_url: str | list[str] | None
    model: str | None
    api_key_env: str
    rewriter_base_url: str | list[str] | None
    rewriter_model: str | None
    rewriter_api_key_env: str | None
    format: Literal["auto", "json", "text"]
    concurrency: PositiveInt
    requests_per_minute: PositiveFloat | None
    timeout: PositiveFloat
    retries: NonNegativeInt
    stop_after: PositiveInt
    max_tokens: PositiveInt
    max_pixels: PositiveInt
    batch_size: PositiveInt
    price: Price | None
    rewriter_price: Price | None

    def image_model(self, device: str) -> LanguageModelOptions:
        """Return the options of the model that describes images; a local model runs on `device`."""
        return self._language_model(device, self.model if self.backend != "palette" else None)

    def query_model(self, device: str) -> LanguageModelOptions:
        """Return the options of the model that rewrites queries: `rewriter_` keys where set, else those for images."""
        own = {name: getattr(self, f"rewriter_{name}") for name in ("base_url", "model", "api_key_env", "price")}
        merged = replace(self, **{name: value for name, value in own.items() if value is not None})
        return merged._language_model(device, merged.model if self.rewriter != "rules" else None)

    def _language_model(self, device: str, model: str | None) -> LanguageModelOptions:
        urls = self.base_url or ()
        urls = urls.strip("[]").split(",") if isinstance(urls, str) else urls
        return LanguageModelOptions(
            model=model,
            base_urls=tuple(url.strip() for url in urls),
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            timeout=self.timeout,
            retries=self.retries,
            stop_after=self.stop_after,
            requests_per_minute=self.requests_per_minute,
            form=self.format,
            max_tokens=self.max_tokens,
            max_pixels=self.max_pixels,
            batch_size=self.batch_size,
            price=tuple(self.price) if self.price else None,
            device=device,
        )
