"""Configs and run folders of version 0.1, whose keys had other names, are still read."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

import train
from configs.load import RENAMED_KEYS, load_config, run_identity, upgrade_identity
from tests.small import Small, quick_run
from tests.test_mid_epoch import signalled_at
from tests.test_train import assert_same_run
from training.saved_state import complete_copies, read_state
from utils.errors import UserError

OLD_NAMES = {new: old for old, new in RENAMED_KEYS.items()}
OLD_MEMORY = {"epochs_without_improvement": "fruitless", "mid_epoch": "midway"}
OLD_MID_EPOCH = {"step": "step", "loss_sums": "sums", "rng_states": "random"}


def test_old_names_set_the_new_keys_and_each_warning_names_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a file and on the command line; the value of `cluster.eps` as well."""
    file = tmp_path / "old.yaml"
    file.write_text("train: {warmup_epochs: 3, restart: false}\neval: {tokens: full}\ncluster: {eps: clearest}\n")
    config = load_config(file, ["train.ramp_steps=7", "train.warmup_lr=0.25"])
    assert (config.train.pretrain_epochs, config.train.reinit_each_round) == (3, False)
    assert (config.train.warmup_steps, config.train.pretrain_lr) == (7, 0.25)
    assert (config.eval.token_precision, config.cluster.eps) == ("full", "silhouette")
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 6
    for old, new in {**RENAMED_KEYS, "clearest": "silhouette"}.items():
        assert [line for line in warnings if old in line and new in line], old


def test_an_old_and_a_new_name_of_one_key_are_refused(tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("train: {warmup_epochs: 3, pretrain_epochs: 5}\n")
    with pytest.raises(UserError, match=r"both\.yaml.*train\.warmup_epochs.*train\.pretrain_epochs"):
        load_config(tmp_path / "both.yaml")


def test_a_run_of_the_version_before_resumes_in_the_middle_of_an_epoch(
    small: Small, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run.json and last.pth have the old names; the weights at the end are those of an uninterrupted run."""
    with monkeypatch.context() as patch:
        signalled_at(patch, signal.SIGTERM, 2, 1)  # the second epoch of round 0
        assert train.main(quick_run(*small, tmp_path)) == 0
    stamp = tmp_path / "run.json"
    stamp.write_text(
        json.dumps({OLD_NAMES.get(name, name): value for name, value in json.loads(stamp.read_text()).items()})
    )
    state = torch.load(tmp_path / "last.pth", weights_only=True)
    resume = tmp_path / state.pop("resume")
    memory = torch.load(resume, weights_only=True)
    resume.unlink()  # at that time, last.pth held everything
    memory = {OLD_MEMORY.get(name, name): value for name, value in memory.items()}
    memory["midway"] = {OLD_MID_EPOCH[name]: value for name, value in memory["midway"].items()}
    torch.save(state | {"memory": memory}, tmp_path / "last.pth")
    assert train.main(quick_run(*small, tmp_path)) == 0
    assert_same_run(uninterrupted, tmp_path)


def test_copies_of_a_checkpoint_of_the_version_before_are_completed_without_what_only_resuming_needs(
    tmp_path: Path,
) -> None:
    """Its last.pth held everything, and was written before its copies."""
    whole = {"model": {}, "round": 0, "epoch": 1, "copies": ["best.pth"], "log_bytes": 5}
    memory = {"optimizer": {}, "scaler": {}, "best": 50.0, "best_of_round": 50.0, "fruitless": 0, "eps": None}
    torch.save(whole | {"memory": memory}, tmp_path / "last.pth")
    complete_copies(tmp_path, read_state(tmp_path))
    assert torch.load(tmp_path / "best.pth", weights_only=True) == {"model": {}, "round": 0, "epoch": 1}


def test_a_run_of_the_version_before_lacks_keys_that_are_off_as_published() -> None:
    """It resumes with these values only."""
    added = {
        "cluster.image_weight",
        "cluster.whiten",
        "train.pretrain_labels",
        "train.freeze_text",
        "train.image_image",
        "train.text_text",
    }
    identity = run_identity(load_config(Path("configs/published/cuhk.yaml")))
    before = {name: value for name, value in identity.items() if name not in added}
    assert len(before) == len(identity) - len(added)
    assert upgrade_identity(before) == identity
