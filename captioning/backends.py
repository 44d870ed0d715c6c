"""Who can describe and who can rewrite, by the names that configs use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from captioning.captioner import ImageCaptioner, QueryRewriter
from captioning.service import Service

# Each is imported when it is chosen: the client of an API takes a second to load, scipy's filters half a one.


def _palette(service: Service) -> ImageCaptioner:
    from captioning.palette import PaletteCaptioner

    return PaletteCaptioner(workers=min(service.concurrency, os.cpu_count() or 1))


def _openai(service: Service) -> ImageCaptioner:
    from captioning.openai import OpenAICaptioner

    return OpenAICaptioner(service)


def _local(service: Service) -> ImageCaptioner:
    from captioning.local import LocalCaptioner

    return LocalCaptioner(service)


def _rules(service: Service) -> QueryRewriter:
    from captioning.rules import RulesRewriter

    return RulesRewriter()


def _openai_rewriter(service: Service) -> QueryRewriter:
    from captioning.openai import OpenAIRewriter

    return OpenAIRewriter(service)


def _local_rewriter(service: Service) -> QueryRewriter:
    from captioning.local import LocalRewriter

    return LocalRewriter(service)


CAPTIONERS: dict[str, Callable[[Service], ImageCaptioner]] = {"palette": _palette, "openai": _openai, "local": _local}
REWRITERS: dict[str, Callable[[Service], QueryRewriter]] = {
    "rules": _rules,
    "openai": _openai_rewriter,
    "local": _local_rewriter,
}

_SHARED = (
    *("concurrency", "requests_per_minute", "timeout", "retries", "stop_after"),
    *("max_tokens", "max_pixels", "batch_size"),
)


def services(values: Mapping[str, Any], device: str) -> tuple[Service, Service]:
    """What the captioner and what the rewriter are given: the latter's own keys, and else the former's.

    Args:
        values: the `captioner` section of a config, as plain values.
        device: where a local model computes.
    """

    def service(prefix: str, asks_model: bool) -> Service:
        own = {
            name: values[name] if values[f"{prefix}{name}"] is None else values[f"{prefix}{name}"]
            for name in ("base_url", "model", "api_key_env", "price")
        }
        urls = own["base_url"] or ()
        return Service(
            model=own["model"] if asks_model else None,
            base_urls=tuple(url.strip() for url in (urls.strip("[]").split(",") if isinstance(urls, str) else urls)),
            api_key_env=own["api_key_env"],
            price=own["price"] and tuple(own["price"]),
            form=values["format"],
            device=device,
            **{name: values[name] for name in _SHARED},
        )

    return service("", values["backend"] != "palette"), service("rewriter_", values["rewriter"] != "rules")
