"""The composition of batches: all pairs once in random order, or K of each of P pseudo-identities."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data.loading import ImageLoader
from data.pairs import PairDataset, UnlabelledPairs
from data.transforms import train_transform
from models.options import DRAWN
from models.tokenizer import load_tokenizer, tokenize
from tests.pictures import picture
from training.batches import IdentityBatches, PairBatch, RemainingBatches, TextInputs

LABELS = np.repeat(np.arange(8), [4, 4, 4, 4, 2, 1, 9, 4])


def identity_batches(seed: int = 0) -> IdentityBatches:
    return IdentityBatches(LABELS, 12, 3, torch.Generator().manual_seed(seed))


def test_each_batch_has_k_images_of_each_of_its_identities() -> None:
    """Without repetition if an identity has that many; eight identities fill two batches of four."""
    batches = list(identity_batches())
    assert len(batches) == len(identity_batches()) == len(LABELS) // 12
    for batch in batches:
        assert sorted(Counter(LABELS[batch]).values()) == [3, 3, 3, 3]
        assert all(
            len({index for index in batch if LABELS[index] == label}) == 3
            for label in {0, 1, 2, 3, 6, 7} & {*LABELS[batch]}
        )
    assert {*LABELS[batches[0]], *LABELS[batches[1]]} == set(range(8))


def test_identities_with_too_few_images_repeat_them() -> None:
    """Of two images for three positions, one appears twice."""
    drawn = [batch for seed in range(5) for batch in identity_batches(seed)]
    pairs = [[index for index in batch if LABELS[index] == 4] for batch in drawn if 4 in LABELS[batch]]
    assert pairs
    assert all(sorted(Counter(indices).values()) == [1, 2] for indices in pairs)


def test_a_batch_is_no_larger_than_the_training_set() -> None:
    """A batch size of a million would repeat a few images until the memory is full."""
    [batch] = IdentityBatches(LABELS, 10**6, 4, torch.Generator().manual_seed(0))
    assert len(batch) == len(LABELS) // 4 * 4


def test_batches_depend_on_the_seed() -> None:
    """The same seed gives the same batches, another seed different ones."""
    assert list(identity_batches()) == list(identity_batches())
    assert list(identity_batches()) != list(identity_batches(1))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_later_batches_are_the_rest(first: int) -> None:
    """Drawn as if the earlier ones had been taken."""
    assert list(RemainingBatches(identity_batches(), first)) == list(identity_batches())[first:]
    assert len(RemainingBatches(identity_batches(), first)) == 2 - first


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("fuse_padding", [False, True])
def test_texts_arrive_tokenized(
    tmp_path: Path, workers: int, fuse_padding: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the loader's workers, without a word of theirs: padded to a multiple of eight, or to the published length."""
    captions = tuple(f"a person in {'very ' * number}red shoes" for number in range(9))
    paths = tuple(picture(tmp_path / f"{number}.png", (9 * number, 0, 0)) for number in range(9))
    pairs = UnlabelledPairs(captions, paths, captions)
    texts = TextInputs(load_tokenizer(DRAWN / "vocab.txt"), fuse_padding)
    images = PairDataset(pairs, train_transform((32, 16)), reword=True)
    batches = list(ImageLoader(images, batch_size=4, collate_fn=texts.collate, workers=workers))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    for batch in batches:
        assert isinstance(batch, PairBatch)
        expected = tokenize(
            texts.tokenizer,
            [captions[index] for index in batch.indices],
            pad_to=73 if fuse_padding else None,
            multiple_of=8,
        )
        assert batch.second is not None
        for found, second, other in zip((batch.input_ids, batch.attention_mask), batch.second, expected, strict=True):
            assert torch.equal(found, other)
            assert torch.equal(second, other)  # a text that is not paraphrased has one wording
            assert found.shape[1] == 73 if fuse_padding else found.shape[1] % 8 == 0
    assert "tokenizers" not in capfd.readouterr().err
