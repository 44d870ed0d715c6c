"""From a config file and overrides to a checked, typed config."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from configs.schema import TEXT_KEYS, Config
from utils.errors import UserError
from utils.files import write_text
from utils.layers import Tree, overlay, parse_override, read_yaml

FOLDER = Path(__file__).parent


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Lay base.yaml, the preset, the file at `path` and `section.key=value` overrides over one another, and check.

    Raises:
        UserError: one line that names the file or key, what is wrong, and what is known or allowed.
    """
    base = read_yaml(FOLDER / "base.yaml")
    given = [(f"--set {text}", parse_override(text, texts=TEXT_KEYS)) for text in overrides]
    layers = [(str(path), read_yaml(path)), *given]
    named = base
    for origin, layer in layers:
        named = overlay(named, layer, origin=origin)
    preset = FOLDER / "presets" / f"{named['model']['preset']}.yaml"
    tree = overlay(base, read_yaml(preset), origin=str(preset)) if preset.is_file() else base
    for origin, layer in layers:
        tree = overlay(tree, layer, origin=origin)
    if tree["run"]["dir"] is None:
        tree["run"] = tree["run"] | {"dir": f"output/{path.stem}"}
    return check_config(tree)


def check_config(tree: Tree) -> Config:
    """Check types and ranges; raises a `UserError` of one line for the first key that is wrong."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        value: Any = tree
        for part in first["loc"][:2]:
            value = value[part] if isinstance(value, dict) and part in value else None
        wanted = " or ".join(
            dict.fromkeys(_wanted(item["msg"]) for item in error.errors() if item["loc"][:2] == first["loc"][:2])
        )
        raise UserError(f"{key}={value!r} is not possible: it should be {wanted}") from None


def save_config(config: Config, path: Path) -> None:
    """Write a resolved config, whole or not at all."""
    write_text(path, config_text(config))


def config_text(config: Config) -> str:
    """A resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def add_config_arguments(parser: argparse.ArgumentParser, default: str | None = "configs/demo.yaml") -> None:
    """Add `--config FILE` and `--set section.key=value ...` to a script's arguments."""
    parser.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="config file (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="set keys of the config, e.g. --set train.epochs=5 data.root=datasets/CUHK-PEDES",
    )


def _wanted(message: str) -> str:
    message = message.removeprefix("List should ").replace(" after validation", "")
    message = message.removeprefix("String should ").replace(
        "match pattern '^(auto|cpu|cuda(:\\d+)?)$'", "auto, cpu, cuda or cuda:N"
    )
    message = message.removeprefix("Input should be ").removeprefix("a valid ")
    return message[0].lower() + message[1:]
