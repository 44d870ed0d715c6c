"""Load a config: merge YAML files and command-line overrides, and check the result against the schema."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import yaml

from configs.schema import SECTIONS, TEXT_KEYS, Config
from utils.errors import UserError
from utils.files import as_path, path_problem, text_problem
from utils.logs import log
from utils.options import build

FOLDER = Path(__file__).parent

# Keys and values of version 0.1: this version still accepts them, with a warning that names the new one.
RENAMED_KEYS = {
    "train.warmup_epochs": "train.pretrain_epochs",
    "train.warmup_lr": "train.pretrain_lr",
    "train.ramp_steps": "train.warmup_steps",
    "train.restart": "train.reinit_each_round",
    "eval.tokens": "eval.token_precision",
}
RENAMED_VALUES = {("cluster.eps", "clearest"): "silhouette"}

# Keys that version 0.1 did not have, with the values that do what it did.
_ADDED_KEYS = {
    "cluster.image_weight": 0.0,
    "cluster.whiten": 0.0,
    "train.pretrain_labels": "caption",
    "train.freeze_text": False,
    "train.image_image": 0.0,
    "train.text_text": 0.0,
}

# Options that affect speed, memory, logging or file locations, but never the weights; rounding aside, as devices do.
_NOT_IN_IDENTITY = {
    "model.checkpointed_blocks",
    "model.offload",
    "cluster.source_root",
    "train.compile",
    "train.workers",
    "train.cache",
    "train.log_every",
    "train.save_minutes",
}

# Paths, in which "~" stands for the home folder, as in a shell, which does not see those in files.
_PATHS = {
    "data": ["root"],
    "captions": ["dir", "others"],
    "model": ["init", "vocab"],
    "cluster": ["source_root"],
    "run": ["dir"],
}

Tree = dict[str, Any]


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Merge base.yaml, the preset, the file at `path` and `section.key=value` overrides, in this order, and validate.

    Raises:
        UserError: one line that names the file or key, what is wrong, and what is allowed.
    """
    base = read_yaml(FOLDER / "base.yaml")
    layers = [(str(path), read_yaml(path))]
    layers += [(f"--set {text}", parse_override(text, texts=TEXT_KEYS)) for text in overrides]
    layers = [(origin, _rename_old_keys(layer, origin)) for origin, layer in layers]
    without_preset = base
    for origin, layer in layers:
        without_preset = overlay(without_preset, layer, origin=origin)
    preset = FOLDER / "presets" / f"{without_preset['model']['preset']}.yaml"
    tree = overlay(base, read_yaml(preset), origin=str(preset)) if preset.is_file() else base
    for origin, layer in layers:
        tree = overlay(tree, layer, origin=origin)
    for section, keys in _PATHS.items():
        tree[section] = tree[section] | {key: _expand_user(tree[section][key]) for key in keys}
    if tree["run"]["dir"] is None:
        tree["run"] = tree["run"] | {"dir": f"output/{path.stem}"}
    for name, value in flatten(tree).items():
        _check_texts(name, value)
    return Config(**{section: build(group, tree[section], prefix=f"{section}.") for section, group in SECTIONS.items()})


def _check_texts(name: str, value: Any) -> None:
    """Refuse texts that our files could not hold, and paths that no file can have."""
    for text in value if isinstance(value, list) else [value]:
        section, _, key = name.partition(".")
        check = path_problem if key in _PATHS.get(section, ()) else text_problem
        if isinstance(text, str) and (problem := check(text)):
            raise UserError(f"{name}={text[:80]!r} is not possible: it {problem}")


def _expand_user(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand_user(one) for one in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and f"{value}/".startswith("~/") else value


def config_text(config: Config) -> str:
    """A resolved config as YAML."""
    return yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)


def run_identity(config: Config) -> dict[str, Any]:
    """Every option that the weights depend on, {"section.key": value}; a run resumes only if all are equal."""
    selection = ("select", "select_by", "select_k", "select_weight", "held_out")
    sections = {name: values for name, values in config.to_dict().items() if name in ("model", "cluster", "train")}
    sections["eval"] = {key: value for key, value in config.to_dict()["eval"].items() if key in selection}
    return {name: value for name, value in flatten(sections).items() if name not in _NOT_IN_IDENTITY}


def upgrade_identity(identity: dict[str, Any]) -> dict[str, Any]:
    """Translate the `run_identity` of a run of version 0.1 to current names."""
    upgraded = _ADDED_KEYS | {RENAMED_KEYS.get(name, name): value for name, value in identity.items()}
    for (name, old), new in RENAMED_VALUES.items():
        if upgraded.get(name) == old:
            upgraded[name] = new
    return {name: value for name, value in upgraded.items() if name not in _NOT_IN_IDENTITY}


def add_config_arguments(parser: argparse.ArgumentParser, default: str | None = "configs/demo.yaml") -> None:
    """Add `--config FILE` and `--set section.key=value ...` to a script's arguments."""
    parser.add_argument(
        "--config", type=as_path, default=default, metavar="FILE", help="config file (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override config keys, e.g. --set train.epochs=5 data.root=datasets/CUHK-PEDES",
    )


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.2 numbers (PyYAML reads 1e-5 as a string), and dates as text."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, which must not repeat another: a few lines of aliases can stand for gigabytes."""
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not supported", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping, in which no key may stand twice: PyYAML would drop the first value silently."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):  # others are refused by PyYAML
                if key.value in seen:
                    message = f"the key {key.value} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> Tree:
    """Read a YAML file of nested sections.

    Raises:
        UserError: it is missing, not valid YAML, or not a mapping.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"config {path} is not a file")
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        near = get_close_matches(path.name, [other.name for other in path.parent.glob("*.yaml")], n=1)
        hint = f": did you mean {path.parent / near[0]}?" if near else ""
        raise UserError(f"no such config: {path}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read config {path}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"config {path} is nested too deeply") from None
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:  # from the constructor of a tag or number
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"config {path} holds a value that cannot be read: {reason}") from None
    if tree is not None and not isinstance(tree, dict):
        raise UserError(f"config {path} is not a mapping of sections to keys")
    return tree or {}


def parse_override(text: str, *, texts: Collection[str] = ()) -> Tree:
    """Parse `section.key=value`, with the value read as YAML, into a nested mapping.

    The value of a key in `texts` is taken literally ("photos #1", "2026-11-24"), unless it is null or quoted.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UserError(f"--set {text}: expected section.key=value")
    tree: Any = value
    if name.strip() not in texts or value.strip() in ("", "null", "~") or value.lstrip()[0] in "'\"":
        try:
            tree = yaml.load(value, Loader=_Loader)
        except (yaml.YAMLError, RecursionError, ValueError, TypeError, ArithmeticError, AttributeError):
            raise UserError(f"--set {text[:200]}: the value is not valid YAML") from None
    for part in reversed(name.strip().split(".")):
        tree = {part: tree}
    return tree


def overlay(tree: Tree, above: Tree, *, origin: str, prefix: str = "") -> Tree:
    """Return `tree` with the values of `above`, merged key by key; every key must exist in `tree`.

    Raises:
        UserError: a key is unknown; the message names it, its origin and the most similar known key.
    """
    merged = dict(tree)
    for key, value in above.items():
        name = f"{prefix}{key}"
        if key not in tree:
            unknown = next(iter(flatten(value, f"{name}."))) if isinstance(value, dict) and value else name
            raise UserError(f"unknown key {unknown} in {origin}: {_nearest(unknown, list(flatten(tree, prefix)))}")
        if isinstance(tree[key], dict):
            if not isinstance(value, dict):
                some = ", ".join(list(flatten(tree[key], name + "."))[:8])
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


def _rename_old_keys(tree: Tree, origin: str) -> Tree:
    """Replace keys and values of version 0.1 by their new names, with a warning for each."""
    renamed = {section: dict(keys) if isinstance(keys, dict) else keys for section, keys in tree.items()}
    for old, new in RENAMED_KEYS.items():
        section, key = old.split(".")
        if isinstance(renamed.get(section), dict) and key in renamed[section]:
            if new.partition(".")[2] in renamed[section]:
                raise UserError(f"{origin} sets {old}, which is now called {new}, and {new}: remove {old}")
            log.warning(f"{origin}: {old} is now called {new}; the old name will be refused by the next version")
            renamed[section][new.partition(".")[2]] = renamed[section].pop(key)
    for (name, old), new in RENAMED_VALUES.items():
        section, key = name.split(".")
        if isinstance(renamed.get(section), dict) and renamed[section].get(key) == old:
            log.warning(f"{origin}: {name}={old} is now called {new}; the old name will be refused by the next version")
            renamed[section][key] = new
    return renamed


def _nearest(name: str, known: list[str]) -> str:
    """A hint for an unknown key: the known key with the most similar name, or word in it, or else all known keys."""
    spelled: dict[str, str] = {}
    for key in known:
        own = key.rpartition(".")[2]
        for word in (own, *own.split("_")):
            spelled.setdefault(word, key)
    spelled |= {key.rpartition(".")[2]: key for key in known}
    near = [spelled[word] for word in get_close_matches(name.rpartition(".")[2], spelled, n=1)]
    near = near or get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
