"""Commands in the documentation name scripts, configs and keys that exist, and the README explains each dependency."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs.load import load_config
from utils.launch import MIN_PAIRS, processes_to_start

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = [
    line.partition("#")[0].strip()
    for text in TEXTS.values()
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_command_is_valid(command: str) -> None:
    """Its script exists, its config loads, and its keys are known."""
    program, script, *rest = command.split()
    assert program in {"bash", "python", "torchrun", "sbatch"}
    if program == "torchrun":  # its own options come first
        at = next(index for index, word in enumerate(rest) if word == "-m" or word.endswith(".py"))
        script, rest = rest[at], rest[at + 1 :]
    if script == "-m":  # a module, or a package that can be run
        script = rest.pop(0).replace(".", "/")
        script += "/__main__.py" if (ROOT / script).is_dir() else ".py"
    assert (ROOT / script).is_file()
    configs = [word for word in rest if word.startswith("configs/")]
    if (script == "train.py" and program == "torchrun") or script == "scripts/train.slurm":
        check_share(command, configs, rest)
    keys = [word for word in rest if re.match(r"[a-z_]+\.[a-z_]+=", word)]
    load_config(ROOT / (configs[0] if configs else "configs/demo.yaml"), keys)


def check_share(command: str, configs: list[str], rest: list[str]) -> None:
    """Every process of a command on several machines has an equal share of a batch, of a useful size."""
    slurm = (ROOT / "scripts" / "train.slurm").read_text()
    pattern = r"--nnodes[ =](\d+).*--nproc_per_node[ =](\d+)"
    sizes = re.search(pattern, command) or re.search(r"--nodes=(\d+)\n.*--ntasks-per-node=(\d+)", slurm)
    assert sizes
    processes = int(sizes[1]) * int(sizes[2])
    batch = load_config(ROOT / configs[0], [word for word in rest if "=" in word]).train.batch_size
    assert batch % processes == 0
    assert batch // processes >= MIN_PAIRS


@pytest.mark.parametrize("gpus", range(1, 9))
def test_a_training_command_fits_any_number_of_gpus(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each starts processes that have an equal share of its batch, of a useful size, or one process."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    trained = [command for command in COMMANDS if re.match(r"(bash train\.bash|python train\.py)", command)]
    assert len(trained) > 3
    for command in trained:
        words = command.split()
        configs = [word for word in words if word.startswith("configs/")]
        config = load_config(ROOT / (configs[0] if configs else "configs/demo.yaml"), [w for w in words if "=" in w])
        batch = config.train.batch_size
        processes = processes_to_start(config.run.processes, config.run.device, batch)
        assert processes <= gpus
        assert batch % processes == 0
        assert processes == 1 or batch // processes >= MIN_PAIRS


@pytest.mark.parametrize("page", TEXTS)
def test_named_keys_exist(page: str) -> None:
    """Every `section.key` in backticks, where `section` is a section of the configs."""
    sections = load_config(ROOT / "configs/demo.yaml").to_dict()
    named = re.findall(r"`([a-z_]+)\.([a-z_0-9]+)(?::|=|`)", TEXTS[page])
    suffixes = {"bash", "py", "json", "safetensors"}  # of file names
    keys = [(section, key) for section, key in named if section in sections and key not in suffixes]
    assert page == "CONTRIBUTING.md" or keys
    assert [f"{section}.{key}" for section, key in keys if key not in sections[section]] == []


def test_every_dependency_is_explained() -> None:
    """In the table of the README."""
    table = TEXTS["README.md"].partition("## Dependencies")[2].partition("\n## ")[0]
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        name = re.split(r"[>=\[]", line)[0].strip()
        if name and not name.startswith("#"):
            assert re.search(rf"\b{name}\b", table), name


def test_every_dependency_is_pinned() -> None:
    """In constraints.txt, to a version that requirements.txt allows."""
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, lowest = line.partition(">=")
            version = pinned[name.partition("[")[0]]
            assert numbers(version) >= numbers(lowest), line


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
