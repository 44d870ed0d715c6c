"""What a data set's annotation file says, as typed records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError

Split = Literal["train", "val", "test"]
DataName = Literal["cuhk_pedes", "icfg_pedes", "rstpreid", "custom", "demo"]


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


def hold_out(records: Sequence[ImageRecord], share: float, seed: int) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Part the records by person: those of all people but a drawn share, and those of that share, at least one person.

    Raises:
        UserError: it is not known who is on each.
    """
    people = sorted({record.person_id for record in records})
    if people[0] < 0 or len(people) < 2:
        raise UserError("eval.select=held_out needs a training split of known people: set eval.select=last")
    count = min(len(people) - 1, max(1, round(share * len(people))))
    held = set(np.random.default_rng(seed).permutation(people)[:count].tolist())
    kept = [record for record in records if record.person_id not in held]
    return kept, [record for record in records if record.person_id in held]


def person_ids(names: Sequence[str], records: Sequence[ImageRecord]) -> NDArray[np.int64] | None:
    """Person ids [N] of the records with these names, in their order; None where one is not known."""
    by_name = {record.name: record.person_id for record in records}
    ids = np.array([by_name[name] for name in names], dtype=np.int64)
    return ids if (ids >= 0).all() else None
