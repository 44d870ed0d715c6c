"""Read the annotations of data sets, in their original layouts, into records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from data.records import ImageRecord, Split
from utils.errors import UserError
from utils.files import read_json

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}

Reader = Callable[..., list[ImageRecord]]
"""(root, *, missing_ok=False) -> records; `missing_ok` also returns records of image files that do not exist."""


def read_annotated(
    root: Path, annotation: str, *, path_key: str = "file_path", missing_ok: bool = False
) -> list[ImageRecord]:
    """Read a data set whose annotation file lists images in `root/imgs`.

    Raises:
        UserError: the folder, the annotation file, a field or an image is missing, or a path points outside imgs/.
    """
    if not root.is_dir():
        raise UserError(f"data.root: folder {root} is missing: it should contain {annotation} and imgs/")
    file = root / annotation
    if not file.is_file():
        raise UserError(f"{file} is missing: data.root should be the folder with {annotation} and imgs/")
    entries = read_json(file)
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{file} should be a list with one object per image")
    images = root / "imgs"
    records = [_record(entry, number, file, images, path_key) for number, entry in enumerate(entries)]
    if not missing_ok:
        _check_files(records, file)
    return records


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
    annotations = read_json(file) if file.is_file() else {}
    if not isinstance(annotations, dict):
        raise UserError(f"{file} should map image paths to captions")
    records = []
    splits: tuple[Split, ...] = get_args(Split)
    for split in splits:
        for path in sorted((root / split).rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                name = path.relative_to(root).as_posix()
                captions, person = _captions_and_id(annotations.pop(name, []), name, file)
                records.append(ImageRecord(path, name, captions, person, split))
    if not records:
        raise UserError(f"{root} has no images: expected some in {root}/train, {root}/val or {root}/test")
    if annotations and not missing_ok:
        raise UserError(f"{len(annotations)} images of {file} are missing, the first is {next(iter(annotations))}")
    for name, annotation in annotations.items():
        captions, person = _captions_and_id(annotation, name, file)
        split = next((split for split in splits if name.startswith(f"{split}/")), splits[0])
        records.append(ImageRecord(root / name, name, captions, person, split))
    return records


def read_cuhk_pedes(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read CUHK-PEDES: `root/reid_raw.json`, `root/imgs/`."""
    return read_annotated(root, "reid_raw.json", missing_ok=missing_ok)


def read_icfg_pedes(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read ICFG-PEDES: `root/ICFG-PEDES.json`, `root/imgs/`; it has no validation split."""
    return read_annotated(root, "ICFG-PEDES.json", missing_ok=missing_ok)


def read_rstpreid(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read RSTPReid: `root/data_captions.json`, with paths in the field `img_path`, and `root/imgs/`."""
    return read_annotated(root, "data_captions.json", path_key="img_path", missing_ok=missing_ok)


def read_demo(root: Path, *, missing_ok: bool = False) -> list[ImageRecord]:
    """Read the synthetic data set, in the layout of CUHK-PEDES; generate it in `root` first if it is missing."""
    from data.demo import draw_demo  # other data sets do not need its imports

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
    """Return the records of one split.

    Raises:
        UserError: there are none.
    """
    chosen = [record for record in records if record.split == split]
    if not chosen:
        raise UserError(f"{source} has no images in its {split} split")
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
        raise UserError(f"{where}: id should be an integer and {path_key} a path")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{where}: {path_key} {name} points outside {images}")
    return ImageRecord(images / name, Path(name).as_posix(), tuple(captions), person, split)


def _check_files(records: list[ImageRecord], file: Path) -> None:
    missing = [record.path for record in records if not record.path.is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(records)} images of {file} are missing, the first is {missing[0]}")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _captions_and_id(annotation: Any, name: str, file: Path) -> tuple[tuple[str, ...], int]:
    """Parse an entry of captions.json: the captions of an image, and its person id or -1."""
    entry = annotation if isinstance(annotation, dict) else {"captions": annotation}
    if unknown := entry.keys() - {"captions", "id"}:
        raise UserError(f"{file}: {name} has the unknown field '{min(unknown)}': expected captions and id")
    captions, person = entry.get("captions", []), entry.get("id", -1)
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise UserError(f"{file}: {name} should have a sentence, a list of sentences, or an object with captions")
    if not _is_id(person):
        raise UserError(f"{file}: the id of {name} should be an integer")
    return tuple(captions), person
