"""The matching head in batches: the logits of one pair at a time, each pair once; and the choice of pairs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.options import Sizes
from models.tsn import TSN, TSNOptions
from retrieval.embed import Embeddings
from retrieval.matching import Matcher
from retrieval.scoring import fuse, top_images
from tests.group import in_a_group
from utils.errors import UserError

QUERIES, GALLERY, LENGTH = 6, 9, 20


@pytest.fixture(scope="module")
def model() -> TSN:
    torch.manual_seed(0)
    sizes = Sizes((32, 16), 16, 64, 2, 64, 2, 96, vocabulary=30, positions=LENGTH)
    return TSN(sizes, enc_token=29, options=TSNOptions(dropout=0.0)).eval()


@pytest.fixture(scope="module")
def embeddings(model: TSN) -> Embeddings:
    """Queries of many lengths, and a gallery whose tokens are kept in full."""
    draw = torch.Generator().manual_seed(1)
    lengths = torch.tensor([2, 5, 20, 3, 17, 9])
    mask = (torch.arange(LENGTH)[None] < lengths[:, None]).long()
    ids = torch.randint(5, 28, (QUERIES, LENGTH), generator=draw) * mask
    with torch.no_grad():
        tokens, image = model.encode_image(torch.randn(GALLERY, 3, 32, 16, generator=draw))
        query = model.encode_text(ids, mask)[1]
    return Embeddings(image, tokens, query, ids, mask, None, None, {})


@pytest.fixture(scope="module")
def logits(model: TSN, embeddings: Embeddings) -> Tensor:
    """[Q, G], one pair at a time."""
    assert embeddings.image_tokens is not None
    with torch.no_grad():
        return torch.stack(
            [
                torch.cat([model.match(tokens[None], ids[None], mask[None]) for tokens in embeddings.image_tokens])
                for ids, mask in zip(embeddings.query_ids, embeddings.query_mask, strict=True)
            ]
        )


@pytest.mark.parametrize("packed", [True, False])
def test_logits_are_those_of_one_pair_at_a_time(
    model: TSN, embeddings: Embeddings, logits: Tensor, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """In any order, with duplicates, in batches that split images; packed as on a CPU, or by length as on a GPU."""
    monkeypatch.setattr("models.text.should_pack", lambda _: packed)
    monkeypatch.setattr("retrieval.matching.length_step", lambda _: 1 if packed else 8)
    draw = torch.Generator().manual_seed(2)
    queries = torch.randint(QUERIES, (40,), generator=draw)
    images = torch.randint(GALLERY, (40,), generator=draw)
    found = Matcher(model, embeddings, batch_size=2)(queries, images)
    assert torch.allclose(found, logits[queries, images], atol=1e-5)


def test_a_pair_is_matched_once(model: TSN, embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a request and in later ones; only what is new is computed."""
    seen: list[int] = []
    real = TSN.match

    def counting(self: TSN, tokens: Tensor, ids: Tensor, mask: Tensor, **more: Any) -> Tensor:
        seen.append(len(ids))
        return real(self, tokens, ids, mask, **more)

    monkeypatch.setattr(TSN, "match", counting)
    match = Matcher(model, embeddings, batch_size=64)
    first = match(torch.tensor([0, 0, 1, 0]), torch.tensor([3, 3, 2, 8]))
    assert first[0] == first[1]
    again = match(torch.tensor([1, 5, 0]), torch.tensor([2, 5, 3]))
    assert again[0] == first[2]
    assert again[2] == first[0]
    assert seen == [3, 1]
    assert match.num_pairs == 4


def test_half_precision_changes_logits_by_little(model: TSN, embeddings: Embeddings, logits: Tensor) -> None:
    """Half precision is the default."""
    assert embeddings.image_tokens is not None
    half = Embeddings(**{**vars(embeddings), "image_tokens": embeddings.image_tokens.half()})
    every = torch.cartesian_prod(torch.arange(QUERIES), torch.arange(GALLERY)).T
    found = Matcher(model, half, batch_size=8)(*every).reshape(QUERIES, GALLERY)
    assert (found - logits).abs().max() < 2e-3
    assert not torch.equal(found, logits)


def test_tokens_in_the_precision_of_the_model_are_matched_as_they_are(model: TSN, embeddings: Embeddings) -> None:
    """With the same logits, to the bit, as after a cast to single precision and, in every layer, back."""
    half = TSN(model.sizes, enc_token=29, options=TSNOptions(precision="bf16")).eval()
    half.load_state_dict(model.state_dict())
    assert embeddings.image_tokens is not None
    kept = embeddings.image_tokens.bfloat16()
    every = torch.cartesian_prod(torch.arange(QUERIES), torch.arange(GALLERY)).T
    found = [
        Matcher(half, Embeddings(**{**vars(embeddings), "image_tokens": tokens}), batch_size=8)(*every)
        for tokens in (kept, kept.float())
    ]
    assert torch.equal(*found)


def test_matching_needs_tokens(model: TSN, embeddings: Embeddings) -> None:
    """An error of the caller."""
    bare = Embeddings(**{**vars(embeddings), "image_tokens": None})
    with pytest.raises(ValueError, match="without its tokens"):
        Matcher(model, bare, batch_size=8)(torch.tensor([0]), torch.tensor([0]))


def test_of_equal_images_the_first_in_the_gallery_are_chosen() -> None:
    """Whichever of them torch's topk returns: 300 matrices full of ties, against a stable sort."""
    random = np.random.default_rng(0)
    for _ in range(300):
        rows, columns = random.integers(1, 30, 2)
        similarity = random.integers(0, random.integers(1, 6), (rows, columns)).astype(np.float32)
        k = int(random.integers(1, columns + 3))
        found = top_images(torch.from_numpy(similarity), k).sort(dim=1).values.numpy()
        expected = np.sort(np.argsort(-similarity, axis=1, kind="stable")[:, :k], axis=1)
        assert (found == expected).all()


def test_fusing_without_a_text_keeps_the_similarity_of_query_and_image() -> None:
    """The inputs are not changed."""
    draw = torch.Generator().manual_seed(0)
    query_image, rewrite_caption = torch.rand(3, 4, generator=draw), torch.rand(3, 4, generator=draw)
    before = query_image.clone(), rewrite_caption.clone()
    has_rewrite, has_caption = torch.tensor([True, False, True]), torch.tensor([True, True, False, True])
    found = fuse(query_image, rewrite_caption, has_rewrite, has_caption, 0.3)
    for query in range(3):
        for image in range(4):
            both = bool(has_rewrite[query] and has_caption[image])
            expected = (
                0.3 * rewrite_caption[query, image] + 0.7 * query_image[query, image]
                if both
                else query_image[query, image]
            )
            assert found[query, image] == pytest.approx(float(expected))
    assert torch.equal(query_image, before[0])
    assert torch.equal(rewrite_caption, before[1])


def test_a_process_without_pairs_or_images_takes_part() -> None:
    """One query and one image for three processes: two of them have nothing to embed or to match."""
    output = in_a_group(3, "-m", "tests.group_matching")
    assert output.split() == ["same"]


def test_logits_that_are_not_finite_are_one_line(model: TSN, embeddings: Embeddings) -> None:
    """They would make the ranking arbitrary."""
    broken = copy.deepcopy(model)
    broken.itm_head.bias.data.fill_(torch.nan)
    with pytest.raises(UserError, match="logits are not finite"):
        Matcher(broken, embeddings, batch_size=8)(torch.tensor([0]), torch.tensor([0]))
