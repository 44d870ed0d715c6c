"""The `captioner` section of a config: which models describe images and rewrite queries."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import Field

from utils.errors import UserError
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
    send_to: str | list[str] | None
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
        return _split(self.base_url)

    @property
    def remote_hosts(self) -> list[str]:
        """Hosts of `base_urls` other than this machine."""
        return list(dict.fromkeys(host_of(url) for url in self.base_urls if not is_loopback(url)))

    @property
    def recipients(self) -> str:
        """The remote hosts, and the proxies on the way to them, in words: "gpu1, gpu2 (through the proxy p)"."""
        proxies = {_proxy_for(url) for url in self.base_urls if not is_loopback(url)} - {""}
        through = f" (through the proxy {', '.join(sorted(proxies))})" if proxies else ""
        return ", ".join(self.remote_hosts) + through

    def check_consent(self, what: str, *, or_else: str = "") -> None:
        """Refuse to send anything about people to a host that the user has not named.

        Args:
            what: would be sent ("353 photographs of people").
            or_else: another way to allow it, for the message.

        Raises:
            UserError: `send_to` lacks one of `remote_hosts`.
        """
        named = {host.lower() for host in _split(self.send_to)}
        if not named.issuperset(self.remote_hosts):
            raise UserError(
                f"{what} would be sent to {self.recipients}: to allow it, set "
                f"captioner.send_to={','.join(sorted({*named, *self.remote_hosts}))}{or_else}"
            )

    def allow_all_hosts(self) -> CaptionerOptions:
        """Return the options with every host named in `send_to`: what `--yes` means."""
        return replace(self, send_to=[*self.remote_hosts, *self.for_queries().remote_hosts])

    def for_queries(self) -> CaptionerOptions:
        """Return the options of the model that rewrites queries: `rewriter_` keys where set, else those for images."""
        own = {name: getattr(self, f"rewriter_{name}") for name in ("base_url", "model", "api_key_env", "price")}
        return replace(self, **{name: value for name, value in own.items() if value is not None})


def _split(value: str | list[str] | None) -> list[str]:
    parts = value.strip("[]").split(",") if isinstance(value, str) else value or []
    return [part.strip() for part in parts if part.strip()]


def host_of(url: str) -> str:
    """Return the host of a URL, in lower case; the URL itself if it has none."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = host_of(url)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified  # servers print 0.0.0.0, which connects to this machine


def _proxy_for(url: str) -> str:
    """Return the host of the proxy that the environment names for a URL; empty if there is none."""
    proxies = getproxies()
    proxy = proxies.get(urlsplit(url).scheme) or proxies.get("all") or ""
    return "" if not proxy or proxy_bypass(host_of(url)) else host_of(proxy if "//" in proxy else f"//{proxy}")
