"""The report in a real browser, in light and dark mode and on a phone: complete, readable, without errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

import test as test_script

SCREENSHOTS = Path(__file__).parents[1] / "output" / "screenshots"
"""Where screenshots of the page are kept, to see the effect of a change."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(FOUND is None, reason="Chromium is not installed (Debian: apt install chromium)")

Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def report(uninterrupted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a finished run, with every section."""
    run = shutil.copytree(uninterrupted, tmp_path_factory.mktemp("shown") / "run")
    test_script.main([str(run), "--ablation", "--by-camera", r"_(\d+)\.png"])
    return Path(run) / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=FOUND, args=["--no-sandbox", *options])
        yield opened
        opened.close()


def brightness(color: str) -> float:
    """From 0 to 255, of a CSS color `rgb(r, g, b)`."""
    return sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(",")) / 3


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("light", 1280, 900, "light"), ("dark", 1280, 900, "dark"), ("phone", 390, 844, "light")],
)
def test_the_page_is_complete(
    browser: Browser, report: Path, name: str, width: int, height: int, scheme: Scheme
) -> None:
    """No console message, no missing image, no request, nothing wider than the screen, text that contrasts."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("requestfailed", lambda request: messages.append(f"{request.url[:80]} failed"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_load_state("load")
    assert not messages
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]

    pictures = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert len(pictures) >= 40
    assert all(pictures)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for section in ("metrics", "ablation", "cameras", "queries", "training", "clusters", "data", "setup"):
        box = page.locator(f"#{section}").bounding_box()
        assert box is not None, section
        assert box["height"] > 40, section
    background = brightness(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (background > 200) == (scheme == "light")
    fills = page.evaluate("[...document.querySelectorAll('svg text')].map(text => getComputedStyle(text).fill)")
    assert len(fills) > 50
    assert all(abs(brightness(fill) - background) > 90 for fill in fills)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report_{name}.png", full_page=True)
    page.close()
