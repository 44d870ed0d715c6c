"""Options of a run: when a round ends, who is held out, how noise is handled, where photographs are cached."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from clustering.pseudo_labels import PseudoLabels
from configs.load import load_config
from data.records import ImageRecord, hold_out
from data.transforms import ImageCache, cached_opener
from retrieval.seeds import main as seeds
from tests.small import Small, quick_run
from tests.test_train import assert_same_run, events
from training import pseudo_labels
from training.options import PseudoLabelOptions
from training.run_folder import RunFolder
from utils.device import explain_out_of_memory
from utils.errors import UserError


def test_a_round_ends_when_nothing_improves(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs after the best of a round; also if the run was interrupted between these."""
    figures = iter([1, 5, 4, 3, 9, 9, 9])
    monkeypatch.setattr("training.rounds.validate", lambda *_, **__: dict.fromkeys(("R1", "mAP"), float(next(figures))))
    arguments = quick_run(*small, tmp_path, "train.rounds=1", "train.epochs=9", "train.patience=2")
    real = RunFolder.log

    def interrupted(self: RunFolder, event: str, **values: Any) -> None:
        real(self, event, **values)
        if event == "step" and values["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.main(arguments)
    train.main(arguments)
    assert [event["mAP"] for event in events(tmp_path) if event["event"] == "validation"] == [1, 5, 4, 3]


def records(people: list[int]) -> list[ImageRecord]:
    return [ImageRecord(Path(f"{n}.png"), f"{n}.png", ("a",), who, "train") for n, who in enumerate(people)]


def test_held_out_people_are_drawn_with_all_their_images() -> None:
    """All images of a person are on the same side; the seed chooses; at least one person is on each side."""
    every = records([person for person in range(20) for _ in range(3)])
    kept, held = hold_out(every, 0.2, seed=1)
    assert len(held) == 12
    assert not {one.person_id for one in kept} & {one.person_id for one in held}
    assert sorted(one.name for one in [*kept, *held]) == sorted(one.name for one in every)
    assert hold_out(every, 0.2, seed=1)[1] == held != hold_out(every, 0.2, seed=2)[1]
    assert [len(part) for part in hold_out(records([1, 2]), 0.99, seed=0)] == [1, 1]
    with pytest.raises(UserError, match=r"eval\.select=held_out needs"):
        hold_out(records([-1, 3]), 0.5, seed=0)


def test_an_epoch_is_selected_on_held_out_people(small: Small, tmp_path: Path) -> None:
    """Of ten people, two are used for selection and eight for training."""
    choices = ("train.rounds=1", "train.epochs=1", "eval.select=held_out", "eval.held_out=0.2")
    train.main(quick_run(*small, tmp_path, *choices))
    with np.load(tmp_path / "pseudo_labels_0.npz") as labels:
        assert len(labels["names"]) == 32
    assert {event["split"] for event in events(tmp_path) if event["event"] == "validation"} == {"held_out"}


DEMO = Path("configs/demo.yaml")
SMALL_CLUSTERS = ["cluster.k1=2", "cluster.k2=1", "cluster.min_samples=2"]


@pytest.mark.parametrize(("found", "direction"), [(0, 1), (1, -1)])
def test_useless_labels_are_refused_or_computed_at_another_radius(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: int, direction: int
) -> None:
    """All noise: a larger radius; one cluster: a smaller one; reported each time, and saved with two clusters."""
    tried: list[float] = []

    def clustered(features: object, options: PseudoLabelOptions, **_: object) -> PseudoLabels:
        assert isinstance(options.eps, float)
        tried.append(options.eps)
        return PseudoLabels(np.arange(6) // 3 if len(tried) > 3 else np.full(6, found - 1), options.eps)

    monkeypatch.setattr(pseudo_labels, "cluster_features", clustered)
    stop, adjust = (
        load_config(DEMO, ["cluster.eps=0.5", f"cluster.degenerate={action}", *SMALL_CLUSTERS]).cluster
        for action in ("stop", "adjust")
    )
    run = RunFolder(tmp_path, {})
    names, features = list("abcdef"), lambda: (np.arange(12).reshape(6, 2), None)
    with pytest.raises(UserError, match=r"round 0: .* at eps=0\.5000: set a (larger|smaller) cluster\.eps"):
        pseudo_labels.load_or_compute_labels(run, 0, features, stop, names=names)
    assert run.load_labels(0) is None
    tried.clear()
    labels = pseudo_labels.load_or_compute_labels(run, 0, features, adjust, names=names)
    assert labels.clusters == 2
    assert tried == pytest.approx([0.5 * 1.1 ** (direction * step) for step in range(4)])
    stored = run.load_labels(0)
    assert stored is not None
    assert np.array_equal(stored[0], labels.labels)


def test_what_is_advised_where_no_radius_helps(tmp_path: Path) -> None:
    """With six images, all have the same neighbors, or none can be a core point; equal features are one point."""
    features = np.random.default_rng(0).normal(size=(6, 8))

    def compute(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], None]:
        return values, None

    for keys, values, advice in (
        (["cluster.k1=20"], features, r"6 images are too few .*cluster\.k1=20.*cluster\.min_samples.*train\.rounds=0"),
        (["cluster.k1=2", "cluster.k2=1"], features, r"6 images are too few .*cluster\.min_samples=4"),
        (SMALL_CLUSTERS, np.ones((6, 8)), "features are all equal"),
    ):
        options = load_config(DEMO, ["cluster.degenerate=stop", *keys]).cluster
        with pytest.raises(UserError, match=advice) as caught:
            pseudo_labels.load_or_compute_labels(
                RunFolder(tmp_path, {}), 0, partial(compute, values), options, names=list("abcdef")
            )
        assert "set a" not in str(caught.value)


def test_a_mapped_file_changes_nothing_and_is_written_once(small: Small, tmp_path: Path) -> None:
    """The same run as with photographs from their files; the file is complete and is used again."""
    for name, kept in (("files", "false"), ("mapped", "mapped")):
        train.main(quick_run(*small, tmp_path / name, "train.rounds=1", f"train.cache={kept}"))
    assert_same_run(tmp_path / "files", tmp_path / "mapped")
    (file,) = (tmp_path / "mapped").glob("images_*.npy")
    assert np.load(file, mmap_mode="r").shape == (40 + 16, 32, 16, 3)
    paths = sorted((small[0] / "imgs/train").glob("*.png"))
    images = ImageCache(paths[:3], (32, 16), tmp_path / "again.npy")
    before = (tmp_path / "again.npy").stat().st_mtime_ns
    ImageCache(paths[:3], (32, 16), tmp_path / "again.npy")
    assert (tmp_path / "again.npy").stat().st_mtime_ns == before
    plain = cached_opener("memory", paths[:2], (32, 16), tmp_path)
    assert all(images(path).tobytes() == plain(path).tobytes() for path in paths[:5])


def test_tensorboard_shows_the_log(small: Small, tmp_path: Path) -> None:
    """Written again from the log when a run resumes: no point twice, and none that is not in the log."""
    arguments = quick_run(*small, tmp_path, "train.rounds=1", "run.tensorboard=true")
    train.main(arguments)
    train.main(arguments)
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [event["loss"] for event in events(tmp_path) if event["event"] == "step"]
    drawn = shown.Scalars("step/loss")
    assert [point.step for point in drawn] == list(range(len(losses)))
    assert [point.value for point in drawn] == pytest.approx(losses)
    assert "validation/mAP" in shown.Tags()["scalars"]


def test_seeds_are_summarized_with_their_deviation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """R1 10, 20, 30: mean 20, sample deviation 10; selection on the test split is noted."""
    for number, r1 in enumerate((10.0, 20.0, 30.0)):
        row = dict.fromkeys(("R1", "R5", "R10", "mAP", "mINP"), r1)
        ways = [{"msm": False, "itm": False, **row}, {"msm": True, "itm": False, **row, "R1": 50.0}]
        content = {"ablation": ways, "chosen_on": "test", "data": "demo"}
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "metrics.json").write_text(json.dumps(content))
    seeds([*(str(tmp_path / name) for name in "012"), "--out", str(tmp_path / "seeds.md")])
    output = capsys.readouterr().out
    assert "| no | no | 20.0 ± 10.0 |" in output
    assert "| yes | no | 50.0 ± 0.0 | 20.0 ± 10.0 |" in output
    assert "3 runs" in output
    assert "selected on the test split" in output
    assert (tmp_path / "seeds.md").read_text() == output
    with pytest.raises(UserError, match=r"nowhere/metrics\.json is missing: test that run first"):
        seeds(["nowhere"])
    other = json.loads((tmp_path / "2" / "metrics.json").read_text()) | {"data": "custom"}
    (tmp_path / "2" / "metrics.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="tested on custom and demo"):
        seeds([str(tmp_path / name) for name in "012"])


def test_a_gpu_that_is_too_small_is_one_line() -> None:
    """It names the keys to change."""
    with pytest.raises(UserError, match=r"model\.checkpointed_blocks .*train\.batch_size"), explain_out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")
