"""Caption files in the published format, joined with records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data.records import ImageRecord
from utils.errors import UserError
from utils.files import read_json, write_json

# The published file names; whoever wrote the captions, the name says "qwen".
PREFIXES = {"cuhk_pedes": "cuhk", "icfg_pedes": "icfg", "rstpreid": "rstp", "custom": "custom", "demo": "demo"}


def train_file(folder: Path, data_name: str) -> Path:
    """Captions of the training images of a data set."""
    return folder / f"{PREFIXES[data_name]}_qwen_gen_captions.json"


def query_file(folder: Path, data_name: str, split: Literal["val", "test"] = "test") -> Path:
    """Captions of the gallery, and rewrites of the queries, of a data set's test or validation split."""
    return folder / f"{PREFIXES[data_name]}_{split}_qwen_gen_captions.json"


@dataclass(frozen=True)
class TestTexts:
    """What a language model wrote about one test image; None stands where it failed.

    Attributes:
        caption: describes the image.
        rewrites: one of each of its queries, in order.
        queries: what the rewrites are of; empty where the file does not say.
    """

    caption: str | None
    rewrites: tuple[str | None, ...]
    queries: tuple[str, ...] = ()

    def rewrite_of(self, query: str, number: int) -> str | None:
        """The rewrite of the image's query of this number, if it was made of this very sentence."""
        if self.queries:
            sentences = [_plain(sentence) for sentence in self.queries]
            number = sentences.index(_plain(query)) if _plain(query) in sentences else len(self.rewrites)
        return self.rewrites[number] if number < len(self.rewrites) else None


def _plain(sentence: str) -> str:
    return " ".join(sentence.lower().split())


def image_name(path: str) -> str:
    """The part of a path after `imgs/`: released files carry the prefix of their author's disk, ours begin with it."""
    path = path.replace("\\", "/").removeprefix("./")
    if path.startswith("imgs/"):
        return path.removeprefix("imgs/")
    _, found, tail = path.rpartition("/imgs/")
    return tail if found else path


def read_train_captions(file: Path) -> dict[str, str | None]:
    """Read {image name: generated caption} from a training caption file; None where generation failed.

    Raises:
        UserError: the file is missing or not of that format.
    """
    captions: dict[str, str | None] = {}
    for number, entry in enumerate(_entries(file)):
        text = _field(entry, "generated_text", file, number)
        captions[image_name(_path(entry, file, number))] = _text(text)
    return captions


def read_test_texts(file: Path) -> dict[str, TestTexts]:
    """Read {image name: its texts} from a test caption file.

    Raises:
        UserError: the file is missing or not of that format.
    """
    texts: dict[str, TestTexts] = {}
    for number, entry in enumerate(_entries(file)):
        rewrites = _field(entry, "generated_text", file, number)
        rewrites = [rewrites] if isinstance(rewrites, str) or rewrites is None else rewrites
        if not isinstance(rewrites, list):
            raise UserError(f"{file}, entry {number}: generated_text should be a list of rewrites")
        caption = _text(_field(entry, "img_gen_text", file, number))
        queries = entry.get("captions", [])
        queries = tuple(map(str, queries)) if isinstance(queries, list) else (str(queries),)
        texts[image_name(_path(entry, file, number))] = TestTexts(caption, tuple(map(_text, rewrites)), queries)
    return texts


def write_train_captions(file: Path, records: Sequence[ImageRecord], captions: Mapping[str, str]) -> None:
    """Write the published training format for the records that have a caption; others' entries stay in the file."""
    write_json(
        file,
        _others(file, records)
        + [
            {
                "id": record.person_id,
                "image_path": f"imgs/{record.name}",
                "captions": list(record.captions),
                "generated_text": captions[record.name],
            }
            for record in records
            if record.name in captions
        ],
    )


def write_test_texts(file: Path, records: Sequence[ImageRecord], texts: Mapping[str, TestTexts]) -> None:
    """Write the published test format; a failed rewrite is the string "null", as published; others' entries stay."""
    write_json(
        file,
        _others(file, records)
        + [
            {
                "split": record.split,
                "id": record.person_id,
                "image_path": f"imgs/{record.name}",
                "img_gen_text": texts[record.name].caption,
                "captions": list(record.captions),
                "generated_text": [text or "null" for text in texts[record.name].rewrites],
            }
            for record in records
            if record.name in texts
        ],
    )


def check_same_data(names: Mapping[str, object], records: Sequence[ImageRecord], file: Path) -> None:
    """Refuse a caption file that names none of the records' images.

    Raises:
        UserError: the file is of another data set.
    """
    if names and not any(record.name in names for record in records):
        raise UserError(
            f"{file} holds captions of another data set: it names {next(iter(names))} and none of these "
            f"{len(records)} images ({records[0].name}, ...); set captions.dir to another folder"
        )


def _others(file: Path, records: Sequence[ImageRecord]) -> list[Any]:
    """What a file that is there says of other images than these: somebody may have paid for it."""
    names = {record.name for record in records}
    entries = enumerate(_entries(file) if file.is_file() else [])
    return [entry for number, entry in entries if image_name(_path(entry, file, number)) not in names]


def _entries(file: Path) -> list[Any]:
    entries = read_json(file)
    if not isinstance(entries, list):
        raise UserError(f"{file} should hold a list, one object an image")
    return entries


def _field(entry: Any, key: str, file: Path, number: int) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise UserError(f"{file}, entry {number} has no '{key}': is this a caption file?")
    return entry[key]


def _path(entry: Any, file: Path, number: int) -> str:
    path = _field(entry, "image_path", file, number)
    if not isinstance(path, str):
        raise UserError(f"{file}, entry {number}: image_path should be a path")
    return path


def _text(value: Any) -> str | None:
    """A generated text, or None for null, "null" and blanks: those are failures, not captions."""
    if not isinstance(value, str) or value.strip().lower() in ("", "null", "none"):
        return None
    return value
