"""test.py on a trained run: the files that it writes, tuning on the validation split, and other galleries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gen_test_data
import test as test_script
from tests.pictures import picture
from tests.small import Small, quick_run, write_small_data
from utils.errors import UserError


@pytest.fixture
def run(uninterrupted: Path, tmp_path: Path) -> Path:
    """A copy of a trained run."""
    return Path(shutil.copytree(uninterrupted, tmp_path / "run"))


def metrics_of(run: Path, *arguments: str) -> dict[str, Any]:
    """The metrics that a test writes."""
    assert test_script.main([str(run), *arguments]) == 0
    return metrics(run)


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def test_all_files_are_written_and_agree(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page, the tables, and a line per query, from which the same metrics follow."""
    found = metrics_of(run)
    assert "16 gallery images" in capsys.readouterr().out
    lines = [json.loads(line) for line in (run / "per_query.jsonl").read_text().splitlines()]
    assert len(lines) == found["queries"] == 32
    for variant, row in zip(("plain", "msm", "itm", "both"), found["ablation"], strict=True):
        ranks = [line["rank"][variant] for line in lines]
        assert row["R1"] == pytest.approx(100 * np.mean([rank == 1 for rank in ranks]))
        assert row["mAP"] == pytest.approx(
            100 * np.mean([line["average_precision"][variant] for line in lines]), abs=1e-3
        )
    for line in lines:
        first = [place for place, one in enumerate(line["top"], 1) if one["person"] == line["person"]]
        assert line["rank"]["both"] == (first[0] if first else pytest.approx(13, abs=3))
        assert [one["score"] for one in line["top"]] == sorted((one["score"] for one in line["top"]), reverse=True)
        assert [one["matching"] is None for one in line["top"]] == [False, False] + [True] * 8
        assert line["image"].startswith("test/")
    assert [row["calls"] for row in found["costs"]] == [0, None, 0, None]  # these texts have no journal
    assert f"{found['R1']:.2f} [" in (run / "table.md").read_text()
    assert r"\toprule" in (run / "table.tex").read_text()
    page = (run / "report.html").read_text()
    assert "Worst queries" in page
    assert "Pseudo-clusters of the last round" in page
    assert "msm_weight: 0.7" in page
    assert {(cell["weight"], cell["k"]) for cell in found["sweep"]} >= {(1.0, 0), (0.7, 2), (0.0, 2)}


def test_the_results_of_another_epoch_have_a_separate_folder(run: Path) -> None:
    """The last epoch was not selected, and the run's own results are those of its best epoch."""
    before = metrics_of(run)
    assert before["chosen_on"] == "val"
    test_script.main([str(run), "--checkpoint", str(run / "last.pth")])
    assert metrics(run) == before
    assert metrics(run / "last")["chosen_on"] == "not known"
    assert metrics(run / "last")["checkpoint"].endswith("last.pth")


def test_the_full_sweep(run: Path) -> None:
    """Every weight with every k up to the gallery's size; points of the default sweep stay the same."""
    before, found = metrics_of(run), metrics_of(run, "--ablation")
    at = {(cell["weight"], cell["k"]): cell for cell in found["sweep"]}
    assert len(at) == len(found["sweep"]) == 11 * 5  # 0, 2, 4, 8 and 16
    assert all(at[cell["weight"], cell["k"]] == cell for cell in before["sweep"])
    assert {name: at[0.7, 2][name] for name in ("R1", "mAP")} == {name: found[name] for name in ("R1", "mAP")}


def test_weight_and_k_are_tuned_on_the_validation_split(
    small: Small, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its rewrites, which gen_test_data.py then writes, too; test metrics have no influence."""
    captions = Path(shutil.copytree(small[1], tmp_path / "captions"))
    arguments = ["--set", f"captions.dir={captions}", "eval.msm_weight=val", "eval.k_test=val"]
    with pytest.raises(UserError, match=r"cuhk_val_qwen_gen_captions\.json is missing: .*gen_test_data\.py"):
        test_script.main([str(run), *arguments])
    assert gen_test_data.main(["--config", str(run / "config.yaml"), *arguments]) == 0
    assert len(json.loads((captions / "cuhk_val_qwen_gen_captions.json").read_text())) == 16
    found = metrics_of(run, *arguments)
    best = max(cell["mAP"] for cell in found["validation"])
    chosen = [cell for cell in found["validation"] if cell["mAP"] == best]
    cheapest = min(chosen, key=lambda cell: (cell["k"], cell["weight"]))
    assert (found["msm_weight"], found["k_test"]) == (cheapest["weight"], cheapest["k"])
    assert len(found["validation"]) == 11 * 5
    assert "tuned on the validation split" in (run / "table.md").read_text()

    only_weight = metrics_of(run, *arguments, "eval.k_test=3")
    assert {cell["k"] for cell in only_weight["validation"]} == {3}
    assert only_weight["k_test"] == 3
    table = (run / "table.md").read_text()
    weight = f"{only_weight['msm_weight']:g}"
    tuned = (
        f"weight of the rewrites: {weight} (tuned on the validation split), 0.8 of it for their similarity with images"
    )
    assert f"{tuned}; re-ranked images per query: 3;" in table
    entries = json.loads((small[0] / "reid_raw.json").read_text())
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "imgs").symlink_to(small[0] / "imgs")
    (bare / "reid_raw.json").write_text(json.dumps([entry for entry in entries if entry["split"] != "val"]))
    with pytest.raises(UserError, match="bare has none: set both to numbers"):
        test_script.main([str(run), *arguments, f"data.root={bare}"])
    with pytest.raises(UserError, match=r"eval\.msm_weight, eval\.k_test: .*bare has no validation split"):
        gen_test_data.main(["--config", str(run / "config.yaml"), *arguments, f"data.root={bare}"])


def test_on_another_data_set(small: Small, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a separate folder, with the name of the training data; the run's own results stay."""
    other = write_small_data(tmp_path / "other", tmp_path / "texts", images=3)
    config = tmp_path / "other.yaml"
    config.write_text(f"data: {{name: demo, root: {other[0]}}}\ncaptions: {{dir: {other[1]}}}\n")
    for file in other[1].glob("cuhk*"):
        file.rename(other[1] / file.name.replace("cuhk", "rstp"))
    for entry in (entries := json.loads((other[0] / "reid_raw.json").read_text())):
        entry["img_path"] = entry.pop("file_path")
    (other[0] / "data_captions.json").write_text(json.dumps(entries))
    config.write_text(config.read_text().replace("demo", "rstpreid"))
    before = metrics_of(run)
    assert test_script.main([str(run), "--on", str(config)]) == 0
    found = metrics(run / "on_other")
    assert (found["data"], found["trained_on"], found["gallery"]) == ("rstpreid", "cuhk_pedes", 12)
    assert "TSN on RSTPReid, trained on CUHK-PEDES" in (run / "on_other" / "report.html").read_text()
    assert metrics(run) == before

    # Tuning uses the validation split of the run's own data, not of the other data set.
    (other[1] / "rstp_val_qwen_gen_captions.json").write_text("[]")
    captions = Path(shutil.copytree(small[1], tmp_path / "own"))
    tuned = ["--set", f"captions.dir={captions}", "eval.msm_weight=val"]
    assert gen_test_data.main(["--config", str(run / "config.yaml"), *tuned]) == 0
    assert test_script.main([str(run), "--on", str(config), *tuned]) == 0
    assert len(metrics(run / "on_other")["validation"]) == 11


def test_distractors_and_cameras(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Distractors have a separate folder; cameras are evaluated one at a time."""
    before = metrics_of(run)
    for number in range(3):
        picture(tmp_path / "others" / f"{number}_9.png", (190, 30, 35 + number))
    test_script.main([str(run), "--distractors", str(tmp_path / "others"), "--by-camera", r"_(\d+)\.png"])
    assert "3 of 19 gallery images have no caption" in capsys.readouterr().out
    found = metrics(run / "with_others")
    assert found["gallery"] == 19
    assert found["ablation"][0]["mAP"] <= before["ablation"][0]["mAP"]
    assert {name: one["queries"] for name, one in found["cameras"].items()} == dict.fromkeys("0123", 32)
    assert metrics(run) == before
    assert "Single-camera galleries" in (run / "with_others" / "report.html").read_text()


def test_a_k_above_the_size_of_the_gallery(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = metrics_of(run, "--set", "eval.k_test=500")
    assert "eval.k_test=500 exceeds the gallery of 16 images" in capsys.readouterr().out
    assert found["k_test"] == 500


def test_missing_texts_are_counted(small: Small, run: Path, tmp_path: Path) -> None:
    """In the notes of the table."""
    captions = Path(shutil.copytree(small[1], tmp_path / "captions"))
    file = captions / "cuhk_test_qwen_gen_captions.json"
    entries = json.loads(file.read_text())
    entries[0]["generated_text"] = ["null", None]
    entries[1]["img_gen_text"] = None
    file.write_text(json.dumps(entries))
    metrics_of(run, "--set", f"captions.dir={captions}")
    table = (run / "table.md").read_text()
    assert "2 of 32 queries have no rewrite: they are scored without MSM" in table
    assert "1 of 16 gallery images have no caption" in table


def test_an_image_that_vanished_since_training_is_named(small: Small, run: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(small[0], tmp_path / "data"))
    gone = data / "imgs" / "test" / "015_0.png"
    gone.unlink()
    with pytest.raises(UserError, match=r"1 of 72 images of .*reid_raw\.json are missing, the first .*015_0\.png"):
        test_script.main([str(run), "--set", f"data.root={data}"])


def test_a_run_without_stored_features_has_no_plot_of_clusters(run: Path) -> None:
    """Such as a run of an older version; a broken file is named."""
    file = run / "pseudo_labels_1.npz"
    with np.load(file) as content:
        np.savez(file, **{name: content[name] for name in ("labels", "names", "eps")})
    metrics_of(run)
    assert "Pseudo-clusters" not in (run / "report.html").read_text()
    file.write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"pseudo_labels_1\.npz cannot be read"):
        test_script.main([str(run)])
    (run / "pseudo_labels_old.npz").write_bytes(b"")  # a user's copy
    file.unlink()
    metrics_of(run)


def test_two_processes_give_the_results_of_one(run: Path, tmp_path: Path) -> None:
    """Each embeds and matches its share of the gallery, and one writes; also if one of them has no pair to match."""
    for k in (5, 1):
        alone = metrics_of(run, "--set", f"eval.k_test={k}")
        together = metrics_of(run, "--set", f"eval.k_test={k}", "run.processes=2")
        for name, value in alone.items():
            if name not in ("costs", "checkpoint"):
                assert together[name] == value, name


def test_validation_by_rewrites_needs_them(small: Small, tmp_path: Path) -> None:
    import train

    with pytest.raises(UserError, match=r"rewrites in .*cuhk_val_qwen_gen_captions\.json \(gen_test_data\.py\)"):
        train.main(quick_run(*small, tmp_path, "eval.select_weight=0.5"))
