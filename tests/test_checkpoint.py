"""Weights from disk: missing and unknown parameters are named, code is never run, damaged files are one-line errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoint import read_checkpoint, read_model
from models.options import PRESETS, ModelOptions, Sizes
from models.tokenizer import load_tokenizer, tokenize
from models.tsn import TSN, build_model
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


def assert_refused(file: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        TSN.from_checkpoint(file, TOKENIZER)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("text_proj.bias"), r"lacks text_proj\.bias"),
        (lambda w: w.pop("visual_encoder.blocks.1.mlp.fc2.weight"), r"lacks visual_encoder\.blocks\.1\.mlp\.fc2"),
        (lambda w: w.update({"surprise.weight": torch.zeros(1)}), r"unknown surprise\.weight"),
        (lambda w: w.update({"text_proj.bias": torch.zeros(3)}), r"shapes for text_proj\.bias"),
        (
            lambda w: w.pop("visual_encoder.patch_embed.proj.weight"),
            r"another model: it has no visual_encoder\.patch_embed",
        ),
        (lambda w: w.update({"text_proj.bias": [1.0]}), r"damaged: text_proj\.bias"),
        (lambda w: w.update({"text_proj.bias": torch.full((256,), torch.nan)}), r"damaged: text_proj\.bias"),
        (lambda w: w.update({"text_proj.bias": torch.zeros(256).to_sparse()}), r"damaged: text_proj\.bias"),
        (
            lambda w: [w.pop(name) for name in [*w] if ".blocks." in name],
            r"another model: it has no blocks",
        ),
        (lambda w: w.pop("vision_proj.weight"), r"lacks vision_proj\.weight"),
        (lambda w: w.update({"visual_encoder.pos_embed": torch.zeros(1, 8, 128)}), "7 patches"),
    ],
)
def test_wrong_parameters_are_named(
    content: dict[str, Any], tmp_path: Path, change: Callable[[Weights], object], message: str
) -> None:
    """Missing, unknown and misshapen parameters raise an error: none silently stays random."""
    weights = dict(content["model"])
    change(weights)
    assert_refused(saved(tmp_path / "odd.pth", weights), message)


def test_a_long_list_of_names_is_truncated(content: dict[str, Any], tmp_path: Path) -> None:
    """Eight names and a count, on one line."""
    weights = content["model"] | {f"new.{number}": torch.zeros(1) for number in range(11)}
    assert_refused(saved(tmp_path / "odd.pth", weights), r"unknown new\.0, .* and 3 more")


def test_known_entries_of_blip_without_a_parameter_are_ignored(content: dict[str, Any], tmp_path: Path) -> None:
    """Momentum copies, queues, decoder, temperature; the fusion encoder and the classifier may be missing."""
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


def test_the_image_encoder_may_be_wider_than_the_text_encoder(tmp_path: Path) -> None:
    """As in BLIP-large; position embeddings are resampled for another image size."""
    sizes = Sizes((64, 64), 16, 192, 2, 128, 1, 96, vocabulary=len(TOKENIZER), positions=80)
    model = TSN(sizes, enc_token=228)
    left_out = ("image_cross_model", "cross_proj", "classifier", "text_encoder.embeddings.token_type")
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith(left_out)}
    weights |= {"text_decoder.bert.x": torch.zeros(1), "temp": torch.zeros(1)}
    again = TSN.from_checkpoint(saved(tmp_path / "model_large.pth", weights), TOKENIZER, image_size=(96, 48)).eval()
    assert (again.sizes.vision_width, again.sizes.text_width, again.sizes.image) == (192, 128, (96, 48))
    tokens, _ = again.encode_image(torch.zeros(2, 3, 96, 48))
    ids, mask = tokenize(TOKENIZER, ["a man", "a woman in red"])
    assert again.match(tokens, ids, mask).isfinite().all()
    assert again.fuse(tokens, again.encode_text(ids, mask)[0], mask).shape == (2, 256)


def test_a_bare_state_dict_is_a_checkpoint(content: dict[str, Any], tmp_path: Path) -> None:
    """Without the surrounding {"model": ...}."""
    torch.save(content["model"], tmp_path / "plain.pth")
    sizes, _ = read_model(tmp_path / "plain.pth")
    assert sizes == Sizes((64, 64), 16, 128, 2, 128, 2, 256, vocabulary=229)


def test_our_own_checkpoint_round_trips(tmp_path: Path) -> None:
    """Of a model whose images are not square: all weights and the image size."""
    sizes = Sizes((64, 32), 16, 64, 1, 64, 1, 96, vocabulary=len(TOKENIZER), positions=80)
    model = TSN(sizes, enc_token=228, classes=5)
    torch.save({"model": model.state_dict(), "sizes": sizes.to_dict()}, tmp_path / "own.pth")
    again = TSN.from_checkpoint(tmp_path / "own.pth", TOKENIZER)
    assert again.sizes == sizes
    assert model.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_vocabulary_of_another_size_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    """Its ids would be other words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{number}" for number in range(95))]
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    file = saved(tmp_path / "c.pth", content["model"])
    with pytest.raises(UserError, match=r"229 .* 102 .*model\.vocab"):
        TSN.from_checkpoint(file, load_tokenizer(tmp_path / "vocab.txt"))


class Exploit:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    """In either of PyTorch's formats: one line, and nothing was run."""
    torch.save({"model": Exploit(tmp_path / "done")}, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    assert_refused(tmp_path / "evil.pth", "refused: .*pickled")
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("kept", [0, 1, 10, 1000, 100_000, 2_000_000])
def test_a_truncated_release_is_a_one_line_error(tmp_path: Path, kept: int) -> None:
    """Wherever the download ended."""
    content = write_published_checkpoint(tmp_path / "complete.pth").read_bytes()
    (tmp_path / "short.pth").write_bytes(content[:kept])
    assert_refused(tmp_path / "short.pth", "download it again")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_a_one_line_error(tmp_path: Path, zipped: bool) -> None:
    """Both of PyTorch's formats, cut at a fifth, a half and before the end."""
    torch.save({"model": {"x": torch.rand(1000)}}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "w.pth").read_bytes()
    for kept in (len(content) // 5, len(content) // 2, len(content) - 30):
        (tmp_path / "short.pth").write_bytes(content[:kept])
        assert_refused(tmp_path / "short.pth", "download it again")


def test_a_file_that_is_not_a_checkpoint_is_a_one_line_error(tmp_path: Path) -> None:
    """A web page, a list, nothing, a folder."""
    (tmp_path / "page.pth").write_text("<html>Not found</html>\n")
    assert_refused(tmp_path / "page.pth", "download it again")
    torch.save([1, 2], tmp_path / "list.pth")
    assert_refused(tmp_path / "list.pth", "state dict")
    torch.save({"model": 3}, tmp_path / "number.pth")
    assert_refused(tmp_path / "number.pth", "another model")
    assert_refused(tmp_path / "gone.pth", "is missing")
    assert_refused(tmp_path, "is a folder")


def built(seed: int = 0, **changes: Any) -> TSN:
    """Build a model of the tiny preset, or of changed options."""
    values = {"preset": "tiny", "init": None, "vocab": None, "image_size": None, "dropout": 0.1, "offload": False}
    model = ModelOptions(**values | {"fuse_padding": False, "checkpointed_blocks": 0} | changes)
    return build_model(TOKENIZER, model, seed=seed, negatives="hardest", precision="fp32")


def test_initial_weights_must_fit_the_preset(tmp_path: Path) -> None:
    """The error for missing weights says where to get them; weights of other sizes and odd image sizes are refused."""
    file = write_published_checkpoint(tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"model\.init: .*gone\.pth is missing: download BLIP's weights"):
        built(preset="base", init=str(tmp_path / "gone.pth"))
    with pytest.raises(UserError, match=r"model\.init: .*c\.pth .*model\.preset=tiny"):
        built(init=str(file))
    with pytest.raises(UserError, match=r"model\.image_size=\[100, 48\] .*8"):
        built(image_size=[100, 48])


def test_random_weights_depend_on_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed, the same weights."""
    small = Sizes((32, 16), 16, 64, 1, 64, 1, 64, positions=80)
    monkeypatch.setitem(PRESETS, "tiny", small)
    one, same, other = (built(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["vision_proj.weight"], other["vision_proj.weight"])


def test_a_model_with_a_convolutional_stem_is_read_without_its_sizes(tmp_path: Path) -> None:
    """Sizes follow from the names and shapes of the weights, except for an image size that is not square."""
    model = built(seed=3)
    torch.save({"model": model.state_dict(), "sizes": model.sizes.to_dict()}, tmp_path / "c.pth")
    again = TSN.from_checkpoint(tmp_path / "c.pth", TOKENIZER)
    assert again.sizes == model.sizes == replace(PRESETS["tiny"], vocabulary=len(TOKENIZER))
    pixels = torch.rand(2, 3, 96, 48)
    tokens, embedding = model.eval().encode_image(pixels)
    assert tokens.shape == (2, 1 + 12 * 6, 128)
    assert torch.equal(embedding, again.eval().encode_image(pixels)[1])


def test_the_shipped_weights_load_into_the_tiny_preset() -> None:
    """With the vocabulary next to them, at another image size too; without a classifier."""
    options: dict[str, Any] = {"preset": "tiny", "init": "drawn", "vocab": None, "image_size": [64, 32], "dropout": 0.0}
    model = ModelOptions(**options | {"offload": False, "fuse_padding": False, "checkpointed_blocks": 0})
    assert model.vocabulary is not None
    tokenizer = load_tokenizer(model.vocabulary)
    built = build_model(tokenizer, model, seed=0, negatives="sampled", precision="fp32")
    assert built.sizes == replace(PRESETS["tiny"], image=(64, 32), vocabulary=len(tokenizer))
    assert len(built.classifier.weight) == 0
    texts = ["a woman in a red top", "The female is wearing a red top.", "a man in black trousers"]
    with torch.inference_mode():
        query, same, other = built.eval().encode_text(*tokenize(tokenizer, texts))[1]
    assert query @ same > query @ other + 0.1


@pytest.mark.parametrize("key", ["model", "state_dict", "net", "model_state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_found_under_other_names(
    content: dict[str, Any], tmp_path: Path, key: str | None, prefix: str
) -> None:
    """As other training code saves them."""
    weights = {prefix + name: value for name, value in content["model"].items()}
    torch.save({key: weights} if key else weights, tmp_path / "c.pth")
    found = read_model(tmp_path / "c.pth")[1]
    assert torch.equal(found["vision_proj.weight"], content["model"]["vision_proj.weight"])


@pytest.mark.parametrize("sizes", [[224, 224], {"image": "large"}, {"image": [224]}, {"image": [10**9, 10**9]}, {}, 7])
def test_damaged_sizes_are_an_error(content: dict[str, Any], tmp_path: Path, sizes: Any) -> None:
    """Only a missing entry is none."""
    torch.save({"model": content["model"], "sizes": sizes}, tmp_path / "c.pth")
    if not sizes:
        read_model(tmp_path / "c.pth")
        return
    with pytest.raises(UserError, match=r"c\.pth is damaged"):
        read_model(tmp_path / "c.pth")


def test_a_foreign_file_is_described(tmp_path: Path) -> None:
    """By the names that it has, whatever their type."""
    torch.save({1: torch.zeros(2), "backbone.conv1": torch.zeros(2)}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"backbone\.conv1"):
        read_model(tmp_path / "c.pth")
