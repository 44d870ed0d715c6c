"""The report in a real browser: nothing missing, nothing complained of, at a desk, by night and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

import test as test_script

SCREENSHOTS = Path(__file__).parents[1] / "output" / "screenshots"
"""Where pictures of the page are kept, for whoever wants to see what a change made of it."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(FOUND is None, reason="no Chromium here (Debian: apt install chromium)")

Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def report(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a whole run, with everything that a page can have."""
    run = shutil.copytree(whole, tmp_path_factory.mktemp("shown") / "run")
    test_script.main([str(run), "--ablation", "--by-camera", r"_(\d+)\.png"])
    return Path(run) / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    quiet = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=FOUND, args=["--no-sandbox", *quiet])
        yield opened
        opened.close()


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("desk", 1280, 900, "light"), ("night", 1280, 900, "dark"), ("phone", 390, 844, "light")],
)
def test_the_page_is_whole(browser: Browser, report: Path, name: str, width: int, height: int, scheme: Scheme) -> None:
    """No error in the console, no picture missing, no request but for the file, nothing wider than the screen."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.url[:80]} failed"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_load_state("load")
    assert not said
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]

    pictures = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert len(pictures) >= 40
    assert all(pictures)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for section in ("figures", "ablation", "cameras", "queries", "curves", "clusters", "data", "facts"):
        box = page.locator(f"#{section}").bounding_box()
        assert box is not None, section
        assert box["height"] > 40, section
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")) / 3
    assert (light > 200) == (scheme == "light")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report_{name}.png", full_page=True)
    page.close()
