"""Read the annotations of data sets, in their original layouts, into records."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, Field, StrictInt, model_validator

from data.photographs import find_photographs
from data.records import ImageRecord, Sentences, Split, read_entries
from utils.errors import UserError
from utils.files import path_problem
from utils.logs import log

SPLITS: tuple[Split, ...] = get_args(Split)

Reader = Callable[..., list[ImageRecord]]
"""(root, *, missing_ok=False) -> records; `missing_ok` also returns records of image files that do not exist."""


def _inside(path: str) -> str:
    """Return the path of an image below a folder, in its usual form."""
    if problem := path_problem(path):
        raise ValueError(f"{path[:80]} {problem}")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError(f"{path} points outside the folder of images")
    return Path(path).as_posix()


class Annotation(BaseModel):
    """An entry of an annotation file, as of CUHK-PEDES and ICFG-PEDES."""

    split: Split
    id: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
    captions: Sentences
    file_path: Annotated[str, AfterValidator(_inside)]


class RSTPReidAnnotation(Annotation):
    """An entry of RSTPReid's annotation file."""

    file_path: Annotated[str, AfterValidator(_inside)] = Field(validation_alias="img_path")


class FolderAnnotation(BaseModel, extra="forbid"):
    """A value of captions.json: an object, or only the captions; the id -1 is an unknown person."""

    captions: Sentences = ()
    id: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] = -1

    @model_validator(mode="before")
    @classmethod
    def _from_captions(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"captions": value}


def read_annotated(
    root: Path, *, annotation: str, kind: Any = list[Annotation], missing_ok: bool = False
) -> list[ImageRecord]:
    """Read a data set whose annotation file lists images in `root/imgs`.

    Args:
        annotation: name of the annotation file in `root`.
        kind: type of its content.
        missing_ok: also return the records of image files that do not exist.

    Raises:
        UserError: the folder, the annotation file, a field or an image is missing, or a path points outside imgs/.
    """
    file = root / annotation
    if not file.is_file():
        missing = file if root.is_dir() else f"folder {root}"
        raise UserError(f"data.root: {missing} is missing: the folder should contain {annotation} and imgs/")
    entries: list[Annotation] = read_entries(file, kind)
    if not entries:
        raise UserError(f"{file} should be a list with one object per image")
    images = root / "imgs"
    entries = _merge_entries(entries, file)
    records = [
        ImageRecord(images / entry.file_path, entry.file_path, entry.captions, entry.id, entry.split)
        for entry in entries
    ]
    if not missing_ok:
        _check_files(records, file)
    return records


def _merge_entries(entries: list[Annotation], file: Path) -> list[Annotation]:
    """Merge the entries of one image, as in annotations with an entry per caption.

    Raises:
        UserError: two entries of one image differ in person or split.
    """
    merged: dict[str, Annotation] = {}
    for entry in entries:
        first = merged.setdefault(entry.file_path, entry)
        if first is not entry:
            if (first.id, first.split) != (entry.id, entry.split):
                raise UserError(f"{file}: the entries of {entry.file_path} differ in person or split: correct them")
            merged[entry.file_path] = first.model_copy(update={"captions": (*first.captions, *entry.captions)})
    return list(merged.values())


def read_folder(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read folders of images, `root/train`, `root/val` and `root/test`, recursively.

    An optional `root/captions.json` maps an image's path relative to root ("test/0001.jpg") to a caption, a list of
    captions, or {"captions": [...], "id": 7}. A split may be missing; without an id, the person is unknown.

    Raises:
        UserError: the folder is missing or has no images, or captions.json is invalid or lists missing images.
    """
    if not root.is_dir():
        raise UserError(f"data.root: folder {root} is missing: it should contain train/, val/ and test/ with images")
    file = root / "captions.json"
    annotations: dict[str, FolderAnnotation] = {}
    if file.is_file():
        for name, entry in read_entries(file, dict[str, FolderAnnotation]).items():
            try:
                annotations[_inside(name)] = entry
            except ValueError as error:
                raise UserError(f"{file}: {error}") from None
    files = []
    for split in SPLITS:
        if (root / split).is_dir():
            found, skipped = find_photographs(root / split)
            files += [f"{split}/{name}" for name in found]
            for line in skipped.lines():
                log.warning(f"{root / split}: {line}")
    if not files:
        raise UserError(f"{root} has no images: expected some in {root}/train, {root}/val or {root}/test")
    records = []
    for name in dict.fromkeys([*files, *annotations]):
        entry = annotations.get(name, FolderAnnotation())
        split = next((split for split in SPLITS if name.startswith(f"{split}/")), SPLITS[0])
        records.append(ImageRecord(root / name, name, entry.captions, entry.id, split))
    if not missing_ok:
        _check_files(records, file)
    return records


def read_demo(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read the synthetic data set, in the layout of CUHK-PEDES; generate it in `root` first if it is missing."""
    from data.demo import draw_people  # other data sets do not need its imports

    draw_people(root)
    return READERS["cuhk_pedes"](root, missing_ok=missing_ok)


def read_drawn(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read the synthetic data set for pretraining, as `read_demo`: other people, cameras, surroundings and shades."""
    from data.demo import PRETRAINING, draw_people

    draw_people(root, PRETRAINING)
    return READERS["cuhk_pedes"](root, missing_ok=missing_ok)


READERS: dict[str, Reader] = {
    "cuhk_pedes": partial(read_annotated, annotation="reid_raw.json"),
    "icfg_pedes": partial(read_annotated, annotation="ICFG-PEDES.json"),  # has no validation split
    "rstpreid": partial(read_annotated, annotation="data_captions.json", kind=list[RSTPReidAnnotation]),
    "custom": read_folder,
    "demo": read_demo,
    "drawn": read_drawn,
}


def of_split(records: list[ImageRecord], split: Split, *, source: str) -> list[ImageRecord]:
    """Return the records of one split.

    Raises:
        UserError: there are none.
    """
    chosen = [record for record in records if record.split == split]
    if not chosen:
        raise UserError(f"{source} has no images in its {split} split")
    return chosen


def _check_files(records: list[ImageRecord], file: Path) -> None:
    missing = [record.path for record in records if not record.path.is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(records)} images of {file} are missing, the first is {missing[0]}")
