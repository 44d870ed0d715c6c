"""The published numbers, from the published checkpoint: encoders, fusion, matching, losses and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.tokenizer import enc_token_id, load_tokenizer, tokenize
from models.tsn import TSN, TSNOptions
from retrieval.scoring import fused_similarity
from tests.fixtures import FOLDER, arrays, values, write_published_checkpoint

CLOSE = 1e-5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TSN:
    file = write_published_checkpoint(tmp_path_factory.mktemp("published") / "checkpoint_best.pth")
    return TSN.from_checkpoint(file, load_tokenizer(FOLDER / "vocab.txt"), options=TSNOptions(fuse_padding=True)).eval()


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays("expected").items()}


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max())


def test_captions_become_the_published_ids(stored: dict[str, Tensor]) -> None:
    """Cleaned, cut into word pieces and padded to 73 as published; `[ENC]` has the published id."""
    tokenizer, expected = load_tokenizer(FOLDER / "vocab.txt"), values("expected")
    ids, mask = tokenize(tokenizer, expected["captions"], pad_to=73)
    assert torch.equal(ids, stored["input_ids"])
    assert torch.equal(mask, stored["attention_mask"])
    assert enc_token_id(tokenizer) == expected["enc_token_id"]
    assert len(tokenizer) == expected["vocab_size"]


@torch.inference_mode()
def test_encoders_give_the_published_tokens_and_embeddings(model: TSN, stored: dict[str, Tensor]) -> None:
    """Image and text alike, every token and the embedding of unit length."""
    image_tokens, image = model.encode_image(stored["images"])
    text_tokens, text = model.encode_text(stored["input_ids"], stored["attention_mask"])
    assert distance(image_tokens, stored["image_hidden"]) < CLOSE
    assert distance(image, stored["image_embeds"]) < CLOSE
    assert distance(text_tokens, stored["text_hidden"]) < CLOSE
    assert distance(text, stored["text_embeds"]) < CLOSE


@torch.inference_mode()
def test_padding_does_not_change_an_embedding(model: TSN, stored: dict[str, Tensor]) -> None:
    """Captions padded to the longest of them have the embeddings of captions padded to 73."""
    longest = int(stored["attention_mask"].sum(dim=1).max())
    _, text = model.encode_text(stored["input_ids"][:, :longest], stored["attention_mask"][:, :longest])
    assert longest < 73
    assert distance(text, stored["text_embeds"]) < CLOSE


@torch.inference_mode()
def test_fusion_gives_the_published_features(model: TSN, stored: dict[str, Tensor]) -> None:
    """Over all 73 positions as published; with the mask, padding has no influence."""
    mask = stored["attention_mask"]
    image, text = model.encode_image(stored["images"])[0], model.encode_text(stored["input_ids"], mask)[0]
    assert distance(model.fuse(image, text), stored["fused"]) < CLOSE
    longest = int(mask.sum(dim=1).max())
    masked = model.fuse(image, text, mask)
    assert distance(masked, model.fuse(image, text[:, :longest], mask[:, :longest])) < CLOSE
    assert distance(masked, stored["fused"]) > 0.01


@torch.inference_mode()
def test_matching_gives_the_published_logits(model: TSN, stored: dict[str, Tensor]) -> None:
    """Every text with every image, `[ENC]` in front."""
    texts, images = torch.arange(12).repeat_interleave(12), torch.arange(12).repeat(12)
    ids, mask = stored["input_ids"][texts], stored["attention_mask"][texts]
    assert distance(model.match(stored["image_hidden"][images], ids, mask).view(12, 12), stored["itm_logit"]) < CLOSE


@torch.inference_mode()
def test_similarities_of_queries_and_rewrites_are_the_published_ones(model: TSN, stored: dict[str, Tensor]) -> None:
    """Query-image and rewrite-caption, and both fused."""
    tokenizer, texts = load_tokenizer(FOLDER / "vocab.txt"), values("expected")
    rewrite = model.encode_text(*tokenize(tokenizer, texts["normalised_queries"]))[1]
    caption = model.encode_text(*tokenize(tokenizer, texts["gallery_captions"]))[1]
    query, image = stored["text_embeds"], stored["image_embeds"]
    assert distance(query @ image.T, stored["base_sim"]) < CLOSE
    assert distance(rewrite @ caption.T, stored["aux_sim"]) < CLOSE
    expected = 0.1 * stored["aux_sim"] + 0.9 * stored["base_sim"]
    assert distance(fused_similarity(query, image, rewrite, caption, 0.1), expected) < CLOSE


def test_losses_and_gradients_are_the_published_ones(model: TSN, stored: dict[str, Tensor]) -> None:
    """The three losses, and the norm of the gradient of each parameter; none where the release has none."""
    expected = values("expected")
    _, labels = torch.unique(stored["pids"], return_inverse=True)
    model.zero_grad()
    losses = model(stored["images"], stored["input_ids"], stored["attention_mask"], labels)
    found = torch.stack([losses[name].double() for name in ("itc", "itm", "id")])
    assert distance(found, stored["losses"]) < CLOSE
    torch.stack(list(losses.values())).sum().backward()
    norms = {name: float(value.grad.norm()) for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    published = {name: norm for name, norm in expected["grad_norms"].items() if name in dict(model.named_parameters())}
    assert published.keys() == expected["grad_norms"].keys()
    assert norms.keys() == published.keys()
    for name, norm in norms.items():
        assert norm == pytest.approx(published[name], rel=1e-4, abs=1e-7), name  # a key's bias has none but rounding


def test_the_identity_loss_never_reaches_the_image_encoder(model: TSN, stored: dict[str, Tensor]) -> None:
    """It trains the fusion encoder, the classifier and the text side."""
    labels = torch.unique(stored["pids"], return_inverse=True)[1]
    model.zero_grad()
    model(stored["images"], stored["input_ids"], stored["attention_mask"], labels, matching=False)["id"].backward()
    reached = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    assert reached == {"image_cross_model", "cross_proj", "classifier", "text_proj", "text_encoder"}


def test_an_image_of_another_shape_resamples_the_positions(tmp_path: Path, stored: dict[str, Tensor]) -> None:
    """A 96 x 32 image with the weights of a 64 x 64 model: 12 patches and the class token."""
    file = write_published_checkpoint(tmp_path / "c.pth")
    model = TSN.from_checkpoint(file, load_tokenizer(FOLDER / "vocab.txt"), image_size=(96, 32)).eval()
    tokens, embedding = model.encode_image(torch.zeros(2, 3, 96, 32))
    assert tokens.shape == (2, 1 + 6 * 2, 128)
    assert embedding.norm(dim=1).tolist() == pytest.approx([1, 1])


def test_recomputed_blocks_give_the_same_gradients(model: TSN, tmp_path: Path, stored: dict[str, Tensor]) -> None:
    """Activation checkpointing changes the memory of a step, not its numbers, and loads the same parameter names."""
    file = write_published_checkpoint(tmp_path / "c.pth")
    spare = TSN.from_checkpoint(file, load_tokenizer(FOLDER / "vocab.txt"), options=TSNOptions(checkpointed_blocks=1))
    norms = []
    for each in (model, spare.eval()):
        each.zero_grad()
        each.encode_image(stored["images"])[1].square()[:, :9].sum().backward()
        norms.append([float(value.grad.norm()) for value in each.visual_encoder.parameters() if value.grad is not None])
        each.zero_grad()
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
