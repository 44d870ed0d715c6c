"""What is learned: from known identities, further captions, with a frozen text encoder; and what is clustered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertTokenizer

import train
from data.pairs import load_training_pairs
from data.readers import READERS, of_split
from models.options import ModelOptions
from models.tokenizer import load_tokenizer
from models.tsn import TSN, build_model
from tests.pictures import picture
from tests.small import Small, quick_run
from tests.test_train import events, weights
from training.pseudo_labels import fused_features
from training.schedule import derived_seed
from utils.errors import UserError


def test_identities_that_are_known_can_be_trained_on_without_rounds(small: Small, tmp_path: Path) -> None:
    """With all losses, as the shipped weights were trained; a data set without identities is refused."""
    options = ("train.rounds=0", "train.pretrain_labels=identity", "eval.select=last")
    train.main(quick_run(*small, tmp_path / "run", *options))
    (epoch,) = (event for event in events(tmp_path / "run") if event["event"] == "epoch")
    assert {"itm", "image_image", "text_text"} <= epoch.keys()
    assert weights(tmp_path / "run" / "best.pth")["classifier.weight"].shape[0] == 10  # people
    (tmp_path / "custom" / "train").mkdir(parents=True)
    for number in range(4):
        picture(tmp_path / "custom" / "train" / f"{number}.png", (number * 40, 0, 0))
    entries = [
        {"id": -1, "image_path": f"train/{n}.png", "captions": [], "generated_text": f"red {n}"} for n in range(4)
    ]
    (tmp_path / "custom_qwen_gen_captions.json").write_text(json.dumps(entries))
    unknown = quick_run(tmp_path / "custom", tmp_path, tmp_path / "no", "data.name=custom", *options)
    with pytest.raises(UserError, match=r"train\.pretrain_labels=identity: the identities .* are unknown"):
        train.main(unknown)


def test_further_captions_change_what_is_learned(small: Small, tmp_path: Path) -> None:
    """They are part of a run's identity; a folder without them is refused."""
    others = tmp_path / "others"
    others.mkdir()
    file = "cuhk_qwen_gen_captions.json"
    (others / file).write_text((small[1] / file).read_text().replace("red top", "dark red top"))
    once = ("train.rounds=1", "train.epochs=1")
    for run, more in (("with", (f"captions.others=[{others}]",)), ("without", ())):
        train.main(quick_run(*small, tmp_path / run, *once, *more))
    learned = [weights(tmp_path / run / "last.pth")["text_proj.weight"] for run in ("with", "without")]
    assert not torch.equal(*learned)
    with pytest.raises(UserError, match="the training pairs"):
        train.main(quick_run(*small, tmp_path / "with", *once))
    with pytest.raises(UserError, match=r"nowhere/cuhk_qwen_gen_captions\.json is missing"):
        train.main(quick_run(*small, tmp_path / "other", "captions.others=[nowhere]"))


def initial(run: Path, init: str | None) -> tuple[TSN, BertTokenizer]:
    """The model that a small run with seed 42 starts from, and the tokenizer of the run."""
    options: dict[str, Any] = {"preset": "tiny", "init": init, "vocab": None, "image_size": [32, 16], "dropout": 0.0}
    model = ModelOptions(**options | {"fuse_padding": False, "checkpointed_blocks": 0, "offload": False})
    tokenizer = load_tokenizer(run / "vocab.txt")
    return build_model(tokenizer, model, seed=derived_seed(42), negatives="sampled", precision="fp32"), tokenizer


@pytest.mark.parametrize("processes", [1, 2])
def test_a_frozen_text_encoder_still_learns_to_match(small: Small, tmp_path: Path, processes: int) -> None:
    """Texts are embedded as before training, images are not; the cross-attention of the matching encoder is trained."""
    run = tmp_path / "run"
    once = ("train.rounds=1", "train.epochs=1", "train.pretrain_epochs=0", f"run.processes={processes}")
    frozen = ("model.init=drawn", "train.freeze_text=true", "train.text_text=0")
    assert train.main(quick_run(*small, run, *once, *frozen)) == 0
    before, after = initial(run, "drawn")[0].state_dict(), weights(run / "last.pth")
    shared = [name for name in before if not name.startswith("classifier.")]
    changed = {name for name in shared if not torch.equal(before[name], after[name])}
    texts = {name for name in shared if name.startswith(("text_encoder.", "text_proj."))}
    # The bias of keys adds the same to all logits of a softmax, so it has no gradient.
    assert changed >= {name for name in texts if ".crossattention." in name and "key.bias" not in name}
    assert not {name for name in texts & changed if ".crossattention." not in name}
    assert {"vision_proj.weight", "cross_proj.weight", "itm_head.weight"} <= changed


def test_clustered_features_are_similar_by_the_weighted_mean_of_two_cosines(small: Small, uninterrupted: Path) -> None:
    """Of fused features and of image embeddings; at 0 they are the published ones, which are not normalized."""
    model, tokenizer = initial(uninterrupted, None)
    records = of_split(READERS["cuhk_pedes"](small[0]), "train", source="small")[::5]
    pairs = load_training_pairs(records, small[1] / "cuhk_qwen_gen_captions.json")

    def cosines(weight: float) -> NDArray[np.float64]:
        rows = fused_features(model, tokenizer, pairs, image_weight=weight, batch_size=3).astype(np.float64)
        assert rows.shape == (8, 512 if weight else 256)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows @ rows.T

    assert np.allclose(cosines(0.3), 0.7 * cosines(0.0) + 0.3 * cosines(1.0), atol=2e-3)


def test_random_weights_are_not_frozen(small: Small, tmp_path: Path) -> None:
    """As by `--set model.init=null` alone: the preset freezes the text encoder of its initial weights."""
    with pytest.raises(UserError, match=r"train\.freeze_text .*model\.init"):
        train.main(quick_run(*small, tmp_path, "train.freeze_text=true", "train.text_text=0"))
