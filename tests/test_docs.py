"""Links in the documentation lead to existing files and headings, and to the file that defines a linked name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")

Link = tuple[str, str]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links(page: Path) -> list[Link]:
    """(text, target) of every link of a page within the repository."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [(text, target) for text, target in found if not re.match(r"[a-z]+:", target)]


def file_of(page: Path, target: str) -> Path:
    """The file that a link of `page` leads to; the page itself where only a heading is named."""
    path = target.partition("#")[0]
    return (page.parent / path).resolve() if path else page


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ +(.+?) *$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def defines(tree: ast.AST, name: str) -> bool:
    """Whether `name`, or `outer.inner`, is a function, class or constant of a module, a class or a function."""
    first, _, rest = name.partition(".")
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == first:
            return not rest or defines(node, rest)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names = {each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)}
        if first in names and isinstance(node, ast.Assign | ast.AnnAssign):
            return not rest
    return False


def test_there_are_pages_with_links() -> None:
    """Without any, the tests below would pass without checking anything."""
    assert name_of(ROOT / "docs/method.md") in map(name_of, PAGES)
    assert len(links(ROOT / "docs/method.md")) > 40


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_link_targets_exist(page: Path) -> None:
    """The file, within the repository, and the heading if one is named."""
    for text, target in links(page):
        file, anchor = file_of(page, target), target.partition("#")[2]
        assert file.is_relative_to(ROOT), f"[{text}]({target}) leads out of the repository"
        assert file.exists(), f"[{text}]({target}): there is no such file"
        assert not anchor or anchor in headings(file), f"[{text}]({target}): there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_name_that_is_linked_is_defined_there(page: Path) -> None:
    """[`name`](file.py) leads to the file that defines the name, not to one that imports or mentions it."""
    named = [(text[1:-1], target) for text, target in links(page) if re.fullmatch(r"`[^`]+`", text)]
    for name, target in named:
        file = file_of(page, target)
        if file.suffix == ".py":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            assert defines(tree, name), f"{name_of(file)} does not define {name}"


@pytest.mark.parametrize("name", ["one", "Two", "Two.three", "Two.four", "FIVE", "SIX", "one.inner"])
def test_definitions_of_every_kind_are_found(name: str) -> None:
    """Functions, classes, methods, constants, and definitions within a function; nothing that is only used."""
    source = "import seven\ndef one():\n def inner(): pass\nclass Two:\n four: int\n def three(self): pass\n"
    tree = ast.parse(source + "FIVE, EIGHT = 1, 2\nSIX: int = seven.nine\n")
    assert defines(tree, name)
    assert not any(defines(tree, other) for other in ("seven", "nine", "inner", "three", "Two.one", "FIVE.real"))
