"""The commands that are tried, and the unharmed files that they read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import check_data
import gen_test_data
import gen_train_data
import search
import test as test_script
import train
from clustering import __main__ as clustering
from models import export
from tests.hostile.tries import Target
from tests.small import quick_run, write_small_data

CONFIG = "configs/cuhk_pedes.yaml"
_SHORT = ("train.rounds=1", "train.epochs=1", "eval.k_test=0")
_FORMATS = ("png", "jpg", "gif", "bmp", "tiff", "webp", "ppm", "tga", "ico")


def write_originals(folder: Path) -> None:
    """Write what all targets read."""
    write_data(folder)
    write_features(folder)
    _write_photographs(folder)
    _write_run(folder)


def write_data(folder: Path) -> None:
    """Write a small data set, its captions and rewrites, and a config that names them."""
    write_small_data(folder / "data", folder / "captions", images=2)
    gen_test_data.main(_generate(folder, folder / "new"))
    (folder / "config.yaml").write_text(
        f"data:\n  name: cuhk_pedes\n  root: {folder / 'data'}\ncaptions:\n  dir: {folder / 'captions'}\n"
        "captioner:\n  backend: palette\ntrain:\n  epochs: 2\n  lr: 1.0e-4\ncluster: {k1: 4, eps: 0.5}\n"
    )


def write_features(folder: Path) -> None:
    """Write features [40, 8] of 8 people in each format."""
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 8)).astype(np.float32) + np.repeat(3 * random.normal(size=(8, 8)), 5, axis=0)
    np.save(folder / "features.npy", features)
    np.savez(folder / "features.npz", features=features, ids=np.repeat(np.arange(8), 5))
    torch.save({"features": torch.from_numpy(features)}, folder / "features.pth")


def _write_photographs(folder: Path) -> None:
    """Write a photograph in each format, and their index."""
    random = np.random.default_rng(0)
    (folder / "photographs").mkdir()
    for number, suffix in enumerate(_FORMATS):
        pixels = random.integers(0, 255, (32, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photographs" / f"{number}.{suffix}")
    search.main(["index", str(folder / "photographs"), "--index", str(folder / "index")])


def _write_run(folder: Path) -> None:
    """Write a short run that was tested, and its export."""
    arguments = quick_run(folder / "data", folder / "captions", folder / "run", *_SHORT)
    train.main(arguments)
    test_script.main(arguments)
    export.main([str(folder / "run"), str(folder / "exported")])


def _generate(folder: Path, captions: Path) -> list[str]:
    return ["--config", CONFIG, "--set", f"data.root={folder / 'data'}", f"captions.dir={captions}"] + [
        "captioner.backend=palette",
        "captioner.rewriter=rules",
    ]


def _check(folder: Path) -> int:
    # Whatever is wrong with the data is reported with status 1.
    return check_data.main(
        ["--config", CONFIG, "--set", f"data.root={folder / 'data'}", f"captions.dir={folder / 'captions'}"]
    )


def _describe(folder: Path) -> int | None:
    return gen_train_data.main(_generate(folder, folder / "new"))


def _rewrite(folder: Path) -> int | None:
    return gen_test_data.main(_generate(folder, folder / "new"))


def _config(folder: Path) -> int:
    return check_data.main(["--config", str(folder / "config.yaml")])


def _cluster(folder: Path) -> int:
    for file in sorted(folder.glob("features.*")):
        clustering.main([str(file), "--k1", "4", "--out", str(folder / "labels.npy")])
    return 0


def _resume(folder: Path) -> int:
    return train.main(quick_run(folder / "data", folder / "captions", folder / "run", *_SHORT))


def _test(folder: Path) -> int:
    return test_script.main(
        [str(folder / "run"), "--set", f"data.root={folder / 'data'}", f"captions.dir={folder / 'captions'}"]
    )


def _export(folder: Path) -> int:
    export.main([str(folder / "run"), str(folder / "again")])
    return 0


def _exported(folder: Path) -> int:
    weights = folder / "exported" / "model.safetensors"
    arguments = quick_run(folder / "data", folder / "captions", folder / "tested")
    return test_script.main(["--checkpoint", str(weights), *arguments])


def _index(folder: Path) -> int:
    shutil.rmtree(folder / "index")
    return search.main(["index", str(folder / "photographs"), "--index", str(folder / "index")])


def _query(folder: Path) -> int:
    return search.main(["query", "a woman in a red coat", "--index", str(folder / "index"), "--rerank", "2"])


_DATA = ("data", "captions")
_RUN = (*_DATA, "run")
TARGETS = (
    Target("data set", ("data/*.json", "data/imgs/*/*"), _check, (), _DATA),
    Target("captions", ("captions/*.json",), _check, (), _DATA),
    Target("describe", ("data/*.json", "data/imgs/train/*"), _describe, ("new",), _DATA),
    Target("rewrite", ("data/*.json", "new/*"), _rewrite, ("new",), (*_DATA, "new")),
    Target("config", ("config.yaml",), _config, (), ("config.yaml",)),
    Target("features", ("features.*",), _cluster, ("labels.npy",), ("features.npy", "features.npz", "features.pth")),
    Target("export", ("run/best.pth", "run/vocab.txt", "run/config.yaml"), _export, ("again",), _RUN),
    Target("exported", ("exported/*",), _exported, ("tested",), (*_DATA, "exported")),
    Target("resume", ("run/*.pth", "run/*.json*", "run/*.npz", "run/vocab.txt"), _resume, ("run",), _RUN),
    Target("test", ("run/*", "captions/*", "data/*.json"), _test, ("run",), _RUN),
    Target("photographs", ("photographs/*",), _index, ("index",), ("photographs", "index")),
    Target("query", ("index/*",), _query, (), ("photographs", "index")),
)
