"""Shuffled batches of the pairs that have a pseudo-label."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler

from data.images import Opener
from data.pairs import PairImages, Paraphrase, UnlabelledPairs
from data.transforms import train_transform
from utils import distributed
from utils.errors import UserError


class LaterBatches(Sampler[list[int]]):
    """The batches of another sampler from a certain one on; those before it are drawn and not loaded."""

    def __init__(self, batches: Sampler[list[int]], first: int) -> None:
        self._batches, self._first = batches, first

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self._batches), self._first, None)

    def __len__(self) -> int:
        return len(self._batches) - self._first  # type: ignore[arg-type]


class SharedBatches(Sampler[list[int]]):
    """Of each batch of another sampler, the part that belongs to this process of its group."""

    def __init__(self, batches: Sampler[list[int]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches:
            each = len(batch) // distributed.world_size()  # a batch of all the data there is may leave a few over
            yield batch[each * distributed.rank() : each * (distributed.rank() + 1)]

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]


class IdentityBatches(Sampler[list[int]]):
    """P pseudo-identities a batch, K images of each (the P x K sampler of re-identification).

    An epoch has as many batches as there are whole ones in the data. Every identity is drawn once before any is drawn
    again; one with fewer than K images repeats some.

    Args:
        labels: [N] int64, pseudo-identity of each place.
        batch_size: P times K.
        each: K.
        order: draws everything.
    """

    def __init__(self, labels: NDArray[np.int64], batch_size: int, each: int, order: torch.Generator) -> None:
        self._places = [torch.from_numpy(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        self._people, self._each, self._order = batch_size // each, each, order
        self._batches = max(1, len(labels) // batch_size)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        waiting: list[int] = []
        for _ in range(self._batches):
            while len(waiting) < self._people:
                waiting += torch.randperm(len(self._places), generator=self._order).tolist()
            drawn, waiting = waiting[: self._people], waiting[self._people :]
            yield [int(place) for person in drawn for place in self._some(self._places[person])]

    def _some(self, places: Tensor) -> Tensor:
        rounds = -(-self._each // len(places))
        shuffled = [places[torch.randperm(len(places), generator=self._order)] for _ in range(rounds)]
        return torch.cat(shuffled)[: self._each]


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
    each: int | None = None,
    first: int = 0,
) -> DataLoader:
    """Batches of (pixels [B, 3, H, W], captions, indices [B]) over the pairs that are not noise, in a seeded order.

    Whole batches alone, unless fewer pairs than one batch are left. They begin with the batch numbered `first`.
    With `each`, a batch has that many images of each of its pseudo-identities. In a group of processes, each loads its
    part of every batch.

    Raises:
        UserError: there are fewer pairs than processes.
    """
    chosen = np.flatnonzero(labels >= 0)
    if len(chosen) < 2 * distributed.world_size():
        raise UserError(f"{len(chosen)} pairs are left to train on, too few for {distributed.world_size()} processes")
    images = PairImages(
        pairs,
        train_transform(image, augment=augment),
        chosen=chosen.tolist(),
        paraphrase=paraphrase,
        seed=seed,
        opener=opener,
    )
    order = torch.Generator().manual_seed(seed)
    whole: Sampler[list[int]]
    if each:
        whole = IdentityBatches(labels[chosen], batch_size, each, order)
    else:
        whole = BatchSampler(RandomSampler(images, generator=order), batch_size, drop_last=len(chosen) > batch_size)
    return DataLoader(
        images,
        batch_sampler=SharedBatches(LaterBatches(whole, first)),
        generator=order,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
