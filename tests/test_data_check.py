"""What `python -m data.check` finds, and what its exit status says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from data.check import main
from data.inspection import PUBLISHED
from tests.pictures import picture
from tests.small import Small, write_small_data
from utils.errors import UserError

PUBLISHED_SMALL = {"train": (40, 10, 80), "val": (16, 4, 32), "test": (16, 4, 32)}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """Data to spoil, of the size that is published."""
    monkeypatch.setitem(PUBLISHED, "cuhk_pedes", PUBLISHED_SMALL)
    return write_small_data(tmp_path / "data", tmp_path / "texts")


def checked(own: Small, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """The exit status and the page."""
    status = main(["configs/cuhk_pedes.yaml", "--set", f"data.root={own[0]}", f"captions.dir={own[1]}", *more])
    return status, capsys.readouterr().out


def faults(page: str) -> list[str]:
    return [line.removeprefix("FAULT ") for line in page.splitlines() if line.startswith("FAULT")]


def entries_of(file: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(file.read_text())
    return entries


def test_data_that_are_fit(own: Small, capsys: pytest.CaptureFixture[str]) -> None:
    status, page = checked(own, capsys)
    assert status == 0
    assert not faults(page)
    assert page.rstrip().endswith("\nfit")
    assert "train                   40                  10                  80" in page
    assert "training captions: 40 of 40 in cuhk_qwen_gen_captions.json" in page
    assert "test rewrites: 32 of 32 in cuhk_test_qwen_gen_captions.json" in page


def test_everything_that_can_be_wrong_is_found_at_once(own: Small, capsys: pytest.CaptureFixture[str]) -> None:
    """None of it hides another; each line names a file or a number."""
    images = own[0] / "imgs"
    (images / "train" / "000_0.png").unlink()
    broken = images / "train" / "001_0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    shutil.copy(images / "train" / "002_0.png", images / "test" / "014_1.png")
    shutil.copy(images / "train" / "003_0.png", images / "train" / "003_1.png")
    annotated = entries_of(own[0] / "reid_raw.json")
    annotated[-1]["id"] = 0  # who is in the training split
    annotated.append(annotated[4])
    (own[0] / "reid_raw.json").write_text(json.dumps(annotated))
    status, page = checked(own, capsys)
    assert status == 1
    assert faults(page) == [
        "counts are not those of cuhk_pedes: train has 41 images, published are 40; "
        "train has 82 sentences, published are 80; test has 5 people, published are 4",
        "1 people are in more than one split: 0",
        "1 images are listed twice: train/001_0.png",
        "1 images are missing: train/000_0.png",
        f"1 images cannot be read: {broken} cannot be read (image file is truncated)",
        "1 photographs are in two splits: train/002_0.png = test/014_1.png",
    ]
    assert str(broken) in page
    assert "photographs are copies of another of their split" in page
    assert page.rstrip().endswith("not fit: 6 faults")


def test_texts_that_are_missing_or_unfit(own: Small, capsys: pytest.CaptureFixture[str]) -> None:
    """Some are told; none at all, or no file, is a fault that names the script which makes them."""
    train, test = own[1] / "cuhk_qwen_gen_captions.json", own[1] / "cuhk_test_qwen_gen_captions.json"
    captions = entries_of(train)
    captions[0]["generated_text"] = "null"
    captions[1]["generated_text"] = "I'm sorry, I cannot describe people."
    captions[2]["generated_text"] = "Nice weather today and a dog."
    train.write_text(json.dumps(captions))
    status, page = checked(own, capsys)
    assert status == 0
    assert "training captions: 1 are missing (gen_train_data.py)" in page
    assert "training captions: 2 are not in the style, the first, refusal: \"I'm sorry" in page
    train.unlink()
    test.write_text(json.dumps([entry | {"generated_text": "null"} for entry in entries_of(test)]))
    status, page = checked(own, capsys)
    assert status == 1
    assert faults(page) == [
        f"training captions: {train} is missing (gen_train_data.py)",
        "test rewrites: 32 are missing (gen_test_data.py)",
    ]
    status, page = checked(own, capsys, "eval.msm_weight=val")
    assert f"val captions: {own[1] / 'cuhk_val_qwen_gen_captions.json'} is missing (gen_test_data.py)" in page


def test_what_the_test_would_refuse_is_not_fit(own: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A split that is needed and is not there; people nobody knows; pictures that captions.json names in vain."""
    annotated = [entry for entry in entries_of(own[0] / "reid_raw.json") if entry["split"] != "val"]
    annotated[-1]["id"] = -1
    (own[0] / "reid_raw.json").write_text(json.dumps(annotated))
    status, page = checked(own, capsys, "--set", "eval.msm_weight=val")  # a second --set adds to the first
    assert status == 1
    assert "test images are of nobody known: test/017_3.png" in page
    assert "FAULT val: there is no query, so that nothing can be judged" in page

    custom = tmp_path / "custom"
    picture(custom / "train" / "1.png")
    (custom / "captions.json").write_text(json.dumps({"test/2.png": {"captions": ["A man."], "id": 2}}))
    status = main(["configs/custom.yaml", "--set", f"data.root={custom}", f"captions.dir={own[1]}"])
    assert status == 1
    assert "1 images are missing: test/2.png" in capsys.readouterr().out


def test_what_is_no_data_set_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root: folder .*none is missing"):
        main(["configs/cuhk_pedes.yaml", "--set", f"data.root={tmp_path / 'none'}"])
    with pytest.raises(UserError, match=r"nothing\.yaml"):
        main(["nothing.yaml"])
