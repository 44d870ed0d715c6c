"""What a data set's annotation file says, as typed records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One photograph of one person.

    Attributes:
        path: the image file.
        name: its path below the image folder, as annotation and caption files write it ("Market/0002.jpg").
        captions: human sentences about it; the queries in `val` and `test`, never read in `train`.
        person_id: who it shows, or -1 where nobody knows; read by evaluation and by the cluster report alone.
        split: the part of the data set that it belongs to.
    """

    path: Path
    name: str
    captions: tuple[str, ...]
    person_id: int
    split: Split


def person_ids(names: Sequence[str], records: Sequence[ImageRecord]) -> NDArray[np.int64] | None:
    """Person ids [N] of the records with these names, in their order; None where one is not known."""
    by_name = {record.name: record.person_id for record in records}
    ids = np.array([by_name[name] for name in names], dtype=np.int64)
    return ids if (ids >= 0).all() else None
