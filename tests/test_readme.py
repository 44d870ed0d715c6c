"""The README's commands name scripts, configs and keys that exist, and its tables every dependency."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs.load import load_config

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_can_be_given(command: str) -> None:
    """Its script is there, its config loads, and its keys are known."""
    program, script, *rest = command.split()
    assert program in {"bash", "python", "torchrun", "sbatch"}
    if program == "torchrun" and "-m" not in rest:  # its own options come first
        script = next(word for word in rest if word.endswith(".py"))
    if script == "-m":  # a module, or a package that can be run
        script = rest.pop(0).replace(".", "/")
        script += "/__main__.py" if (ROOT / script).is_dir() else ".py"
    assert (ROOT / script).is_file()
    configs = [word for word in rest if word.startswith("configs/")]
    keys = [word for word in rest if re.match(r"[a-z_]+\.[a-z_]+=", word)]
    load_config(ROOT / (configs[0] if configs else "configs/demo.yaml"), keys)


def test_every_key_that_is_named_exists() -> None:
    """`section.key` in backticks, and the values that are suggested for it."""
    sections = load_config(ROOT / "configs/demo.yaml").to_dict()
    named = re.findall(r"`([a-z_]+)\.([a-z_0-9]+)(?::|=|`)", TEXT)
    told = [
        (section, key)
        for section, key in named
        if section in sections and key not in {"bash", "py", "json", "safetensors"}
    ]
    assert len(told) > 8
    assert [f"{section}.{key}" for section, key in told if key not in sections[section]] == []


def test_every_dependency_is_explained() -> None:
    """One line each."""
    table = TEXT.partition("## What each dependency is for")[2].partition("## License")[0]
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        name = re.split(r"[>=\[]", line)[0].strip()
        if name and not name.startswith("#"):
            assert re.search(rf"\b{name}\b", table), name


def test_pictures_and_files_that_are_linked_are_there() -> None:
    """No broken link within the repository."""
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target
