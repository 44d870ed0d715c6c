"""A data set of a few people in two colors each, with captions, in CUHK-PEDES's layout: training takes a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

Small = tuple[Path, Path]
"""The data set's folder, and that of its caption files."""

COLORS = {
    "black": (20, 20, 22),
    "white": (235, 235, 230),
    "red": (190, 30, 35),
    "green": (40, 140, 60),
    "blue": (40, 60, 180),
    "yellow": (230, 210, 60),
}
PEOPLE = [(upper, lower) for upper in COLORS for lower in ("black", "blue", "white")]

# Overrides that make a run of a second or two of the tiny preset.
QUICK = (
    "model.preset=tiny",
    "model.init=null",
    "model.image_size=[32,16]",
    "train.rounds=2",
    "train.epochs=2",
    "train.pretrain_epochs=1",
    "train.batch_size=8",
    "train.images_per_identity=2",
    "train.augment=light",
    "train.freeze_text=false",
    "train.image_image=1.0",
    "train.text_text=1.0",
    "cluster.image_weight=0.8",
    "train.lr=5.0e-4",
    "train.warmup_steps=0",
    "train.log_every=1",
    "cluster.k1=4",
    "cluster.k2=2",
    "cluster.min_samples=2",
    "cluster.eps=0.6",
    "eval.msm_weight=0.7",
    "eval.k_test=2",
    "run.device=cpu",
)


def write_small_data(root: Path, captions: Path, *, images: int = 4) -> tuple[Path, Path]:
    """Write 10 training, 4 validation and 4 test people to `root`, and their caption files to `captions`."""
    random = np.random.default_rng(0)
    entries, train, test = [], [], []
    for person, (upper, lower) in enumerate(PEOPLE):
        split = "train" if person < 10 else "val" if person < 14 else "test"
        for number in range(images):
            name = f"{split}/{person:03d}_{number}.png"
            picture = np.empty((32, 16, 3))
            picture[:16], picture[16:] = COLORS[upper], COLORS[lower]
            picture = np.clip(picture + random.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)
            file = root / "imgs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)
            text = f"The person is wearing a {upper} top with {lower} trousers."
            queries = [f"Somebody in {lower} slacks and a {upper} shirt.", f"A {upper} top, {lower} pants."]
            entries.append({"split": split, "id": person, "file_path": name, "captions": queries})
            entry = {"id": person, "image_path": name, "captions": queries}
            train += [entry | {"generated_text": text}] * (split == "train")
            test += [entry | {"split": split, "img_gen_text": text, "generated_text": [text, text]}] * (split == "test")
    captions.mkdir(parents=True, exist_ok=True)
    (root / "reid_raw.json").write_text(json.dumps(entries))
    (captions / "cuhk_qwen_gen_captions.json").write_text(json.dumps(train))
    (captions / "cuhk_test_qwen_gen_captions.json").write_text(json.dumps(test))
    return root, captions


def quick_run(root: Path, captions: Path, run: Path, *more: str) -> list[str]:
    """Arguments of train.py and test.py for a quick run on small data."""
    return [
        *("--config", "configs/cuhk_pedes.yaml", "--set"),
        *(f"data.root={root}", f"captions.dir={captions}", f"run.dir={run}", *QUICK, *more),
    ]
