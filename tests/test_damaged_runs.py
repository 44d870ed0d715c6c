"""Run folders with damaged or foreign files end in one line that names the file, and nothing in them is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import test as test_script
import train
from tests.small import Small, quick_run
from utils.errors import UserError
from utils.files import read_jsonl


@pytest.fixture
def run(uninterrupted: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(uninterrupted, tmp_path / "run")


def change(file: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Edit what torch saved in a file."""
    content = torch.load(file, weights_only=True)
    edit(content)
    torch.save(content, file)


def resume_file(run: Path) -> Path:
    (file,) = run.glob("resume_*.pth")
    return file


def shrink_a_moment(memory: dict[str, Any]) -> None:
    moments = next(iter(memory["optimizer"]["state"].values()))
    moments["exp_avg"] = moments["exp_avg"].flatten()[:1]


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda run: change(run / "last.pth", lambda c: c.update(resume="resume_0_1_0.pth")), r"last\.pth.*best\.pth"),
        (lambda run: change(run / "last.pth", lambda c: c.update(resume="../run.json")), r"last\.pth.*memory"),
        (lambda run: change(resume_file(run), lambda c: c.pop("optimizer")), r"last\.pth.*optimizer"),
        (lambda run: change(resume_file(run), lambda c: c.pop("best")), r"last\.pth.*memory\.best"),
        (lambda run: change(resume_file(run), shrink_a_moment), r"last\.pth.*exp_avg"),
        (lambda run: resume_file(run).write_bytes(b"\x80\x02a."), r"resume_1_2_0\.pth cannot be read"),
        (lambda run: resume_file(run).unlink(), r"last\.pth.*resume_1_2_0\.pth"),
        (lambda run: resume_file(run).write_bytes(b"x" * 100), r"resume_1_2_0\.pth"),
        (lambda run: change(run / "last.pth", lambda c: c.pop("log_bytes")), r"last\.pth.*log_bytes"),
        (lambda run: change(run / "last.pth", lambda c: c.update(copies=7)), r"last\.pth.*copies"),
        (lambda run: change(run / "last.pth", lambda c: c.update(copies=["../x.pth"])), r"last\.pth.*copies"),
        (lambda run: change(run / "last.pth", lambda c: c.update(log_bytes=-(2**70))), r"last\.pth.*log_bytes"),
        (lambda run: (run / "last.pth").write_bytes(b"x" * 100), r"last\.pth"),
        (lambda run: (run / "run.json").write_text("["), r"run\.json"),
        (lambda run: (run / "run.json").write_text("7"), r"run\.json"),
    ],
)
def test_a_damaged_checkpoint_is_named(small: Small, run: Path, edit: Callable[[Path], Any], named: str) -> None:
    """And the folder stays as it is."""
    edit(run)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.name != "config.yaml"}
    with pytest.raises(UserError, match=named) as error:
        train.main(quick_run(*small, run))
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name != "config.yaml"} == before


def test_foreign_weights_are_named(small: Small, run: Path) -> None:
    """Of another shape, in the checkpoint of an unfinished round."""

    def reshape(content: dict[str, Any]) -> None:
        content["epoch"], content["copies"] = 1, []
        content["model"]["text_proj.bias"] = torch.zeros(3)

    change(run / "last.pth", reshape)
    with pytest.raises(UserError, match=r"last\.pth belongs to another model"):
        train.main(quick_run(*small, run))


@pytest.mark.parametrize(
    ("labels", "eps"),
    [(np.zeros((2, 2), np.int64), 0.5), (np.full(40, np.nan), 0.5), (np.zeros(3, np.int64), 0.5)]
    + [(np.zeros(40, np.int64), np.array([0.5])), (np.zeros(40, np.int64), "0.5")],
)
def test_damaged_pseudo_labels_are_named(small: Small, run: Path, labels: Any, eps: Any) -> None:
    """Of another kind, or of other images."""
    change(run / "last.pth", lambda content: content.update(epoch=1))
    np.savez(run / "pseudo_labels_1.npz", labels=labels, eps=eps, silhouette=0.1)
    with pytest.raises(UserError, match=r"pseudo.labels"):
        train.main(quick_run(*small, run))


def test_a_damaged_log_is_reported_without_its_lines(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report of a test is written all the same."""
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b"{damaged}\n", b"\xff\xfe{}\n", b"[1]\n", *lines[1:]]))
    assert len(read_jsonl(log)) >= len(lines)
    assert test_script.main([str(run)]) == 0
    assert (run / "report.html").is_file()
    assert "log.jsonl" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_not_written_into(small: Small, tmp_path: Path) -> None:
    """Somebody's model, or notes called as a run's files are."""
    for name, text in {"vocab.txt": "a", "config.json": json.dumps({"architectures": []}), "log.jsonl": "{}"}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            train.main(quick_run(*small, folder))
        assert (folder / name).read_text() == text
        assert {path.name for path in folder.iterdir()} <= {name, ".lock"}
