"""Caption files in the published format, keyed by image name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator

from data.records import AsList, ImageRecord, Sentences, read_entries
from utils.errors import UserError
from utils.files import read_json, write_json
from utils.options import options

# Prefixes of the published file names, which contain "qwen" whatever model wrote the captions.
PREFIXES = {"cuhk_pedes": "cuhk", "icfg_pedes": "icfg", "rstpreid": "rstp", "custom": "custom"}
PREFIXES |= {name: name for name in ("demo", "drawn")}  # data sets that this project draws


@options
class CaptionsOptions:
    """Where the caption files are; `configs/base.yaml` explains each key."""

    dir: str
    others: list[str]


def train_file(folder: Path, data_name: str) -> Path:
    """Return the file with the captions of a data set's training images."""
    return folder / f"{PREFIXES[data_name]}_qwen_gen_captions.json"


def query_file(folder: Path, data_name: str, split: Literal["val", "test"] = "test") -> Path:
    """Return the file with gallery captions and query rewrites of a data set's test or validation split."""
    return folder / f"{PREFIXES[data_name]}_{split}_qwen_gen_captions.json"


@dataclass(frozen=True)
class TestTexts:
    """The generated texts of one test image; None where generation failed.

    Attributes:
        caption: describes the image.
        rewrites: one for each query of the image, in the order of `queries`.
        queries: the queries that were rewritten; empty if the file does not contain them.
    """

    caption: str | None
    rewrites: tuple[str | None, ...]
    queries: tuple[str, ...] = ()

    def rewrite_of(self, query: str, number: int) -> str | None:
        """Return the rewrite of a query: of this sentence, or, if `queries` is empty, of the query of this number."""
        if self.queries:
            sentences = [_normalize(sentence) for sentence in self.queries]
            number = sentences.index(_normalize(query)) if _normalize(query) in sentences else len(self.rewrites)
        return self.rewrites[number] if number < len(self.rewrites) else None


def _normalize(sentence: str) -> str:
    return " ".join(sentence.lower().split())


def image_name(path: str) -> str:
    """Return the part of a path after `imgs/`; released files have absolute paths, ours start with `imgs/`."""
    path = path.replace("\\", "/").removeprefix("./")
    if path.startswith("imgs/"):
        return path.removeprefix("imgs/")
    _, separator, name = path.rpartition("/imgs/")
    return name if separator else path


def _text(value: Any) -> str | None:
    """Return a generated text, or None for failures: null, "null", "none" and blanks."""
    if not isinstance(value, str) or value.strip().lower() in ("", "null", "none"):
        return None
    return value


Generated = Annotated[str | None, BeforeValidator(_text)]


class _Entry(BaseModel):
    image_path: Annotated[str, AfterValidator(image_name)]


class _TrainEntry(_Entry):
    generated_text: Generated


class _TestEntry(_Entry):
    img_gen_text: Generated
    generated_text: Annotated[tuple[Generated, ...], AsList]
    captions: Sentences = ()


def read_train_captions(file: Path) -> dict[str, str | None]:
    """Read {image name: generated caption} from a training caption file; None where generation failed.

    Raises:
        UserError: the file is missing or has another format.
    """
    return {entry.image_path: entry.generated_text for entry in read_entries(file, list[_TrainEntry])}


def read_test_texts(file: Path) -> dict[str, TestTexts]:
    """Read {image name: texts} from a test caption file.

    Raises:
        UserError: the file is missing or has another format.
    """
    return {
        entry.image_path: TestTexts(entry.img_gen_text, entry.generated_text, entry.captions)
        for entry in read_entries(file, list[_TestEntry])
    }


def write_train_captions(file: Path, records: Sequence[ImageRecord], captions: Mapping[str, str]) -> None:
    """Write the captions of these records in the published format; entries of other images are kept."""
    entries = [
        {
            "id": record.person_id,
            "image_path": f"imgs/{record.name}",
            "captions": list(record.captions),
            "generated_text": captions[record.name],
        }
        for record in records
        if record.name in captions
    ]
    write_json(file, _other_entries(file, records) + entries)


def write_test_texts(file: Path, records: Sequence[ImageRecord], texts: Mapping[str, TestTexts]) -> None:
    """Write the texts of these records in the published format; entries of other images are kept.

    A failed rewrite is the string "null", as published.
    """
    entries = [
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
    ]
    write_json(file, _other_entries(file, records) + entries)


def check_same_data(names: Mapping[str, object], records: Sequence[ImageRecord], file: Path) -> None:
    """Check that a caption file contains at least one of the images, if it contains any.

    Raises:
        UserError: the file belongs to another data set.
    """
    if names and not any(record.name in names for record in records):
        raise UserError(
            f"{file} has captions of another data set: it contains {next(iter(names))} and none of these "
            f"{len(records)} images ({records[0].name}, ...); set captions.dir to another folder"
        )


def _other_entries(file: Path, records: Sequence[ImageRecord]) -> list[dict[str, Any]]:
    """Return the entries of images that are not in `records`: they may have been expensive to generate."""
    if not file.is_file():
        return []
    names = {record.name for record in records}
    entries = zip(read_json(file), read_entries(file, list[_Entry]), strict=True)
    return [raw for raw, entry in entries if entry.image_path not in names]
