"""Weights from disk: what a file lacks or has too much is named, code is never run, damage is one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.build import build_model
from models.checkpoint import read_checkpoint, read_model
from models.sizes import PRESETS, Sizes
from models.tokenizer import load_tokenizer, tokenize
from models.tsn import TSN
from tests.fixtures import FOLDER, write_published_checkpoint
from utils.errors import UserError

Weights = dict[str, Tensor]
TOKENIZER = load_tokenizer(FOLDER / "vocab.txt")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read_checkpoint(write_published_checkpoint(tmp_path_factory.mktemp("c") / "checkpoint_best.pth"))


def saved(path: Path, weights: Weights) -> Path:
    torch.save({"model": weights}, path)
    return path


def refused(file: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        TSN.from_checkpoint(file, TOKENIZER)
    assert str(file) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("text_proj.bias"), r"lacks text_proj\.bias"),
        (lambda w: w.pop("visual_encoder.blocks.1.mlp.fc2.weight"), r"lacks visual_encoder\.blocks\.1\.mlp\.fc2"),
        (lambda w: w.update({"surprise.weight": torch.zeros(1)}), r"holds unknown surprise\.weight"),
        (lambda w: w.update({"text_proj.bias": torch.zeros(3)}), r"has other shapes of text_proj\.bias"),
        (lambda w: w.pop("visual_encoder.patch_embed.proj.weight"), r"is of another model: it has no visual_encoder"),
        (lambda w: w.pop("vision_proj.weight"), r"lacks vision_proj\.weight"),
        (lambda w: w.update({"visual_encoder.pos_embed": torch.zeros(1, 8, 128)}), "7 patches, which is no square"),
    ],
)
def test_weights_of_another_model_are_named(
    content: dict[str, Any], tmp_path: Path, change: Callable[[Weights], object], message: str
) -> None:
    """What is missing, unknown or of another shape is an error that names it: nothing stays random in silence."""
    weights = dict(content["model"])
    change(weights)
    refused(saved(tmp_path / "odd.pth", weights), message)


def test_many_wrong_names_are_cut_short(content: dict[str, Any], tmp_path: Path) -> None:
    """Eight names and a count, on one line."""
    weights = content["model"] | {f"new.{number}": torch.zeros(1) for number in range(11)}
    refused(saved(tmp_path / "odd.pth", weights), r"holds unknown new\.0, .* and 3 more: it is of another model")


def test_what_blips_files_hold_beside_the_model_is_left_out(content: dict[str, Any], tmp_path: Path) -> None:
    """Momentum copies, queues, decoder and temperature go; the fusion encoder and the classifier may be missing."""
    weights = {
        name: value
        for name, value in content["model"].items()
        if not name.startswith(("image_cross_model", "cross_proj", "classifier"))
    }
    extra = ("visual_encoder_m.norm.weight", "text_encoder_m.x", "text_decoder.bert.x", "image_queue", "temp")
    weights |= {name: torch.zeros(1) for name in (*extra, "text_queue", "ptr_queue", "idx_queue", "vision_proj_m.bias")}
    model = TSN.from_checkpoint(saved(tmp_path / "blip.pth", weights), TOKENIZER)
    assert torch.equal(model.text_proj.weight, weights["text_proj.weight"])
    assert model.classifier.out_features == 0
    assert not set(model.state_dict()) & {*extra}


def test_blips_large_file_has_an_image_encoder_wider_than_its_text(tmp_path: Path) -> None:
    """Its cross-attention reads tokens of another width, and positions for another image size are resampled."""
    sizes = Sizes((64, 64), 16, 192, 2, 128, 1, 96, vocabulary=len(TOKENIZER), positions=80)
    model = TSN(sizes, enc_token=228)
    left_out = ("image_cross_model", "cross_proj", "classifier", "text_encoder.embeddings.token_type")
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith(left_out)}
    weights |= {"text_decoder.bert.x": torch.zeros(1), "temp": torch.zeros(1)}
    again = TSN.from_checkpoint(saved(tmp_path / "model_large.pth", weights), TOKENIZER, image=(96, 48)).eval()
    assert (again.sizes.vision_width, again.sizes.text_width, again.sizes.image) == (192, 128, (96, 48))
    tokens, _ = again.encode_image(torch.zeros(2, 3, 96, 48))
    ids, mask = tokenize(TOKENIZER, ["a man", "a woman in red"])
    assert again.match(tokens, ids, mask).isfinite().all()
    assert again.fuse(tokens, again.encode_text(ids, mask)[0], mask).shape == (2, 256)


def test_a_state_dict_alone_is_a_checkpoint_too(content: dict[str, Any], tmp_path: Path) -> None:
    """Without the surrounding {"model": ...}."""
    torch.save(content["model"], tmp_path / "plain.pth")
    sizes, _ = read_model(tmp_path / "plain.pth")
    assert sizes == Sizes((64, 64), 16, 128, 2, 128, 2, 256, vocabulary=229)


def test_our_own_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    """A model that is not square, saved with its sizes: every weight returns, the image size too."""
    sizes = Sizes((64, 32), 16, 64, 1, 64, 1, 96, vocabulary=len(TOKENIZER), positions=80)
    model = TSN(sizes, enc_token=228, classes=5)
    torch.save({"model": model.state_dict(), "sizes": sizes.to_dict()}, tmp_path / "own.pth")
    again = TSN.from_checkpoint(tmp_path / "own.pth", TOKENIZER)
    assert again.sizes == sizes
    assert model.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_vocabulary_of_another_size_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    """Ids of another vocabulary would be other words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(95))]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    file = saved(tmp_path / "c.pth", content["model"])
    with pytest.raises(UserError, match=r"vocabulary of 229 ids, the tokenizer has 102 .*: set model\.vocab"):
        TSN.from_checkpoint(file, load_tokenizer(tmp_path / "vocab.txt"))


class Harm:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    """In either of PyTorch's formats: one line, and nothing was run."""
    torch.save({"model": Harm(tmp_path / "done")}, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "evil.pth", "is refused: it holds pickled Python objects")
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("kept", [0, 1, 10, 1000, 100_000, 2_000_000])
def test_a_file_cut_short_is_one_line(tmp_path: Path, kept: int) -> None:
    """Whatever the length at which the download ended."""
    whole = write_published_checkpoint(tmp_path / "whole.pth").read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[:kept])
    refused(tmp_path / "short.pth", "fetch it again")


@pytest.mark.parametrize("zipped", [True, False])
def test_our_format_cut_short_is_one_line(tmp_path: Path, zipped: bool) -> None:
    """Both of PyTorch's formats, cut at a fifth, a half and before the end."""
    torch.save({"model": {"x": torch.rand(1000)}}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "w.pth").read_bytes()
    for kept in (len(whole) // 5, len(whole) // 2, len(whole) - 30):
        (tmp_path / "short.pth").write_bytes(whole[:kept])
        refused(tmp_path / "short.pth", "fetch it again")


def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    """A web page, a list, nothing, a folder."""
    (tmp_path / "page.pth").write_text("<html>Not found</html>\n")
    refused(tmp_path / "page.pth", "fetch it again")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "holds no state dict")
    torch.save({"model": 3}, tmp_path / "number.pth")
    refused(tmp_path / "number.pth", "is of another model")
    refused(tmp_path / "gone.pth", "is missing")
    refused(tmp_path, "is a folder, not a file")


def test_initial_weights_must_fit_the_preset(tmp_path: Path) -> None:
    """Missing weights say where to get them; weights of another size and odd image sizes are refused."""
    file = write_published_checkpoint(tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"model\.init: .*gone\.pth is missing: download BLIP's weights"):
        build_model(TOKENIZER, preset="base", init=tmp_path / "gone.pth", image=None, seed=0)
    with pytest.raises(UserError, match=r"is not of model\.preset=tiny"):
        build_model(TOKENIZER, preset="tiny", init=file, image=None, seed=0)
    with pytest.raises(UserError, match=r"model\.image_size=\[100, 48\] is no multiple of the patch, 16"):
        build_model(TOKENIZER, preset="tiny", init=None, image=(100, 48), seed=0)


def test_a_model_from_nothing_depends_on_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed, the same weights."""
    small = Sizes((32, 16), 16, 64, 1, 64, 1, 64, positions=80)
    monkeypatch.setitem(PRESETS, "tiny", small)
    one, same, other = (
        build_model(TOKENIZER, preset="tiny", init=None, image=None, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["vision_proj.weight"], other["vision_proj.weight"])
