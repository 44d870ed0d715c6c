"""Shuffled training batches of the pairs that have a pseudo-label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, Sampler
from transformers import BertTokenizer

from data.images import ImageOpener
from data.loading import ImageLoader
from data.pairs import PairDataset, Paraphrase, UnlabelledPairs
from data.transforms import RawPixels, train_transform
from models.tokenizer import MAX_TOKENS, TEXT_MULTIPLE, tokenize
from training.options import TrainingOptions
from utils import distributed
from utils.errors import UserError


class PairBatch(NamedTuple):
    """A batch of B pairs, on the CPU.

    Attributes:
        pixels: [B, 3, H, W], not normalized yet.
        input_ids, attention_mask: [B, L] int64, the captions.
        indices: [B] int64, of the pairs.
        second: ids and mask, [B, L2] each, of second wordings of the captions, if there are any.
    """

    pixels: RawPixels
    input_ids: Tensor
    attention_mask: Tensor
    indices: Tensor
    second: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class TextInputs:
    """How the captions of a batch become token ids.

    Attributes:
        tokenizer: with the vocabulary of the model.
        fuse_padding: whether the fusion attends to padding; texts are then padded to the published length, whatever the
            batch contains.
        multiple_of: otherwise, their length is rounded up to a multiple of this.
        paraphrase: randomly rewords captions, or None.
    """

    tokenizer: BertTokenizer
    fuse_padding: bool = False
    multiple_of: int = TEXT_MULTIPLE
    paraphrase: Paraphrase | None = None

    def collate(self, items: Sequence[tuple[Any, ...]]) -> PairBatch:
        """Make a batch of items of a `PairDataset`; a loader calls it in its workers, so that no step waits for it."""
        pixels, captions, indices, *others = zip(*items, strict=True)
        second = self._tokenize(others[0]) if others else None
        images = RawPixels(*map(torch.stack, zip(*pixels, strict=True)))
        return PairBatch(images, *self._tokenize(captions), torch.tensor(indices), second)

    def _tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        pad_to = MAX_TOKENS if self.fuse_padding else None
        return tokenize(self.tokenizer, list(texts), pad_to=pad_to, multiple_of=self.multiple_of)


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
        batch_size: P times K; batches are smaller if it is larger than N.
        per_identity: K.
        order: random generator.
    """

    def __init__(self, labels: NDArray[np.int64], batch_size: int, per_identity: int, order: torch.Generator) -> None:
        self._images = [torch.from_numpy(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        people = min(batch_size, max(len(labels), 2 * per_identity)) // per_identity
        self._people, self._per_identity, self._order = people, per_identity, order
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
    texts: TextInputs,
    first: int = 0,
) -> ImageLoader:
    """Load each `PairBatch` over the pairs that are not noise, in a seeded order; with a text-text loss, reworded.

    All batches are full, unless there are fewer pairs than `batch_size`. In a process group, each rank loads its part
    of every batch.

    Args:
        labels: [N], -1 for noise.
        image: height and width in pixels.
        first: number of the first batch; those before it are skipped without loading them.

    Raises:
        UserError: there are fewer than two pairs per process, or fewer batches than `first`.
    """
    chosen = np.flatnonzero(labels >= 0)
    if len(chosen) < 2 * distributed.world_size():
        raise UserError(f"{len(chosen)} pairs are left to train on, too few for {distributed.world_size()} processes")
    transform = train_transform(image, augment=options.augment)
    images = PairDataset(
        pairs,
        transform,
        indices=chosen.tolist(),
        paraphrase=texts.paraphrase,
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
    if first > len(batches):
        raise UserError(f"last.pth is damaged: it was saved after {first} of {len(batches)} batches of an epoch")
    return ImageLoader(
        images,
        batch_sampler=RemainingBatches(batches, first),
        collate_fn=texts.collate,
        generator=order,
        workers=options.workers,
        pin_memory=torch.cuda.is_available(),
    )
