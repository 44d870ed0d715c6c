"""check_data.py reports every problem of a data set and returns it as exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from check_data import main
from data.check import PUBLISHED
from tests.pictures import picture
from tests.small import Small, write_small_data
from utils.errors import UserError

ROOT = Path(__file__).parents[1]
PUBLISHED_SMALL = {"train": (40, 10, 80), "val": (16, 4, 32), "test": (16, 4, 32)}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A data set of the published size, to be damaged."""
    monkeypatch.setitem(PUBLISHED, "cuhk_pedes", PUBLISHED_SMALL)
    return write_small_data(tmp_path / "data", tmp_path / "texts")


def checked(own: Small, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """Return the exit status and the output."""
    status = main(
        ["--config", "configs/cuhk_pedes.yaml", "--set", f"data.root={own[0]}", f"captions.dir={own[1]}", *more]
    )
    return status, capsys.readouterr().out


def failures(output: str) -> list[str]:
    return [line.removeprefix("FAILED ") for line in output.splitlines() if line.startswith("FAILED")]


def entries_of(file: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(file.read_text())
    return entries


def test_a_correct_data_set_passes(own: Small, capsys: pytest.CaptureFixture[str]) -> None:
    """The output has the counts of each split and of the generated texts."""
    status, page = checked(own, capsys)
    assert status == 0
    assert not failures(page)
    assert "train                   40                  10                  80" in page
    assert "training captions: 40 of 40 in cuhk_qwen_gen_captions.json" in page
    assert "test rewrites: 32 of 32 in cuhk_test_qwen_gen_captions.json" in page


def test_all_problems_are_reported_at_once(own: Small, capsys: pytest.CaptureFixture[str]) -> None:
    """None hides another; each line names a file or a number."""
    images = own[0] / "imgs"
    (images / "train" / "000_0.png").unlink()
    broken = images / "train" / "001_0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    shutil.copy(images / "train" / "002_0.png", images / "test" / "014_1.png")
    shutil.copy(images / "train" / "003_0.png", images / "train" / "003_1.png")
    annotated = entries_of(own[0] / "reid_raw.json")
    annotated[-1]["id"] = 0  # of the training split
    annotated.append(annotated[4])  # merged with the entry of the same image
    (own[0] / "reid_raw.json").write_text(json.dumps(annotated))
    status, page = checked(own, capsys)
    assert status == 1
    assert failures(page) == [
        "counts differ from those of cuhk_pedes: train has 82 sentences instead of 80; test has 5 people instead of 4",
        "1 person ids are in several splits: 0",
        "1 images are missing: train/000_0.png",
        f"1 images cannot be read: {broken} cannot be read (image file is truncated)",
        "1 image files are in two splits: train/002_0.png = test/014_1.png",
    ]
    assert "images are copies of another in their split" in page


def test_missing_texts_and_texts_of_another_style(own: Small, capsys: pytest.CaptureFixture[str]) -> None:
    """Some are only reported; if all or the file are missing, the check fails and names the script to run."""
    train, test = own[1] / "cuhk_qwen_gen_captions.json", own[1] / "cuhk_test_qwen_gen_captions.json"
    captions = entries_of(train)
    captions[0]["generated_text"] = "null"
    captions[1]["generated_text"] = "I'm sorry, I cannot describe people."
    captions[2]["generated_text"] = "Nice weather today and a dog."
    train.write_text(json.dumps(captions))
    status, page = checked(own, capsys)
    assert status == 0
    assert "training captions: 1 are missing (run gen_train_data.py)" in page
    assert "training captions: 2 have another style, the first (refusal) is \"I'm sorry" in page
    train.unlink()
    test.write_text(json.dumps([entry | {"generated_text": "null"} for entry in entries_of(test)]))
    status, page = checked(own, capsys)
    assert status == 1
    assert failures(page) == [
        f"training captions: {train} is missing (run gen_train_data.py)",
        "test rewrites: 32 are missing (run gen_test_data.py)",
    ]
    status, page = checked(own, capsys, "eval.msm_weight=val")
    assert f"val captions: {own[1] / 'cuhk_val_qwen_gen_captions.json'} is missing (run gen_test_data.py)" in page


def test_data_that_cannot_be_evaluated_fails(own: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing split, unknown persons, and missing images of captions.json."""
    annotated = [entry for entry in entries_of(own[0] / "reid_raw.json") if entry["split"] != "val"]
    annotated[-1]["id"] = -1
    (own[0] / "reid_raw.json").write_text(json.dumps(annotated))
    status, page = checked(own, capsys, "--set", "eval.msm_weight=val")  # a second --set adds to the first
    assert status == 1
    assert "test images have no person id: test/017_3.png" in page
    assert "FAILED val has no queries" in page

    custom = tmp_path / "custom"
    picture(custom / "train" / "1.png")
    (custom / "captions.json").write_text(json.dumps({"test/2.png": {"captions": ["A man."], "id": 2}}))
    status = main(["--config", "configs/custom.yaml", "--set", f"data.root={custom}", f"captions.dir={own[1]}"])
    assert status == 1
    assert "1 images are missing: test/2.png" in capsys.readouterr().out


def test_the_module_command_runs_the_script(own: Small) -> None:
    """`python -m data.check CONFIG`, with the counts of the real data set."""
    command = [sys.executable, "-m", "data.check", "configs/cuhk_pedes.yaml", "--set", f"data.root={own[0]}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "counts differ from those of cuhk_pedes" in done.stdout


def test_a_missing_data_set_or_config_is_an_error(tmp_path: Path) -> None:
    """It names the missing path."""
    with pytest.raises(UserError, match=r"data\.root: folder .*none is missing"):
        main(["--config", "configs/cuhk_pedes.yaml", "--set", f"data.root={tmp_path / 'none'}"])
    with pytest.raises(UserError, match=r"nothing\.yaml"):
        main(["--config", "nothing.yaml"])
