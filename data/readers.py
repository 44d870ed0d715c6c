"""Annotation files of the data sets, in their real layouts, into records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from data.records import ImageRecord, Split
from utils.errors import UserError
from utils.files import read_json

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}

Reader = Callable[..., list[ImageRecord]]
"""(root, *, missing_ok=False): with `missing_ok`, images that are not there are read all the same."""


def read_annotated(
    root: Path, annotation: str, *, path_key: str = "file_path", missing_ok: bool = False
) -> list[ImageRecord]:
    """Read a data set whose annotation file lists images below `root/imgs`.

    Raises:
        UserError: the folder, the annotation file, one of its fields or an image is missing, or a path leaves imgs/.
    """
    if not root.is_dir():
        raise UserError(f"data.root: folder {root} is missing: expected {annotation} and imgs/ in it")
    file = root / annotation
    if not file.is_file():
        raise UserError(f"{file} is missing: data.root should be the folder that holds {annotation} and imgs/")
    entries = read_json(file)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{file} should hold a list of images, one object each")
    images = root / "imgs"
    records = [_record(entry, number, file, images, path_key) for number, entry in enumerate(entries)]
    if not missing_ok:
        _check_files(records, file)
    return records


def read_folder(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read a plain folder of photographs: `root/train`, `root/val`, `root/test`, searched to any depth.

    An optional `root/captions.json` maps an image's path below root ("test/0001.jpg") to a caption, to a list of
    captions, or to {"captions": [...], "id": 7}. A split may be missing; nobody knows who is who where no id is given.

    Raises:
        UserError: there is no such folder, no image in it, or captions.json is broken or names what is not there.
    """
    if not root.is_dir():
        raise UserError(f"data.root: folder {root} is missing: expected train/, val/ and test/ with images in it")
    notes = read_json(root / "captions.json") if (root / "captions.json").is_file() else {}
    if not isinstance(notes, dict):
        raise UserError(f"{root / 'captions.json'} should map image paths to captions")
    records = []
    for split in get_args(Split):
        for path in sorted((root / split).rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                name = path.relative_to(root).as_posix()
                captions, person = _note(notes.pop(name, []), name, root / "captions.json")
                records.append(ImageRecord(path, name, captions, person, split))
    if not records:
        raise UserError(f"{root} holds no image: expected photographs in {root}/train, {root}/val or {root}/test")
    if missing_ok:
        records += [_missing(root, name, note) for name, note in notes.items()]
    elif notes:
        raise UserError(f"{root / 'captions.json'} names {next(iter(notes))}, which is not there ({len(notes)} such)")
    return records


def read_cuhk_pedes(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """CUHK-PEDES: `root/reid_raw.json`, `root/imgs/`."""
    return read_annotated(root, "reid_raw.json", missing_ok=missing_ok)


def read_icfg_pedes(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """ICFG-PEDES: `root/ICFG-PEDES.json`, `root/imgs/`; it has no validation split."""
    return read_annotated(root, "ICFG-PEDES.json", missing_ok=missing_ok)


def read_rstpreid(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """RSTPReid: `root/data_captions.json`, whose paths stand under `img_path`, and `root/imgs/`."""
    return read_annotated(root, "data_captions.json", path_key="img_path", missing_ok=missing_ok)


def read_demo(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """The drawn data set, in CUHK-PEDES's layout; drawn into `root` first where it is missing."""
    from data.demo import draw_demo  # loads what draws, which other data do without

    draw_demo(root)
    return read_cuhk_pedes(root, missing_ok=missing_ok)


READERS: dict[str, Reader] = {
    "cuhk_pedes": read_cuhk_pedes,
    "icfg_pedes": read_icfg_pedes,
    "rstpreid": read_rstpreid,
    "custom": read_folder,
    "demo": read_demo,
}


def of_split(records: list[ImageRecord], split: Split, *, source: str) -> list[ImageRecord]:
    """The records of one split.

    Raises:
        UserError: there are none.
    """
    chosen = [record for record in records if record.split == split]
    if not chosen:
        raise UserError(f"{source} has no image in its {split} split")
    return chosen


def _record(entry: Any, number: int, file: Path, images: Path, path_key: str) -> ImageRecord:
    where = f"{file}, entry {number}"
    if not isinstance(entry, dict):
        raise UserError(f"{where} is not an object")
    for key in ("split", "id", path_key, "captions"):
        if key not in entry:
            raise UserError(f"{where} has no '{key}': is this the annotation file of another data set?")
    split, person, name, captions = entry["split"], entry["id"], entry[path_key], entry["captions"]
    if split not in get_args(Split):
        raise UserError(f"{where}: split is {split!r}, expected train, val or test")
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise UserError(f"{where}: captions should be a list of sentences")
    if not _is_id(person) or not isinstance(name, str):
        raise UserError(f"{where}: id should be a whole number and {path_key} a path")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{where}: {path_key} {name} leads out of {images}")
    return ImageRecord(images / name, Path(name).as_posix(), tuple(captions), person, split)


def _check_files(records: list[ImageRecord], file: Path) -> None:
    missing = [record.path for record in records if not record.path.is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(records)} images of {file} are missing, the first {missing[0]}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _missing(root: Path, name: str, note: Any) -> ImageRecord:
    """What captions.json names and is not there, as if it were."""
    captions, person = _note(note, name, root / "captions.json")
    splits: tuple[Split, ...] = get_args(Split)
    split = next((one for one in splits if name.startswith(f"{one}/")), splits[0])
    return ImageRecord(root / name, name, captions, person, split)


def _note(note: Any, name: str, file: Path) -> tuple[tuple[str, ...], int]:
    note = {"captions": note} if isinstance(note, str | list) else note
    if isinstance(note, dict) and (unknown := note.keys() - {"captions", "id"}):
        raise UserError(f"{file}: {name} has the field '{min(unknown)}': only captions and id are known")
    captions = note.get("captions", []) if isinstance(note, dict) else None
    captions = [captions] if isinstance(captions, str) else captions
    person = note.get("id", -1) if isinstance(note, dict) else -1
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise UserError(f"{file}: {name} should have a sentence, a list of sentences, or an object with captions")
    if not _is_id(person):
        raise UserError(f"{file}: the id of {name} should be a whole number")
    return tuple(captions), person
