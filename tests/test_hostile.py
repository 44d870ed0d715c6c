"""Damaged and hostile files end in success or one line; `python -m benchmarks.fuzz` tries thousands of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.hostile.targets import TARGETS, write_data, write_features
from tests.hostile.tries import KEY, Target, try_once
from utils.errors import UserError

QUICK = [target for target in TARGETS if target.name in ("data set", "captions", "rewrite", "config", "features")]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    write_data(folder)
    write_features(folder)
    return folder


@pytest.mark.parametrize("target", QUICK, ids=[target.name for target in QUICK])
def test_mutated_files_end_well(target: Target, originals: Path, tmp_path: Path) -> None:
    """Six seeds of each target that takes milliseconds."""
    outcomes = [try_once(target, originals, tmp_path, seed) for seed in range(6)]
    assert not [outcome for outcome in outcomes if outcome.kind == "finding"]
    assert {outcome.kind for outcome in outcomes} & {"success", "error"}
    assert [try_once(target, originals, tmp_path, 0).changes] == [outcomes[0].changes]  # a seed repeats a try


def crash(folder: Path) -> int:
    raise KeyError("captions")


def say_nothing(folder: Path) -> int:
    raise UserError("")


def write_elsewhere(folder: Path) -> int:
    (folder / "other.txt").touch()
    return 0


def change_an_input(folder: Path) -> int:
    (folder / "data" / "reid_raw.json").write_text("[]")
    return 0


def leave_the_key(folder: Path) -> int:
    (folder / "out").write_text(os.environ["OPENAI_API_KEY"])
    return 0


def print_the_key(folder: Path) -> int:
    print(f"using {KEY}")
    return 0


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (crash, "KeyError"),
        (say_nothing, "not one line"),
        (write_elsewhere, r"other\.txt"),
        (change_an_input, r"reid_raw\.json"),
        (leave_the_key, "the key is in out"),
        (print_the_key, "the key is in the output"),
    ],
)
def test_faults_are_found(fault: object, named: str, originals: Path, tmp_path: Path) -> None:
    target = Target("faulty", ("data/imgs/*/*",), fault, ("out",), ("data",))  # type: ignore[arg-type]
    outcome = try_once(target, originals, tmp_path, 0)
    assert outcome.kind == "finding"
    assert re.search(named, outcome.detail)
