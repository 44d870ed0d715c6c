"""The server on a free port, asked by HTTP and used in a real browser."""

# ruff: noqa: F811 - fixtures are imported, and named by parameters
from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page

import search
from retrieval.gallery.server import TOKEN_VARIABLE
from tests.test_browser import FOUND, SCREENSHOTS, browser  # noqa: F401 - a fixture
from utils.errors import UserError

SENTENCE = "a woman in a red coat with a black backpack"
browsing = pytest.mark.skipif(FOUND is None, reason="Chromium is not installed (Debian: apt install chromium)")


def start(index: Path, *more: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """Start the server on a free port; return it with its address."""
    command = [sys.executable, "search.py", "serve", "--index", str(index), "--port", "0", "--device", "cpu", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"http://\S+:\d+/", line)
    assert match, line
    return process, match[0]


@pytest.fixture(scope="module")
def address(indexed: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose folder has a photograph with markup in its name, and one that vanished."""
    root = tmp_path_factory.mktemp("served")
    folder = shutil.copytree(photographs, root / "own")
    first = sorted((folder / "test").iterdir())[0]
    first.rename(folder / "test" / "<img src=x onerror=alert(1)>.jpg")
    index = root / "index"
    assert search.main(["index", str(folder), "--index", str(index)]) == 0
    sorted((folder / "val").iterdir())[0].unlink()
    process, found = start(index)
    yield found
    process.terminate()
    assert process.wait(20) == 0


def get(address: str, path: str, **more: Any) -> httpx2.Response:
    return httpx2.get(address.rstrip("/") + path, timeout=30, **more)


def test_the_api_answers(address: str) -> None:
    """Results as JSON, thumbnails of what is indexed, and one line for bad input."""
    found = get(address, "/api/search", params={"q": SENTENCE, "top": 5}).json()
    assert len(found["hits"]) == 5
    picture = get(address, f"/api/photographs/{found['hits'][0]['id']}")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content[:2] == b"\xff\xd8"
    assert get(address, "/api/facets").json()["folder"] == ["test", "train", "val"]
    for query, named in (
        ({"q": ""}, "nothing to search for"),
        ({"q": "a man", "where": "1=1; drop table x"}, "condition"),
        ({"q": "a man", "where": "camra = 1"}, "camra"),
        ({"q": "a man", "since": "yesterday"}, "yesterday"),
        ({"q": "a man", "answers": "[" * 20_000}, "answers"),
        ({"like": "0" * 16, "answers": '{"bad": "x"}'}, "bad"),
        ({"q": "a man", "folder": "*" * 20_000}, "folder"),
        ({"q": "a man", "answers": "[1]"}, "answers"),
        ({"q": "a man", "answers": '{"colour": "red"}'}, "colour"),
        ({"q": "a man", "like": "../../etc/passwd"}, "not in the index"),
    ):
        reply = get(address, "/api/search", params=query)
        assert reply.status_code == 400, query
        assert named in reply.json()["error"]
    assert get(address, "/api/search", params={"q": "a man", "top": 10**9}).status_code == 422


def test_no_path_leaves_the_folder(address: str) -> None:
    """Only ids are accepted, and only the page's own files are served."""
    for path in (
        "/api/photographs/../../../etc/passwd",
        "/api/photographs/..%2f..%2fetc%2fpasswd",
        "/api/photographs/0000000000000000",
        "/api/photographs/' OR '1'='1",
        "/page/..%2fserver.py",
        "/page/page.html",
        "/etc/passwd",
    ):
        assert get(address, path).status_code in (404, 405), path


def test_times_filter(address: str) -> None:
    """As the page sends them."""
    for name in ("since", "until"):
        reply = get(address, "/api/search", params={"q": "a man", name: "2026-05-04T12:30"})
        assert reply.status_code == 200
        assert reply.json()["hits"] == []  # drawn pictures have no time


def test_other_hosts_and_sites_are_not_answered(address: str, indexed: Path) -> None:
    """A page of another site gets nothing, also if its name was pointed here; an empty token protects nothing."""
    assert get(address, "/api/facets", headers={"Host": "evil.example"}).status_code == 400
    assert get(address, "/api/facets", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    process, other = start(indexed, **{TOKEN_VARIABLE: ""})
    try:
        assert get(other, "/api/facets", headers={"Host": "evil.example"}).status_code == 400
        assert get(other, "/api/facets").status_code == 200
    finally:
        process.terminate()
        process.wait(20)


def test_a_token_is_needed_beyond_this_machine(indexed: Path) -> None:
    """Without one, such an address is refused; with one, every request must bring it."""
    with pytest.raises(UserError, match=TOKEN_VARIABLE):
        search.main(["serve", "--index", str(indexed), "--host", "0.0.0.0", "--device", "cpu"])
    process, address = start(indexed, "--host", "0.0.0.0", **{TOKEN_VARIABLE: "a secret"})
    address = address.replace("0.0.0.0", "127.0.0.1")
    try:
        assert get(address, "/").status_code == 401
        assert get(address, "/api/facets").status_code == 401
        assert get(address, "/", params={"token": "wrong"}).status_code == 401
        for headers in (
            {"Authorization": "a secret"},
            {"Cookie": "tsn_token=a secret"},
            {"Cookie": "tsn_token=é".encode()},
        ):
            assert get(address, "/api/facets", headers=headers).status_code == 401
        assert get(address, "/api/facets", headers={"Authorization": "Bearer a secret"}).status_code == 200
        with httpx2.Client(follow_redirects=True) as client:
            page = client.get(address, params={"token": "a secret"})
            assert page.status_code == 200
            assert "secret" not in str(page.url)
            assert client.get(f"{address}api/facets").status_code == 200
            assert "a secret" not in str(dict(client.cookies))
    finally:
        process.terminate()
        process.wait(20)


def test_a_port_in_use(indexed: Path) -> None:
    """One line names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=str(port)):
            search.main(["serve", "--index", str(indexed), "--port", str(port), "--device", "cpu"])


def open_page(browser: Browser, address: str, *, width: int = 1280, scheme: Any = "light") -> tuple[Page, list[str]]:
    """A page, and what went wrong in it."""
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: problems.append(request.url) if address not in request.url else None)
    page.goto(address)
    return page, problems


def paths(page: Page) -> list[str]:
    """The photographs that the page shows, in order."""
    return [text.split(" · ")[0] for text in page.locator("#results .file").all_text_contents()]


def until(page: Page, condition: str) -> None:
    """Wait for a JavaScript condition (`wait_for_function` needs an eval, which the page's policy forbids)."""
    deadline = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def wait_for_results(page: Page, text: str = "The best") -> None:
    until(page, "!document.querySelector('#results').classList.contains('waiting')")
    until(page, f"document.querySelector('#status').textContent.includes({json.dumps(text)})")


@browsing
@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light")]
)
def test_a_search_in_the_page(browser: Browser, address: str, name: str, width: int, scheme: str) -> None:
    """Type, see the photographs of the API, without a message, another request, or anything wider than the screen."""
    page, problems = open_page(browser, address, width=width, scheme=scheme)
    page.keyboard.type(SENTENCE)
    page.keyboard.press("Enter")
    wait_for_results(page)
    assert paths(page) == [hit["path"] for hit in get(address, "/api/search", params={"q": SENTENCE}).json()["hits"]]
    for image in page.locator("#results img").all():
        image.scroll_into_view_if_needed()
    until(page, "[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.locator("#results > li").count() == 31
    assert page.locator(".frame.missing").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not problems
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=SCREENSHOTS / f"search_{name}.png")
    page.close()


@browsing
def test_the_page_by_keyboard_alone(browser: Browser, address: str) -> None:
    """Type, move among the photographs, mark one as right and one as wrong, and return to the sentence."""
    page, problems = open_page(browser, address)
    page.keyboard.type(SENTENCE)
    page.keyboard.press("Enter")
    wait_for_results(page)
    before = paths(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.querySelector('.file').textContent").split(" · ")[0]
    assert focused in before[:3]
    assert page.evaluate("getComputedStyle(document.activeElement.querySelector('.about')).opacity") == "1"
    with page.expect_response("**/api/search*unlike=*"):
        page.keyboard.press("n")
    wait_for_results(page)
    assert paths(page).index(focused) > before.index(focused)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "sentence"
    assert not problems
    page.close()


@browsing
def test_chips_questions_filters_and_links(browser: Browser, address: str) -> None:
    """A chip is changed and dropped, a question answered, a filter set; the link shows the same in another tab."""
    page, problems = open_page(browser, address)
    page.fill("#sentence", "a woman in a red coat")
    page.click("form button")
    wait_for_results(page)
    page.click("[data-slot=upper_color]")
    page.keyboard.type("blue")
    with page.expect_response("**/api/search*answers=*"):
        page.keyboard.press("Enter")
    wait_for_results(page)
    assert "blue" in (page.text_content("[data-slot=upper_color]") or "")
    page.click("[data-slot=gender]")
    with page.expect_response("**/api/search*answers=*null*"):
        page.get_by_role("button", name="drop").click()
    page.wait_for_selector(".chip.dropped")
    if page.locator("#question button").count():
        with page.expect_response("**/api/search*answers=*"):
            page.locator("#question button").first.click()
        wait_for_results(page)
    page.click("summary")
    with page.expect_response("**/api/search*folder=test*"):
        page.select_option("#folder", "test")
    wait_for_results(page)
    with page.expect_response("**/api/search*like=*"):
        page.locator(".more").nth(2).click(force=True)
    wait_for_results(page)
    shown = paths(page)
    assert all(path.startswith("test/") for path in shown)
    other, other_problems = open_page(browser, address)
    other.goto(page.url)
    wait_for_results(other)
    assert paths(other) == shown
    assert other.input_value("#folder") == "test"
    page.go_back()
    until(page, "!location.search.includes('like=')")
    assert not problems + other_problems
    page.close()
    other.close()


@browsing
def test_empty_and_error_states(browser: Browser, address: str) -> None:
    """No result, and a server that has gone, are said in words; markup in file names is text."""
    page, problems = open_page(browser, address)
    page.goto(f"{address}?q=a+man&camera=77")
    wait_for_results(page, "No photographs")
    page.goto(f"{address}?q=a+man&answers={json.dumps({'colour': 'red'})}")
    wait_for_results(page, "colour")
    assert page.locator("#status.error").count() == 1
    page.goto(f"{address}?q=a+man")
    wait_for_results(page)
    assert any("<img src=x" in path for path in paths(page))
    page.route("**/api/search*", lambda route: route.abort())
    page.fill("#sentence", "a woman")
    page.keyboard.press("Enter")
    wait_for_results(page, "does not answer")
    assert not [text for text in problems if "Failed to load" not in text]
    page.close()
