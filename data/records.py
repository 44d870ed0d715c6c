"""Images and their annotations as typed records, and JSON files read as typed entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, TypeAdapter, ValidationError

from utils.errors import UserError
from utils.files import read_json
from utils.options import options

Split = Literal["train", "val", "test"]
DataName = Literal["cuhk_pedes", "icfg_pedes", "rstpreid", "custom", "demo", "drawn"]


@options
class DataOptions:
    """A data set and its location."""

    name: DataName
    root: str


AsList = BeforeValidator(lambda value: [value] if isinstance(value, str) or value is None else value)
Sentences = Annotated[tuple[str, ...], AsList]
"""A list of sentences, or a single one, in a JSON file."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of one person.

    Attributes:
        path: the image file.
        name: its path relative to the image folder, as in annotation and caption files ("Market/0002.jpg").
        captions: sentences written by humans; the queries in `val` and `test`, never read in `train`.
        person_id: the person shown, or -1 if unknown; read only by evaluation and by the cluster report.
        split: the part of the data set that it belongs to.
    """

    path: Path
    name: str
    captions: tuple[str, ...]
    person_id: int
    split: Split


def read_entries(file: Path, kind: Any) -> Any:
    """Read a JSON file as values of a pydantic type, such as `list[Annotation]`.

    Raises:
        UserError: the file is missing, is not JSON or has another format; the message names the entry and the field.
    """
    try:
        return TypeAdapter(kind).validate_python(read_json(file))
    except ValidationError as error:
        problem = error.errors()[0]
        place = problem["loc"]
        where = f"{file}, entry {place[0]}" if place else str(file)
        reason = problem["msg"].removeprefix("Value error, ")
        raise UserError(": ".join([where, *map(str, place[1:]), reason])) from None


def hold_out(records: Sequence[ImageRecord], share: float, seed: int) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Split the records by person, with a random `share` of the people, at least one, in the second part.

    Raises:
        UserError: a person id is unknown, or there is only one person.
    """
    people = sorted({record.person_id for record in records})
    if people[0] < 0 or len(people) < 2:
        raise UserError("eval.select=held_out needs a training split with person ids: set eval.select=last")
    count = min(len(people) - 1, max(1, round(share * len(people))))
    held = set(np.random.default_rng(seed).permutation(people)[:count].tolist())
    kept = [record for record in records if record.person_id not in held]
    return kept, [record for record in records if record.person_id in held]


def person_ids(names: Sequence[str], records: Sequence[ImageRecord]) -> NDArray[np.int64] | None:
    """Return the person ids [N] of the records with these names, in this order; None if one is unknown."""
    by_name = {record.name: record.person_id for record in records}
    ids = np.array([by_name[name] for name in names], dtype=np.int64)
    return ids if (ids >= 0).all() else None
