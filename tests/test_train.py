"""The rounds of train.py on a few small pictures: what they learn from, how they resume, what they refuse."""

from __future__ import annotations

import errno
import json
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train
from tests.pictures import picture
from tests.small import Small, quick_run, write_small_data
from training import saved_state
from training.epoch import train_epoch
from training.run_folder import RunFolder
from utils.errors import UserError


def events(run: Path) -> list[dict[str, Any]]:
    """The log without the values that differ between runs."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "images_per_s")} for line in lines]


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["model"]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("last.pth", "best.pth", "round.pth"):
        first, second = weights(one / name), weights(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    assert events(one) == events(other)


def test_a_run_writes_a_complete_folder(uninterrupted: Path) -> None:
    names = {path.name for path in uninterrupted.iterdir()}
    assert {
        *("config.yaml", "log.jsonl", "vocab.txt", "best.pth", "round.pth", "last.pth"),
        *("pseudo_labels_0.npz", "pseudo_labels_1.npz"),
    } <= names
    assert not [name for name in names if "partial" in name]


def test_equal_checkpoints_are_one_file(
    small: Small, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system has hard links, each is written once; elsewhere they are copied, with the same content."""
    files = [uninterrupted / name for name in ("last.pth", "best.pth", "round.pth")]
    assert len({file.stat().st_ino for file in files}) < 3
    assert len(list(uninterrupted.glob("resume_*.pth"))) == 1

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr("os.link", refuse)
        train.main(quick_run(*small, tmp_path))
    assert {(tmp_path / file.name).stat().st_nlink for file in files} == {1}
    assert_same_run(uninterrupted, tmp_path)


def test_the_log_has_every_round_and_epoch(uninterrupted: Path) -> None:
    log = events(uninterrupted)
    assert [event["round"] for event in log if event["event"] == "labels"] == [0, 1]
    assert [(event["round"], event["epoch"]) for event in log if event["event"] == "epoch"] == [
        *((-1, 0), (0, 0), (0, 1), (1, 0), (1, 1))
    ]
    labels = next(event for event in log if event["event"] == "labels")
    assert {"clusters", "noise", "ari", "nmi", "eps"} <= labels.keys()
    warmup, *_, epoch = (event for event in log if event["event"] == "epoch")
    # Before the first clustering, images of one caption may show different people: no matching, no image-image loss.
    assert not {"itm", "image_image"} & warmup.keys()
    for event, losses in (
        (warmup, {"itc", "id", "text_text"}),
        (epoch, {"itc", "itm", "id", "image_image", "text_text"}),
    ):
        assert {*losses, "loss", "lr"} <= event.keys()
        assert event["loss"] == pytest.approx(sum(event[name] for name in losses), rel=1e-5)
    assert len([event for event in log if event["event"] == "validation"]) == 5


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    small: Small, uninterrupted: Path, tmp_path: Path
) -> None:
    train.main(quick_run(*small, tmp_path / "again", "train.cache=false"))  # which only takes longer
    assert_same_run(uninterrupted, tmp_path / "again")
    train.main(quick_run(*small, tmp_path / "other", "train.seed=7"))
    one, other = (weights(run / "last.pth")["vision_proj.weight"] for run in (uninterrupted, tmp_path / "other"))
    assert torch.are_deterministic_algorithms_enabled()  # or threads would add up gradients in any order
    assert not torch.equal(one, other)


def test_person_ids_and_human_captions_of_the_training_split_change_no_weight(
    small: Small, uninterrupted: Path, tmp_path: Path
) -> None:
    entries = json.loads((small[0] / "reid_raw.json").read_text())
    training = [entry for entry in entries if entry["split"] == "train"]
    ids = [entry["id"] for entry in training]
    random.Random(3).shuffle(ids)
    for entry, person in zip(training, ids, strict=True):
        entry["id"] = person
        entry["captions"] = ["a sentence that must not be read"]
    shuffled = tmp_path / "data"
    shuffled.mkdir()
    (shuffled / "imgs").symlink_to(small[0] / "imgs")
    (shuffled / "reid_raw.json").write_text(json.dumps(entries))
    run = tmp_path / "run"
    train.main(quick_run(shuffled, small[1], run))

    first, second = weights(uninterrupted / "last.pth"), weights(run / "last.pth")
    assert all(torch.equal(first[name], second[name]) for name in first)
    found = [[e["ari"] for e in events(folder) if e["event"] == "labels"] for folder in (uninterrupted, run)]
    assert found[0] != found[1]  # the report does read them


def interrupt_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Ctrl-C in the middle of an epoch, after so many of them."""
    real, seen = train_epoch, iter(range(100))

    def interrupted(*args: Any, on_log: Callable[..., None], **named: Any) -> dict[str, float] | None:
        this = next(seen)

        def step(**values: Any) -> None:
            on_log(**values)
            if this == calls and values["step"] == 2:
                raise KeyboardInterrupt

        return real(*args, on_log=step, **named)

    monkeypatch.setattr("training.rounds.train_epoch", interrupted)


@pytest.mark.parametrize("calls", [0, 2, 3])
def test_a_run_interrupted_in_any_epoch_ends_where_an_uninterrupted_one_ends(
    small: Small, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, calls)
        with pytest.raises(KeyboardInterrupt):
            train.main(quick_run(*small, tmp_path))
    train.main(quick_run(*small, tmp_path))
    assert_same_run(uninterrupted, tmp_path)


@pytest.mark.parametrize("saves", [1, 4])
@pytest.mark.parametrize("file", ["resume", "last"])
def test_a_run_killed_between_its_files_ends_where_an_uninterrupted_one_ends(
    small: Small, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int, file: str
) -> None:
    """Before last.pth, which names the file written first, or before the copies of last.pth."""
    real, seen = saved_state._save, []

    def killed(path: Path, content: dict[str, Any]) -> None:
        real(path, content)
        if path.name.startswith(file):
            seen.append(path)
            if len(seen) == saves:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saved_state, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            train.main(quick_run(*small, tmp_path))
    train.main(quick_run(*small, tmp_path))
    assert_same_run(uninterrupted, tmp_path)


def test_a_run_killed_right_after_clustering_logs_the_clusters_once(
    small: Small, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.rounds.build_optimizer", killed)
        with pytest.raises(KeyboardInterrupt):
            train.main(quick_run(*small, tmp_path, "train.pretrain_epochs=0"))
    train.main(quick_run(*small, tmp_path, "train.pretrain_epochs=0"))
    assert [event["round"] for event in events(tmp_path) if event["event"] == "labels"] == [0, 1]


def test_a_finished_run_is_not_trained_again(small: Small, uninterrupted: Path) -> None:
    before = (uninterrupted / "last.pth").read_bytes()
    train.main(quick_run(*small, uninterrupted))
    assert (uninterrupted / "last.pth").read_bytes() == before


def test_a_folder_of_another_run_is_refused_with_the_keys_that_differ(small: Small, uninterrupted: Path) -> None:
    with pytest.raises(UserError, match=r"other settings \(train\.lr was 0\.0005, now 0\.002\)"):
        train.main(quick_run(*small, uninterrupted, "train.lr=0.002"))


def test_captions_that_changed_are_another_run(small: Small, uninterrupted: Path, tmp_path: Path) -> None:
    file = "cuhk_qwen_gen_captions.json"
    (tmp_path / file).write_text((small[1] / file).read_text().replace("red top", "pink top"))
    with pytest.raises(UserError, match="the training pairs"):
        train.main(quick_run(small[0], tmp_path, uninterrupted))


def test_photographs_that_were_replaced_are_another_run(small: Small, uninterrupted: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small[0], data)
    picture(data / "imgs" / "train" / "000_0.png", (1, 2, 3))
    with pytest.raises(UserError, match="the training pairs"):
        train.main(quick_run(data, small[1], uninterrupted))


def test_a_run_that_never_finished_an_epoch_leaves_its_folder_to_another(small: Small, tmp_path: Path) -> None:
    """As the message about missing weights suggests: the same command with a smaller model."""
    run, base = tmp_path / "run", ("model.preset=base", "model.init=checkpoint/model_base.pth", "model.vocab=null")
    with pytest.raises(UserError, match=r"model\.init: .*model_base\.pth is missing"):
        train.main(quick_run(*small, run, *base))
    train.main(quick_run(*small, run, "train.rounds=1", "train.epochs=1"))
    assert (run / "best.pth").exists()


def test_weights_that_no_run_can_resume_from_are_not_replaced(small: Small, tmp_path: Path) -> None:
    """A downloaded best.pth, or one whose last.pth was deleted to save room."""
    (tmp_path / "best.pth").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"best\.pth exists without a last\.pth to resume from"):
        train.main(quick_run(*small, tmp_path))
    assert (tmp_path / "best.pth").read_bytes() == b"precious"


def test_weights_that_diverge_in_the_last_step_stop_the_run(small: Small, tmp_path: Path) -> None:
    one_step = ("train.batch_size=40", "train.clip_norm=null")
    with pytest.raises(UserError, match=r"not finite.*lower train\.lr"):
        train.main(quick_run(*small, tmp_path, "train.lr=1.0e+30", "train.pretrain_lr=1.0e-3", *one_step))
    assert all(value.isfinite().all() for value in weights(tmp_path / "last.pth").values())


def test_a_disk_that_is_full_while_saving_is_one_line_and_the_last_checkpoint_stays(
    small: Small, uninterrupted: Path, tmp_path: Path
) -> None:
    """With a limit on file sizes that is too small for a checkpoint; without it, the same command resumes."""
    run, quick = tmp_path / "run", quick_run(*small, tmp_path / "run")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    interrupted = uninterrupted / "last.pth"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (interrupted.stat().st_size // 2, before[1]))
        with pytest.raises(UserError, match=r"cannot write .*resume_.*\.pth: File too large"):
            train.main(quick)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in run.iterdir() if "partial" in path.name or path.suffix == ".pth"]
    train.main(quick)
    assert_same_run(uninterrupted, run)


def test_settings_that_change_no_weight_may_change(small: Small, uninterrupted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    train.main(quick_run(*small, run, "train.log_every=5", "eval.k_test=3"))


def test_a_folder_in_use_is_refused(small: Small, tmp_path: Path) -> None:
    holder = RunFolder(tmp_path, {})
    with pytest.raises(UserError, match="another process is training"):
        RunFolder(tmp_path, {})
    del holder


def test_the_error_for_missing_captions_names_the_script(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cuhk_qwen_gen_captions\.json is missing: .*gen_train_data\.py"):
        train.main(quick_run(small[0], tmp_path / "none", tmp_path / "run"))


def test_a_truncated_photograph_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, captions = write_small_data(tmp_path / "data", tmp_path / "captions")
    broken = root / "imgs" / "train" / "003_1.png"
    broken.write_bytes(broken.read_bytes()[:150])
    train.main(quick_run(root, captions, tmp_path / "run", "train.rounds=1", "train.epochs=1"))
    assert "left out of training: " in (output := capsys.readouterr().err)
    assert str(broken) in output
    with np.load(tmp_path / "run" / "pseudo_labels_0.npz") as labels:
        assert len(labels["labels"]) == 39
        assert "train/003_1.png" not in labels["names"]


def test_the_error_for_noise_alone_names_the_key_to_change(small: Small, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"noise at eps=0\.6000: set a larger cluster\.eps"):
        train.main(quick_run(*small, tmp_path, "cluster.min_samples=20"))


def test_the_published_settings_train_too(small: Small, tmp_path: Path) -> None:
    """Rows of distances, a frozen automatic radius, a source set, restarts, attended padding, choice on test."""
    train.main(
        quick_run(
            *small,
            tmp_path,
            *("cluster.metric=rows", "cluster.eps=2.0", "cluster.source_name=cuhk_pedes"),
            *(f"cluster.source_root={small[0]}", "cluster.source_weight=0.1", "train.reinit_each_round=true"),
            *("model.fuse_padding=true", "eval.select=test", "eval.select_by=R1", "eval.select_k=4"),
            *("train.augment=published", "train.pretrain_epochs=0", "train.rounds=1", "train.epochs=1"),
        )
    )
    assert [event["split"] for event in events(tmp_path) if event["event"] == "validation"] == ["test"]


def test_without_a_validation_split_the_last_epoch_is_selected(small: Small, tmp_path: Path) -> None:
    train.main(quick_run(*small, tmp_path, "eval.select=last", "train.rounds=1"))
    last, best = weights(tmp_path / "last.pth"), weights(tmp_path / "best.pth")
    assert all(torch.equal(last[name], best[name]) for name in last)
    assert not [event for event in events(tmp_path) if event["event"] == "validation"]
