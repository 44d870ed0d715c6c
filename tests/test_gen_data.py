"""The caption scripts on a folder of pictures: what is asked for, what stays, and what is asked for again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gen_test_data
import gen_train_data
import test as test_script
from tests.pictures import picture

RED, BLUE = (190, 30, 35), (40, 60, 180)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one with two queries."""
    root = tmp_path / "photos #1"
    for name in ("train/1.png", "train/imgs/2.png", "test/3.png"):
        picture(root / name, RED)
    queries = {"test/3.png": {"captions": ["A red top.", "Red slacks."], "id": 3}}
    (root / "captions.json").write_text(json.dumps(queries))
    return root


def arguments(root: Path) -> list[str]:
    """For either script, with captions beside the pictures."""
    return [
        *("--config", "configs/custom.yaml", "--set", f"data.root={root}", f"captions.dir={root / 'texts'}"),
        f"run.dir={root / 'run'}",
    ]


def written(root: Path, name: str) -> dict[str, dict[str, Any]]:
    """A caption file's entries by image."""
    return {entry["image_path"]: entry for entry in json.loads((root / "texts" / name).read_text())}


def test_what_is_there_is_not_asked_for_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gen_train_data.main(arguments(folder))
    gen_test_data.main(arguments(folder))
    assert written(folder, "custom_qwen_gen_captions.json").keys() == {"imgs/train/1.png", "imgs/train/imgs/2.png"}
    capsys.readouterr()
    gen_train_data.main(arguments(folder))
    gen_test_data.main(arguments(folder))
    said = capsys.readouterr().out
    assert "all 2 training images have captions" in said
    assert "all 1 test images have captions, and all their queries rewrites" in said


def test_a_photograph_that_was_replaced_is_described_again(folder: Path) -> None:
    gen_train_data.main(arguments(folder))
    before = written(folder, "custom_qwen_gen_captions.json")
    picture(folder / "train" / "1.png", BLUE)
    gen_train_data.main(arguments(folder))
    after = written(folder, "custom_qwen_gen_captions.json")
    assert "blue" in after["imgs/train/1.png"]["generated_text"]
    assert after["imgs/train/imgs/2.png"] == before["imgs/train/imgs/2.png"]


def test_entries_of_other_images_and_captions_by_others_stay(folder: Path) -> None:
    """A file that somebody paid for loses nothing when a gap is filled."""
    (folder / "texts").mkdir()
    paid: list[dict[str, Any]] = [
        {"id": 1, "image_path": f"/home/author/imgs/{name}", "captions": [], "generated_text": text}
        for name, text in (("train/1.png", "A paid caption."), ("train/imgs/2.png", None), ("elsewhere.png", "Too."))
    ]
    paid[1]["image_path"] = "imgs/train/imgs/2.png"
    (folder / "texts" / "custom_qwen_gen_captions.json").write_text(json.dumps(paid))
    gen_train_data.main(arguments(folder))
    after = written(folder, "custom_qwen_gen_captions.json")
    assert after["/home/author/imgs/elsewhere.png"] == paid[2]
    assert after["imgs/train/1.png"]["generated_text"] == "A paid caption."
    assert after["imgs/train/imgs/2.png"]["generated_text"]


def test_a_query_that_changed_and_a_rewrite_that_failed_are_asked_for(folder: Path) -> None:
    """The others keep their texts."""
    gen_test_data.main(arguments(folder))
    entry = written(folder, "custom_test_qwen_gen_captions.json")["imgs/test/3.png"]
    entry |= {"img_gen_text": "Paid.", "generated_text": ["Paid too.", "null"]}
    (folder / "texts" / "custom_test_qwen_gen_captions.json").write_text(json.dumps([entry]))
    queries = {"test/3.png": {"captions": ["Red slacks.", "A green coat.", "A red top."], "id": 3}}
    (folder / "captions.json").write_text(json.dumps(queries))
    gen_test_data.main(arguments(folder))
    entry = written(folder, "custom_test_qwen_gen_captions.json")["imgs/test/3.png"]
    assert entry["img_gen_text"] == "Paid."
    assert entry["generated_text"][2] == "Paid too."
    assert "red trousers" in entry["generated_text"][0]
    assert "green coat" in entry["generated_text"][1]


def test_pictures_without_a_test_split_or_queries_have_nothing_to_test(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that the one command ends well after training."""
    (folder / "captions.json").unlink()
    (folder / "run").mkdir()
    (folder / "run" / "best.pth").touch()
    test_script.main(arguments(folder))
    assert "no test image has a query in captions.json" in capsys.readouterr().out
    (folder / "test" / "3.png").unlink()
    gen_test_data.main(arguments(folder))
    assert "has no test split: there is nothing to describe or rewrite" in capsys.readouterr().out
