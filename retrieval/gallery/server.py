"""A page and a JSON API over an index, on this machine unless a token protects them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from PIL import Image
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from data.images import open_image
from retrieval.gallery.conditions import quote
from retrieval.gallery.gallery import Gallery
from retrieval.gallery.results import SearchOptions
from utils.errors import UserError
from utils.logs import log

TOKEN_VARIABLE = "TSN_TOKEN"  # noqa: S105 - the name of an environment variable
MAX_TOP = 200
_PAGE = Path(__file__).parent / "page"
_COOKIE = "tsn_token"
_THUMBNAIL = (256, 512)  # pixels: twice the size shown, for screens with two device pixels per CSS pixel
_CACHED = 2000  # thumbnails, of about 20 kB
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_POLICY = (
    "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]


class SearchRequest(BaseModel):
    """The arguments of a search in an address; all but these are those of `Gallery.search`.

    Attributes:
        answers: JSON of {slot: value or null}.
        camera: name of the camera.
        since, until: times ("2026-05-04T12:30").
    """

    q: str = ""
    top: int = Field(60, ge=1, le=MAX_TOP)
    like: list[str] = []
    unlike: list[str] = []
    answers: str = "{}"
    camera: str = ""
    folder: str = ""
    since: str = ""
    until: str = ""
    where: str = ""
    weight: float | None = Field(None, ge=0, le=1)
    rerank: int | None = Field(None, ge=0, le=MAX_TOP)

    def options(self) -> SearchOptions:
        """Return the options of `Gallery.search`.

        Raises:
            UserError: the answers are not an object of texts.
        """
        conditions = [f"({self.where})"] if self.where else []
        conditions += [f"camera = {quote(self.camera)}"] if self.camera else []
        conditions += [f"time >= {quote(_read_time(self.since))}"] if self.since else []
        conditions += [f"time <= {quote(_read_time(self.until))}"] if self.until else []
        return SearchOptions(
            top=self.top,
            like=self.like,
            unlike=self.unlike,
            answers=_read_answers(self.answers),
            where=" AND ".join(conditions) or None,
            folder=self.folder or None,
            weight=self.weight,
            rerank=self.rerank,
        )


def create_app(gallery: Gallery, *, token: str | None = None, host: str = "127.0.0.1") -> FastAPI:
    """Return the application.

    Args:
        gallery: the index to search.
        token: that every request must bring, as a cookie or as `Authorization: Bearer`; without one, only requests that
            name this machine as their host are answered. Browsers' requests from pages of other sites are refused.
        host: the address that the server listens on.
    """
    app = FastAPI(title="TSN", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    _add_guard(app, token, [*_LOOPBACK_NAMES, host])
    _add_page(app, gallery)
    _add_api(app, gallery)
    return app


def _add_guard(app: FastAPI, token: str | None, hosts: list[str]) -> None:
    """Refuse requests without the token, and tell browsers to load nothing from elsewhere."""

    @app.middleware("http")
    async def guard(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and request.url.path != "/":
            return PlainTextResponse("requests from other sites are not answered", status_code=403)
        if token is not None and not _is_allowed(request, token):
            given = request.query_params.get("token")
            if request.url.path == "/" and given and hmac.compare_digest(given.encode(), token.encode()):
                response: Response = RedirectResponse("/", status_code=303)  # without the token in the address
                response.set_cookie(_COOKIE, _secret(token), httponly=True, samesite="strict")
                return response
            return PlainTextResponse("open this page as /?token=... with the token of its server", status_code=401)
        response = await follow(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response

    if token is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.exception_handler(UserError)
    async def explain(request: Request, error: UserError) -> JSONResponse:
        shown = str(error).encode(errors="backslashreplace").decode()  # halves of surrogate pairs of a request
        return JSONResponse({"error": shown}, status_code=400)


def _add_page(app: FastAPI, gallery: Gallery) -> None:
    """Serve the page, its style and its script."""
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=select_autoescape(["html"]), undefined=StrictUndefined
    )

    @app.get("/")
    def page() -> Response:
        template = environment.get_template("page.html")
        shown = template.render(count=len(gallery), facets=gallery.facets(), top=MAX_TOP)
        return Response(shown, media_type="text/html")

    @app.get("/page/{name}")
    def part(name: str) -> Response:
        file = _PAGE / Path(name).name
        if file.suffix not in _TYPES or not file.is_file():
            return PlainTextResponse("there is no such file", status_code=404)
        return Response(file.read_bytes(), media_type=_TYPES[file.suffix])


def _add_api(app: FastAPI, gallery: Gallery) -> None:
    """Serve searches, the values to filter by, and thumbnails."""

    @app.get("/api/search")
    def search(request: Annotated[SearchRequest, Query()]) -> dict[str, Any]:
        """Return the results of a search."""
        return gallery.search(request.q or None, **request.options()).to_dict()

    @app.get("/api/facets")
    def facets() -> dict[str, list[str]]:
        """Return the cameras and folders of the index."""
        return gallery.facets()

    @lru_cache(maxsize=_CACHED)
    def thumbnail(path: Path, modified: int) -> bytes:
        image = open_image(path)
        image.thumbnail(_THUMBNAIL, Image.Resampling.LANCZOS)
        jpeg = BytesIO()
        image.save(jpeg, "JPEG", quality=82)
        return jpeg.getvalue()

    @app.get("/api/photographs/{photograph}")
    def photograph(photograph: str) -> Response:
        """Return a thumbnail of a photograph of the index, by its id."""
        path = gallery.path_of(photograph)
        with suppress(OSError, UserError):
            if path is not None:
                content = thumbnail(path, path.stat().st_mtime_ns)
                return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})
        return PlainTextResponse("there is no such photograph", status_code=404)


def _secret(token: str) -> str:
    """Return what the cookie holds, which does not tell the token."""
    return hashlib.sha256(f"tsn {token}".encode()).hexdigest()


def _is_allowed(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    cookie = request.cookies.get(_COOKIE, "")
    pairs = ((given, f"Bearer {token}"), (cookie, _secret(token)))
    return any(hmac.compare_digest(one.encode(errors="replace"), other.encode()) for one, other in pairs)


def _read_time(text: str) -> str:
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"{text[:40]!r} is no time, such as 2026-05-04T12:30") from None


def _read_answers(text: str) -> dict[str, str | None]:
    try:
        answers = json.loads(text)
        if isinstance(answers, dict) and all(isinstance(value, str | None) for value in answers.values()):
            return answers
    except (ValueError, RecursionError):
        pass
    raise UserError('answers should be a JSON object of slots, such as {"upper_color": "red", "shoes": null}')


def run_server(gallery: Gallery, *, host: str, port: int) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Raises:
        UserError: the port is in use, or other machines could connect and there is no token.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token and not (token.isascii() and token.isprintable()):
        raise UserError(f"{TOKEN_VARIABLE} should be printable ASCII, which browsers and programs can send")
    if not _is_loopback(host) and not token:
        raise UserError(
            f"--host {host} lets other machines see the photographs: set {TOKEN_VARIABLE} to a secret that they need, "
            "or leave --host out"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio sends small answers at once (TCP_NODELAY) only through sockets that name their protocol.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)  # whoever reads the address may ask at once
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on {host}, port {port} ({reason}): choose another --port or --host") from None
    gallery.search("a person", top=1)  # loads the model and the rows: the first search is as fast as the others
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"
    log.info(f"{len(gallery)} photographs at {address}{'?token=...' if token else ''} (Ctrl-C ends the server)")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises the signal again when it has ended
    config = uvicorn.Config(create_app(gallery, token=token, host=host), log_level="warning", access_log=False)
    with suppress(KeyboardInterrupt):  # the usual end
        uvicorn.Server(config).run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
