"""YAML files laid over one another, and values set from the command line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import yaml

from utils.errors import UserError

Tree = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """PyYAML reads YAML 1.1, where 1e-5 is a string; here it is a number, as everywhere else, and a date is text."""

    yaml_implicit_resolvers: ClassVar[dict] = {
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> Tree:
    """Read a YAML file of nested sections.

    Raises:
        UserError: it is missing, broken, or no mapping.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        near = get_close_matches(path.name, [other.name for other in path.parent.glob("*.yaml")], n=1)
        hint = f": did you mean {path.parent / near[0]}?" if near else ""
        raise UserError(f"no such config: {path}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read config {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"config {path} is not a mapping of sections to keys")
    return tree or {}


def parse_override(text: str, *, texts: Collection[str] = ()) -> Tree:
    """Parse `section.key=value`, the value read as YAML, into a nested mapping.

    The value of a key among `texts` is taken as it stands ("photos #1", "2026-11-24"), unless it is null or quoted.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"--set {text}: expected section.key=value")
    tree: Any = value
    if name.strip() not in texts or value.strip() in ("", "null", "~") or value.lstrip()[0] in "'\"":
        try:
            tree = yaml.load(value, Loader=_Loader)
        except yaml.YAMLError:
            raise UserError(f"--set {text}: the value is not valid YAML") from None
    for part in reversed(name.strip().split(".")):
        tree = {part: tree}
    return tree


def overlay(tree: Tree, above: Tree, *, origin: str, prefix: str = "") -> Tree:
    """Lay `above` over `tree`, key by key; every key must stand in `tree` already.

    Raises:
        UserError: an unknown key; the message names it, where it came from, and the nearest known one.
    """
    merged = dict(tree)
    for key, value in above.items():
        name = f"{prefix}{key}"
        if key not in tree:
            meant = next(iter(_leaves(value, f"{name}."))) if isinstance(value, dict) and value else name
            raise UserError(f"unknown key {meant} in {origin}: {_nearest(meant, [*_leaves(tree, prefix)])}")
        if isinstance(tree[key], dict):
            if not isinstance(value, dict):
                some = ", ".join([*_leaves(tree[key], name + ".")][:8])
                raise UserError(f"{name} in {origin} is a section: set one of {some}, ...")
            merged[key] = overlay(tree[key], value, origin=origin, prefix=f"{name}.")
        else:
            merged[key] = value
    return merged


def flatten(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """Nested sections -> {"section.key": value}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _nearest(name: str, known: list[str]) -> str:
    """The key whose own name, or a word of it, is spelt most like the name's own."""
    spelt: dict[str, str] = {}
    for key in known:
        own = key.rpartition(".")[2]
        for word in (own, *own.split("_")):
            spelt.setdefault(word, key)
    spelt |= {key.rpartition(".")[2]: key for key in known}
    near = [spelt[word] for word in get_close_matches(name.rpartition(".")[2], spelt, n=1)]
    near = near or get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


def _leaves(tree: Tree, prefix: str) -> Iterable[str]:
    return flatten(tree, prefix)
