"""Photographs with their generated captions, as training sees them: no person id anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from data.images import Opener, open_image
from data.records import ImageRecord
from data.transforms import Transform
from utils.errors import UserError

Paraphrase = Callable[[str, np.random.Generator], str]


@dataclass(frozen=True)
class UnlabelledPairs:
    """Training photographs and their captions.

    Attributes:
        names: [N] image names, in the order of every label and feature that is computed of them.
        paths: [N] files.
        captions: [N] generated texts.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def caption_groups(self) -> NDArray[np.int64]:
        """One label for each distinct caption, [N]: what is known of who is who before any clustering."""
        return np.unique(np.array(self.captions), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class LeftOut:
    """What training does without, by image name: captions that are missing or failed, and broken images, with why."""

    uncaptioned: tuple[str, ...]
    broken: dict[str, str]


def join_captions(
    records: Sequence[ImageRecord], captions: Mapping[str, str | None], broken: Mapping[str, str]
) -> tuple[UnlabelledPairs, LeftOut]:
    """Join images with their generated captions; those without one, and broken ones, are left out and counted.

    Person ids and human captions of the records are not read.

    Raises:
        UserError: nothing is left.
    """
    uncaptioned = tuple(record.name for record in records if not captions.get(record.name))
    dropped = {*uncaptioned, *broken}
    kept = [(record, captions.get(record.name) or "") for record in records if record.name not in dropped]
    if not kept:
        raise UserError(
            f"no training image is left: of {len(records)}, {len(uncaptioned)} have no caption and {len(broken)} are "
            "broken; run gen_train_data.py first"
        )
    pairs = UnlabelledPairs(
        names=tuple(record.name for record, _ in kept),
        paths=tuple(record.path for record, _ in kept),
        captions=tuple(caption for _, caption in kept),
    )
    return pairs, LeftOut(uncaptioned, dict(broken))


class PairImages(Dataset[tuple[Tensor, str, int]]):
    """Chosen pairs as (pixels [3, H, W], caption, index into the pairs).

    What is random about a view depends on `seed` and the pair alone, not on the order or the number of workers.
    `opener` gives the photographs: `open_image`, or an `ImageCache`.
    """

    def __init__(
        self,
        pairs: UnlabelledPairs,
        transform: Transform,
        *,
        chosen: Sequence[int] | None = None,
        paraphrase: Paraphrase | None = None,
        seed: int = 0,
        opener: Opener = open_image,
    ) -> None:
        self.pairs = pairs
        self.transform = transform
        self.chosen = range(len(pairs)) if chosen is None else chosen
        self.paraphrase = paraphrase
        self.seed = seed
        self.opener = opener

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, place: int) -> tuple[Tensor, str, int]:
        index = int(self.chosen[place])
        random = np.random.default_rng((self.seed, index))
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would seed the GPUs too, which takes longer than decoding the photograph.
            torch.default_generator.manual_seed(int(random.integers(2**63)))
            pixels = self.transform(self.opener(self.pairs.paths[index]))
        caption = self.pairs.captions[index]
        if self.paraphrase is not None:
            caption = self.paraphrase(caption, random)
        return pixels, caption, index


class Photographs(Dataset[Tensor]):
    """Photographs alone, as pixels [3, H, W]."""

    def __init__(self, paths: Sequence[Path], transform: Transform, *, opener: Opener = open_image) -> None:
        self.paths = paths
        self.transform = transform
        self.opener = opener

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.opener(self.paths[index]))
