"""Shuffled batches of the pairs that have a pseudo-label."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler

from data.images import Opener
from data.pairs import PairImages, Paraphrase, UnlabelledPairs
from data.transforms import train_transform


class LaterBatches(Sampler[list[int]]):
    """The batches of another sampler from a certain one on; those before it are drawn and not loaded."""

    def __init__(self, batches: BatchSampler, first: int) -> None:
        self._batches, self._first = batches, first

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self._batches), self._first, None)

    def __len__(self) -> int:
        return len(self._batches) - self._first


def pseudo_labelled_batches(
    pairs: UnlabelledPairs,
    labels: NDArray[np.int64],
    *,
    image: tuple[int, int],
    augment: Literal["published", "light"],
    paraphrase: Paraphrase | None,
    batch_size: int,
    workers: int,
    seed: int,
    opener: Opener,
    first: int = 0,
) -> DataLoader:
    """Batches of (pixels [B, 3, H, W], captions, indices [B]) over the pairs that are not noise, in a seeded order.

    Whole batches alone, unless fewer pairs than one batch are left. They begin with the batch numbered `first`.
    """
    chosen = np.flatnonzero(labels >= 0)
    images = PairImages(
        pairs,
        train_transform(image, augment=augment),
        chosen=chosen.tolist(),
        paraphrase=paraphrase,
        seed=seed,
        opener=opener,
    )
    order = torch.Generator().manual_seed(seed)
    whole = BatchSampler(RandomSampler(images, generator=order), batch_size, drop_last=len(chosen) > batch_size)
    return DataLoader(
        images,
        batch_sampler=LaterBatches(whole, first),
        generator=order,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
