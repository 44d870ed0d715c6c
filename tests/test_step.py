"""The training step: independent of padding, close in half precision, and its gradient accumulation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from data.transforms import RawPixels, normalize
from models.options import Sizes
from models.text import TextLayout
from models.tokenizer import load_tokenizer, tokenize
from models.tsn import TSN, TSNOptions
from training.batches import TextInputs
from training.epoch import Epoch, Learner, train_epoch
from training.schedule import build_optimizer, build_scaler
from utils.device import pick_precision
from utils.errors import UserError

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", "in", "red", "blue", "black", "shoes")
CAPTIONS = ["a person in red", "blue shoes", "a person in black a person in blue shoes in red", "red person"]
LABELS = torch.tensor([0, 0, 1, 2])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text("\n".join(WORDS) + "\n")
    return file


def small(vocabulary: Path, **options: Any) -> TSN:
    torch.manual_seed(0)
    sizes = Sizes((32, 16), 16, 64, 2, 64, 2, 96, vocabulary=len(WORDS) + 2, positions=80)
    return TSN(sizes, enc_token=len(WORDS) + 1, classes=3, options=TSNOptions(dropout=0.0, **options))


def raw_pixels(seed: int = 1) -> RawPixels:
    values = torch.randint(256, (4, 3, 32, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return RawPixels(values, torch.zeros(4, 4, dtype=torch.int64))


def pixels(seed: int = 1) -> Tensor:
    return normalize(raw_pixels(seed))


def losses_and_gradients(model: TSN, ids: Tensor, mask: Tensor) -> tuple[list[float], dict[str, Tensor]]:
    model.zero_grad()
    losses = model(pixels(), ids, mask, LABELS)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    grads = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    return [float(loss.detach()) for loss in losses.values()], grads


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("padding", [{"multiple_of": 8}, {"multiple_of": 16}, {"pad_to": 73}])
def test_losses_and_gradients_are_the_same_however_far_texts_are_padded(
    vocabulary: Path, padding: dict[str, int], packs: bool
) -> None:
    """Packed as on the CPU or padded as on a GPU, to a multiple or to the published length."""
    model, tokenizer = small(vocabulary), load_tokenizer(vocabulary)
    losses, grads = losses_and_gradients(model, *tokenize(tokenizer, CAPTIONS))
    with mock.patch("models.text.should_pack", return_value=packs):
        others, other_grads = losses_and_gradients(model, *tokenize(tokenizer, CAPTIONS, **padding))
    assert others == pytest.approx(losses, abs=1e-5)
    assert grads.keys() == other_grads.keys()
    assert all(torch.allclose(grads[name], other_grads[name], atol=2e-5) for name in grads)


def test_padding_to_a_multiple_stops_at_the_maximum_length(vocabulary: Path) -> None:
    tokenizer = load_tokenizer(vocabulary)
    shapes = [tokenize(tokenizer, [text], multiple_of=8)[0].shape[1] for text in ("red", "red " * 7, "red " * 90)]
    assert shapes == [8, 16, 73]
    ids, mask = tokenize(tokenizer, ["red"], multiple_of=8)
    assert ids.tolist() == [[2, 8, 3, 0, 0, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]


def test_packing_is_invertible() -> None:
    """Unpacked again, real tokens are unchanged and padding is zero."""
    mask, texts = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]]), torch.arange(1.0, 19).view(3, 3, 2)
    layout = TextLayout.from_mask(mask)
    packed = layout.pack(texts)
    assert packed.shape == (1, 6, 2)
    assert torch.equal(layout.unpack(packed), texts * mask[..., None])
    assert torch.equal(layout.first_tokens(packed), texts[:, 0])


def test_half_precision_is_close_and_returns_single_precision(vocabulary: Path) -> None:
    """The matrix products of the encoders are rounded, so that losses differ slightly."""
    tokenizer = load_tokenizer(vocabulary)
    ids, mask = tokenize(tokenizer, CAPTIONS)
    single, half = small(vocabulary), small(vocabulary, precision="bf16")
    losses, _ = losses_and_gradients(single, ids, mask)
    others, grads = losses_and_gradients(half, ids, mask)
    assert others != losses
    assert others == pytest.approx(losses, rel=0.05)
    assert all(grad.dtype == torch.float32 for grad in grads.values())
    with torch.inference_mode():
        image, embedding = half.encode_image(pixels())
        text, _ = half.encode_text(ids, mask)
        found = [image, embedding, text, half.fuse(image, text, mask), half.match(image, ids, mask)]
        assert all(each.dtype == torch.float32 for each in found)
        assert torch.allclose(found[3], single.fuse(image, text, mask), atol=0.1)


def test_recomputed_blocks_have_the_gradients_of_their_own_precision(vocabulary: Path) -> None:
    """A checkpointed block is recomputed in the precision of its forward pass."""
    ids, mask = tokenize(load_tokenizer(vocabulary), CAPTIONS)
    _, grads = losses_and_gradients(small(vocabulary, precision="bf16"), ids, mask)
    _, again = losses_and_gradients(small(vocabulary, precision="bf16", checkpointed_blocks=2), ids, mask)
    assert all(torch.equal(grads[name], again[name]) for name in grads)


def test_compiled_blocks_compute_the_same_and_share_their_code(
    vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padded as on a GPU: the blocks of both encoders are three pieces of code, also for a second model."""
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled(module, backend=count))
    monkeypatch.setattr("models.text.should_pack", lambda mask: False)
    torch._dynamo.reset()
    ids, mask = tokenize(load_tokenizer(vocabulary), CAPTIONS)
    expected, grads = losses_and_gradients(small(vocabulary), ids, mask)
    for _ in range(2):
        model = small(vocabulary)
        names = [name for name, _ in model.named_parameters()]
        model.compile_encoders()
        losses, found = losses_and_gradients(model, ids, mask)
        assert losses == pytest.approx(expected, abs=1e-6)
        assert all(torch.allclose(found[name], grads[name], atol=1e-6) for name in grads)
        assert [name for name, _ in model.named_parameters()] == names
    assert len(graphs) == 3


def test_accumulation_takes_the_mean_gradient_of_its_batches(vocabulary: Path) -> None:
    """Three batches, two to an update: one with the mean of the first two's gradients, one with the third's."""
    tokenizer = load_tokenizer(vocabulary)
    images, collate = [raw_pixels(seed) for seed in (1, 2, 3)], TextInputs(tokenizer).collate
    batches = [collate(list(zip(map(RawPixels, *each), CAPTIONS, range(4), strict=True))) for each in images]
    model = small(vocabulary)
    by_hand = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rates = [9.0, 0.1, 0.2]  # of a batch after which nothing is updated, the rate does not count
    learner = Learner(model, optimizer, build_scaler("fp32", CPU), accumulate=2)
    train_epoch(learner, Epoch(batches, LABELS, rates))

    ids, mask = tokenize(tokenizer, CAPTIONS)
    for together, rate in ((images[:2], 0.1), (images[2:], 0.2)):
        by_hand.zero_grad()
        for each in together:
            (torch.stack(list(by_hand(normalize(each), ids, mask, LABELS).values())).sum() / len(together)).backward()
        with torch.no_grad():
            for value in by_hand.parameters():
                if value.grad is not None:
                    value.sub_(rate * value.grad)
    for name, value in model.named_parameters():
        assert torch.allclose(value, by_hand.get_parameter(name), atol=1e-5), name


def test_precision_is_chosen_for_the_device(vocabulary: Path) -> None:
    assert pick_precision("auto", CPU) == "fp32"
    assert pick_precision("bf16", CPU) == "bf16"
    with pytest.raises(UserError, match=r"train\.precision=fp16 needs a GPU"):
        pick_precision("fp16", CPU)
    assert not build_scaler("bf16", CPU).is_enabled()
    assert build_optimizer(small(vocabulary), lr=1e-3, weight_decay=0.0).defaults["fused"]
