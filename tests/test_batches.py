"""The composition of batches: all pairs once in random order, or K of each of P pseudo-identities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from training.batches import IdentityBatches, RemainingBatches

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


def test_batches_depend_on_the_seed() -> None:
    """The same seed gives the same batches, another seed different ones."""
    assert list(identity_batches()) == list(identity_batches())
    assert list(identity_batches()) != list(identity_batches(1))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_later_batches_are_the_rest(first: int) -> None:
    """Drawn as if the earlier ones had been taken."""
    assert list(RemainingBatches(identity_batches(), first)) == list(identity_batches())[first:]
    assert len(RemainingBatches(identity_batches(), first)) == 2 - first
