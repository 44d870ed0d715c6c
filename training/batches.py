"""Shuffled training batches of the pairs that have a pseudo-label."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, Sampler

from data.images import ImageOpener
from data.loading import ImageLoader
from data.pairs import PairDataset, Paraphrase, UnlabelledPairs
from data.transforms import train_transform
from training.options import TrainingOptions
from utils import distributed
from utils.errors import UserError


class RemainingBatches(Sampler[list[int]]):
    """This rank's part of each batch of another sampler, from batch `first` on; earlier ones are not loaded."""

    def __init__(self, batches: Sampler[list[int]], first: int) -> None:
        self._batches, self._first = batches, first

    def __iter__(self) -> Iterator[list[int]]:
        for batch in islice(self._batches, self._first, None):
            part = len(batch) // distributed.world_size()  # the remainder of a smaller batch is dropped
            yield batch[part * distributed.rank() : part * (distributed.rank() + 1)]

    def __len__(self) -> int:
        return len(self._batches) - self._first  # type: ignore[arg-type]


class IdentityBatches(Sampler[list[int]]):
    """Batches of P pseudo-identities with K images each (the P x K sampler of re-identification).

    An epoch has N // (P x K) batches, at least one. Every identity is drawn once before any is drawn again; images of
    an identity with fewer than K are repeated.

    Args:
        labels: [N] int64, pseudo-identities.
        batch_size: P times K.
        per_identity: K.
        order: random generator.
    """

    def __init__(self, labels: NDArray[np.int64], batch_size: int, per_identity: int, order: torch.Generator) -> None:
        self._images = [torch.from_numpy(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        self._people, self._per_identity, self._order = batch_size // per_identity, per_identity, order
        self._batches = max(1, len(labels) // batch_size)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        waiting: list[int] = []
        for _ in range(self._batches):
            while len(waiting) < self._people:
                waiting += torch.randperm(len(self._images), generator=self._order).tolist()
            drawn, waiting = waiting[: self._people], waiting[self._people :]
            yield [int(image) for person in drawn for image in self._draw(self._images[person])]

    def _draw(self, images: Tensor) -> Tensor:
        repeats = -(-self._per_identity // len(images))
        shuffled = [images[torch.randperm(len(images), generator=self._order)] for _ in range(repeats)]
        return torch.cat(shuffled)[: self._per_identity]


def pseudo_labelled_batches(
    pairs: UnlabelledPairs,
    labels: NDArray[np.int64],
    options: TrainingOptions,
    *,
    image: tuple[int, int],
    seed: int,
    opener: ImageOpener,
    paraphrase: Paraphrase | None = None,
    first: int = 0,
) -> ImageLoader:
    """Batches of (pixels [B, 3, H, W], captions, indices [B]) over the pairs that are not noise, in a seeded order.

    With the text-text loss, a fourth item holds other wordings of the captions.

    All batches are full, unless there are fewer pairs than `batch_size`. In a process group, each rank loads its part
    of every batch.

    Args:
        labels: [N], -1 for noise.
        image: height and width in pixels.
        first: number of the first batch; those before it are skipped without loading them.

    Raises:
        UserError: there are fewer than two pairs per process.
    """
    chosen = np.flatnonzero(labels >= 0)
    if len(chosen) < 2 * distributed.world_size():
        raise UserError(f"{len(chosen)} pairs are left to train on, too few for {distributed.world_size()} processes")
    transform = train_transform(image, augment=options.augment)
    images = PairDataset(
        pairs,
        transform,
        indices=chosen.tolist(),
        paraphrase=paraphrase,
        seed=seed,
        opener=opener,
        reword=options.text_text > 0,
    )
    order = torch.Generator().manual_seed(seed)
    size = options.batch_size
    batches: Sampler[list[int]]
    if options.images_per_identity:
        batches = IdentityBatches(labels[chosen], size, options.images_per_identity, order)
    else:
        batches = BatchSampler(RandomSampler(images, generator=order), size, drop_last=len(chosen) > size)
    return ImageLoader(
        images,
        batch_sampler=RemainingBatches(batches, first),
        generator=order,
        workers=options.workers,
        pin_memory=torch.cuda.is_available(),
    )
