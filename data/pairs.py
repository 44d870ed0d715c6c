"""Images with their generated captions, as training uses them: without person ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data.captions import check_same_data, read_train_captions
from data.images import ImageOpener, find_broken, open_image
from data.records import ImageRecord
from data.transforms import RawPixels, Transform
from utils import distributed
from utils.errors import UserError
from utils.logs import log

Paraphrase = Callable[[str, np.random.Generator, int], list[str]]
"""(caption, random generator, n) -> n random wordings of the caption."""


@dataclass(frozen=True)
class UnlabelledPairs:
    """Training images and their captions.

    Attributes:
        names: [N] image names; labels and features of the pairs have the same order.
        paths: [N] files.
        captions: [N] generated texts.
        others: [N] further texts about the same images, of which training draws one or `captions`; empty if there are
            none at all.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    captions: tuple[str, ...]
    others: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def texts(self) -> tuple[str, ...]:
        """All captions of all images."""
        return (*self.captions, *(text for texts in self.others for text in texts))

    def labels_by_caption(self) -> NDArray[np.int64]:
        """Return one label for each distinct caption, [N]: pseudo-labels before any clustering."""
        return np.unique(np.array(self.captions), return_inverse=True)[1].astype(np.int64)


def load_training_pairs(
    records: Sequence[ImageRecord], captions_file: Path, others: Sequence[Path] = ()
) -> UnlabelledPairs:
    """Join training records with their generated captions; warn about images without one and unreadable images.

    Both are left out. Person ids and human captions of the records are not read.

    Args:
        captions_file: the captions that are clustered and trained on.
        others: files of further captions, which may lack some of the images.

    Raises:
        UserError: a caption file is missing, belongs to another data set, or leaves nothing to train on.
    """
    captions, *further = (_read_captions(file, records) for file in (captions_file, *others))
    captioned = [(record, caption) for record in records if (caption := captions.get(record.name))]
    uncaptioned = [record.name for record in records if not captions.get(record.name)]
    broken = distributed.run_on_main(lambda: find_broken([record for record, _ in captioned], what="training images"))
    kept = [(record, caption) for record, caption in captioned if record.name not in broken]
    if not kept:
        raise UserError(
            f"no training image is left: of {len(records)}, {len(uncaptioned)} have no caption and {len(broken)} are "
            "broken; run gen_train_data.py first"
        )
    for reason in broken.values():
        log.warning(f"left out of training: {reason}")
    if uncaptioned:
        log.warning(
            f"left out of training: {len(uncaptioned)} of {len(records)} images without a caption in {captions_file} "
            f"(the first is {uncaptioned[0]})"
        )
    return UnlabelledPairs(
        names=tuple(record.name for record, _ in kept),
        paths=tuple(record.path for record, _ in kept),
        captions=tuple(caption for _, caption in kept),
        others=tuple(
            tuple(text for texts in further if (text := texts.get(record.name)))
            for record, _ in (kept if others else ())
        ),
    )


def _read_captions(file: Path, records: Sequence[ImageRecord]) -> dict[str, str | None]:
    if not file.is_file():
        raise UserError(f"{file} is missing: generate the captions with gen_train_data.py first")
    captions = read_train_captions(file)
    check_same_data(captions, records, file)
    return captions


@dataclass(eq=False)
class PairDataset(Dataset[tuple[Any, ...]]):
    """Pairs as (pixels, caption, index of the pair), of all pairs or of those at `indices`.

    With `reword`, a fourth item is another wording of the caption.

    Random augmentation depends only on `seed` and the pair, not on the order or the number of workers.
    """

    pairs: UnlabelledPairs
    transform: Transform
    _: KW_ONLY
    indices: Sequence[int] | None = None
    paraphrase: Paraphrase | None = None
    seed: int = 0
    opener: ImageOpener = open_image
    reword: bool = False

    def __len__(self) -> int:
        return len(self.pairs if self.indices is None else self.indices)

    def __getitem__(self, position: int) -> tuple[Any, ...]:
        index = position if self.indices is None else int(self.indices[position])
        random = np.random.default_rng((self.seed, index))
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also seed the GPUs, which takes longer than decoding the image.
            torch.default_generator.manual_seed(int(random.integers(2**63)))
            pixels = self.transform(self.opener(self.pairs.paths[index]))
        caption, *others = self._draw_captions(index, random)
        return pixels, caption, index, *others

    def _draw_captions(self, index: int, random: np.random.Generator) -> list[str]:
        """Draw one caption of an image, or with `reword` two: two wordings of one text, or one of each of two texts."""
        texts = [self.pairs.captions[index], *(self.pairs.others[index] if self.pairs.others else ())]
        count = 1 + self.reword
        drawn = [texts[int(random.integers(len(texts)))] if len(texts) > 1 else texts[0] for _ in range(count)]
        if self.paraphrase is None:
            return drawn
        if len(set(drawn)) == 1:
            return self.paraphrase(drawn[0], random, count)
        return [self.paraphrase(text, random, 1)[0] for text in drawn]


@dataclass(eq=False)
class ImageDataset(Dataset[RawPixels]):
    """Images alone."""

    paths: Sequence[Path]
    transform: Transform
    opener: ImageOpener = open_image

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> RawPixels:
        return self.transform(self.opener(self.paths[index]))
