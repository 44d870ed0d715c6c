"""A released checkpoint on data in the released formats: test.py prints what the published formulas give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import test as test_script
from configs.load import load_config
from data.images import open_image
from data.transforms import normalize
from data.transforms import test_transform as plain_transform
from models.tokenizer import load_tokenizer, tokenize
from models.tsn import TSN
from tests.fixtures import FOLDER, values, write_published_checkpoint

PEOPLE = (7, 7, 3, 3, 9, 12)
K = 3


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`checkpoint_best.pth`, `data/` in CUHK-PEDES's layout and `texts/` with the prefix of their author's disk."""
    root = tmp_path_factory.mktemp("released")
    write_published_checkpoint(root / "checkpoint_best.pth")
    known, random = values("expected"), np.random.default_rng(5)
    annotated, texts = [], []
    for number, person in enumerate(PEOPLE):
        name = f"cam_a/{number}.png"
        (root / "data" / "imgs" / "cam_a").mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (40, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "data" / "imgs" / name)
        queries = [known["captions"][number], known["captions"][number + 6]]
        rewrites = [known["normalised_queries"][number], known["normalised_queries"][number + 6]]
        if number == 1:
            rewrites = rewrites[:1]  # one rewrite where there are two queries, as released
        if number == 2:
            rewrites[0] = "null"
        entry = {"split": "test", "id": person, "captions": queries}
        annotated.append(entry | {"file_path": name})
        where = f"/home/author/CUHK-PEDES/imgs/{name}"
        seen = known["captions"][11 - number]
        texts.append(entry | {"image_path": where, "img_gen_text": seen, "generated_text": rewrites})
    (root / "data" / "reid_raw.json").write_text(json.dumps(annotated))
    (root / "texts").mkdir()
    (root / "texts" / "cuhk_test_qwen_gen_captions.json").write_text(json.dumps(texts))
    return root


def brute_force(root: Path, weight: float, *, msm: bool, itm: bool) -> dict[str, float]:
    """The published formulas, one query and one image at a time."""
    tokenizer = load_tokenizer(FOLDER / "vocab.txt")
    model = TSN.from_checkpoint(root / "checkpoint_best.pth", tokenizer).eval()

    def text(sentence: str) -> np.ndarray:
        return model.encode_text(*tokenize(tokenizer, [sentence], pad_to=73))[1][0].double().numpy()

    entries = json.loads((root / "texts" / "cuhk_test_qwen_gen_captions.json").read_text())
    hits: dict[str, list[float]] = {name: [] for name in ("R1", "R5", "R10", "mAP", "mINP")}
    with torch.inference_mode():
        files = [root / "data" / "imgs" / entry["image_path"].split("imgs/")[1] for entry in entries]
        views = [normalize(plain_transform(model.sizes.image)(open_image(file)))[None] for file in files]
        images = [model.encode_image(view) for view in views]
        for entry in entries:
            for number, query in enumerate(entry["captions"]):
                rewrites = [rewrite for rewrite in entry["generated_text"][number : number + 1] if rewrite != "null"]
                scores = []
                for (_, embed), other in zip(images, entries, strict=True):
                    score = float(text(query) @ embed[0].double().numpy())
                    if msm and rewrites:
                        same = float(text(rewrites[0]) @ text(other["img_gen_text"]))
                        score = weight * same + (1 - weight) * score
                    scores.append(score)
                if itm:
                    best = sorted(range(len(scores)), key=lambda place: -scores[place])[:K]
                    ids, mask = tokenize(tokenizer, [query], pad_to=73)
                    logits = {place: float(model.match(images[place][0], ids, mask)[0]) for place in best}
                    scores = [score + logits.get(place, -100) for place, score in enumerate(scores)]
                order = sorted(range(len(scores)), key=lambda place: -scores[place])
                right = [PEOPLE[place] == entry["id"] for place in order]
                ranks = [rank for rank, is_right in enumerate(right, start=1) if is_right]
                for k in (1, 5, 10):
                    hits[f"R{k}"].append(float(any(right[:k])))
                hits["mAP"].append(sum((found + 1) / rank for found, rank in enumerate(ranks)) / len(ranks))
                hits["mINP"].append(len(ranks) / ranks[-1])
    return {name: 100 * sum(found) / len(found) for name, found in hits.items()}


@pytest.mark.parametrize("weight", [0.05, 0.6])
def test_the_figures_of_a_released_checkpoint_are_the_formulas(released: Path, tmp_path: Path, weight: float) -> None:
    """In one command; both weights, each part on and off."""
    settings = (
        *(f"data.root={released / 'data'}", f"captions.dir={released / 'texts'}", f"run.dir={tmp_path}"),
        *(f"model.vocab={FOLDER / 'vocab.txt'}", f"eval.msm_weight={weight}", f"eval.k_test={K}", "train.workers=0"),
    )
    checkpoint = str(released / "checkpoint_best.pth")
    test_script.main(["--checkpoint", checkpoint, "--config", "configs/cuhk_pedes.yaml", "--set", *settings])
    written: dict[str, Any] = json.loads((tmp_path / "metrics.json").read_text())
    assert written["queries_without_rewrite"] == 2
    assert len(written["ablation"]) == 4
    for row in written["ablation"]:
        expected = brute_force(released, weight, msm=row["msm"], itm=row["itm"])
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["cuhk", "icfg", "rstp"])
def test_the_settings_of_the_release(name: str) -> None:
    """As in the published scripts, even if the defaults in base.yaml change."""
    config = load_config(Path(f"configs/published/{name}.yaml"))
    train, cluster, choice = config.train, config.cluster, config.eval
    assert (train.rounds, train.epochs, train.batch_size, train.lr, train.weight_decay) == (5, 30, 36, 1e-5, 0.05)
    assert (train.reinit_each_round, train.pretrain_epochs, train.negatives, train.augment) == (
        True,
        0,
        "hardest",
        "published",
    )
    assert (cluster.metric, cluster.eps, cluster.freeze_eps, cluster.min_samples) == ("rows", "auto", True, 4)
    assert (cluster.k1, cluster.k2, cluster.source_weight) == (20, 6, 0.1)
    assert cluster.source_name == ("icfg_pedes" if name == "cuhk" else "cuhk_pedes")
    assert cluster.source_root == ("datasets/ICFG-PEDES" if name == "cuhk" else "datasets/CUHK-PEDES")
    assert config.model.fuse_padding
    assert (choice.select, choice.select_weight, choice.select_k, choice.msm_weight) == ("test", 0.05, 16, 0.05)
