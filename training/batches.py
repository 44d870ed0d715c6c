"""Shuffled batches of the pairs that have a pseudo-label."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from data.images import Opener
from data.pairs import PairImages, Paraphrase, UnlabelledPairs
from data.transforms import train_transform


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
) -> DataLoader:
    """Batches of (pixels [B, 3, H, W], captions, indices [B]) over the pairs that are not noise, in a seeded order.

    Whole batches alone, unless fewer pairs than one batch are left.
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
    return DataLoader(
        images,
        batch_size=batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
        num_workers=workers,
        drop_last=len(chosen) > batch_size,
        pin_memory=torch.cuda.is_available(),
    )
