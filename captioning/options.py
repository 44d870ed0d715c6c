"""The `captioner` section of a config: which models describe images and rewrite queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from utils.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, options

Price = Annotated[list[NonNegativeFloat], Field(min_length=2, max_length=2)]
"""Price of a million prompt tokens and of a million reply tokens, in any currency."""


@options
class CaptionerOptions:
    """Which models describe images and rewrite queries; `configs/base.yaml` explains each key.

    A backend reads the keys without the prefix `rewriter_`; `for_queries` returns those of the rewriter.
    """

    backend: Literal["palette", "exact", "openai", "local"] | None
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

    @property
    def base_urls(self) -> list[str]:
        """Endpoints that serve the model; they share the requests."""
        urls = self.base_url or []
        urls = urls.strip("[]").split(",") if isinstance(urls, str) else urls
        return [url.strip() for url in urls]

    def for_queries(self) -> CaptionerOptions:
        """Return the options of the model that rewrites queries: `rewriter_` keys where set, else those for images."""
        own = {name: getattr(self, f"rewriter_{name}") for name in ("base_url", "model", "api_key_env", "price")}
        return replace(self, **{name: value for name, value in own.items() if value is not None})
