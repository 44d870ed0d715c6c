"""User errors, through the scripts themselves: one line that names the problem and its location."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import gen_test_data
import gen_train_data
import test as test_script
import train
from tests.small import quick_run, write_small_data
from utils.errors import UserError

Main = Callable[[Sequence[str] | None], int | None]
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """Small data and its caption files, for this test alone."""
    return write_small_data(tmp_path / "data", tmp_path / "captions")


def complaint(main: Main, arguments: Sequence[str]) -> str:
    """The one-line error with which a script ends."""
    with pytest.raises(UserError) as caught:
        main(arguments)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def cut_short(path: Path) -> Path:
    """Truncate a photograph to its first half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("main", [gen_train_data.main, gen_test_data.main, train.main])
def test_no_such_config(main: Main) -> None:
    message = complaint(main, ["--config", "configs/dmo.yaml"])
    assert message == "no such config: configs/dmo.yaml: did you mean configs/demo.yaml?"


@pytest.mark.parametrize("main", [gen_train_data.main, gen_test_data.main, train.main])
def test_a_misspelt_key(main: Main) -> None:
    message = complaint(main, ["--set", "train.bacth_size=3"])
    assert message == "unknown key train.bacth_size in --set train.bacth_size=3: did you mean train.batch_size?"


def test_a_script_exits_with_status_2_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "train.py", "--set", "train.lr=fast"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: train.lr='fast' is not possible")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("main", [gen_train_data.main, train.main])
def test_an_empty_folder_of_pictures(main: Main, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    message = complaint(main, ["--config", "configs/custom.yaml", "--set", f"data.root={tmp_path / 'pictures'}"])
    assert message.startswith(f"{tmp_path / 'pictures'} ")
    assert str(tmp_path / "pictures" / "test") in message  # where images are expected


def test_a_broken_training_image_is_named_and_left_out(
    small: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = cut_short(small[0] / "imgs" / "train" / "003_1.png")
    train.main(quick_run(*small, tmp_path / "run", "train.rounds=1", "train.epochs=1"))
    output = capfd.readouterr()
    assert str(broken) in output.out + output.err
    for file in small[1].iterdir():
        file.unlink()
    gen_train_data.main(quick_run(*small, tmp_path / "run"))
    assert f"no caption for train/003_1.png: {broken} cannot be read" in capfd.readouterr().err
    entries = json.loads((small[1] / "cuhk_qwen_gen_captions.json").read_text())
    assert len(entries) == 39
    assert "imgs/train/003_1.png" not in {entry["image_path"] for entry in entries}


def test_a_broken_gallery_image_is_an_error(
    small: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the test split; captions are generated without it, and the exit status shows that."""
    train.main(quick_run(*small, tmp_path / "run", "train.rounds=1", "train.epochs=1"))
    broken = cut_short(small[0] / "imgs" / "test" / "015_0.png")
    assert str(broken) in complaint(test_script.main, [str(tmp_path / "run")])
    assert not (tmp_path / "run" / "metrics.json").exists()
    file = small[1] / "cuhk_test_qwen_gen_captions.json"
    file.unlink()
    assert gen_test_data.main(quick_run(*small, tmp_path / "run")) == 3
    assert f"no caption for test/015_0.png: {broken} cannot be read" in capfd.readouterr().err
    entries = {entry["image_path"]: entry["img_gen_text"] for entry in json.loads(file.read_text())}
    assert [name for name, caption in entries.items() if caption is None] == ["imgs/test/015_0.png"]


def test_a_broken_gallery_image_is_one_line_from_a_worker_too(small: tuple[Path, Path], tmp_path: Path) -> None:
    train.main(quick_run(*small, tmp_path / "run", "train.rounds=1", "train.epochs=1"))
    broken = cut_short(small[0] / "imgs" / "test" / "015_0.png")
    message = complaint(test_script.main, [str(tmp_path / "run"), "--set", "train.workers=2"])
    assert message.startswith(f"gallery image {broken} cannot be read")


def test_a_checkpoint_is_not_tested_in_the_folder_of_another_run(small: tuple[Path, Path], tmp_path: Path) -> None:
    for run in ("one", "two"):
        train.main(quick_run(*small, tmp_path / run, "train.rounds=1", "train.epochs=1"))
    one, two = tmp_path / "one", tmp_path / "two"
    message = complaint(test_script.main, [str(two / "best.pth"), "--config", str(one / "config.yaml")])
    assert message == f"{one} holds another run: set run.dir to a folder for the results of {two / 'best.pth'}"
    assert not (one / "metrics.json").exists()
    both = complaint(test_script.main, [str(one / "best.pth"), "--checkpoint", str(two / "best.pth")])
    assert both == f"two checkpoints are given: {one / 'best.pth'} and {two / 'best.pth'}"


def test_captions_of_another_data_set(small: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("cuhk_qwen_gen_captions.json", "cuhk_test_qwen_gen_captions.json"):
        text = (small[1] / name).read_text()
        (small[1] / name).write_text(text.replace('"train/', '"elsewhere/').replace('"test/', '"elsewhere/'))
    run = quick_run(*small, tmp_path / "run")
    for main in (gen_train_data.main, gen_test_data.main, train.main):
        message = complaint(main, run)
        assert "_captions.json" in message
        assert "elsewhere/" in message
    assert not (tmp_path / "run").exists()


def test_a_run_folder_without_a_checkpoint(small: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main(quick_run(*small, run, "train.rounds=1", "train.epochs=1"))
    (run / "best.pth").unlink()
    assert complaint(test_script.main, [str(run)]).startswith(f"{run / 'best.pth'} is missing: train first")
    assert complaint(test_script.main, [str(tmp_path)]) == f"{tmp_path} is not a run folder: it has no config.yaml"
    odd = [*quick_run(*small, tmp_path / "other"), "cluster.source_weight=0.1", "cluster.source_name=icfg_pedes"]
    message = complaint(train.main, [*odd, "cluster.source_root=nowhere"])
    assert message.startswith("cluster.source_root: folder nowhere is missing")
    nowhere = tmp_path / "nowhere"
    assert complaint(test_script.main, [str(nowhere)]) == f"{nowhere} is neither a run folder nor a checkpoint"


def test_options_that_need_each_other(small: tuple[Path, Path], tmp_path: Path) -> None:
    """Both are named, before anything is written."""
    message = complaint(train.main, quick_run(*small, tmp_path / "run", "train.patience=2", "eval.select=last"))
    assert "train.patience=2" in message
    assert "eval.select=last" in message
    assert not (tmp_path / "run").exists()
