"""A few drawn people, as somebody's folder of photographs, and an index of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import search
from data.demo import DrawnSet, draw_people

FEW = DrawnSet(seed=3, train_people=1, val_people=1, test_people=14, train_images=1, eval_images=2)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 31 photographs of 16 people, which no test may change."""
    root = tmp_path_factory.mktemp("people")
    draw_people(root, FEW, workers=1)
    return root / "imgs"


@pytest.fixture(scope="session")
def indexed(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of them with the default model, which no test may change."""
    index = tmp_path_factory.mktemp("indexed") / "index"
    assert search.main(["index", str(photographs), "--index", str(index)]) == 0
    return index
