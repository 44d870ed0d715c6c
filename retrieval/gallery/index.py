"""The files of an index: a manifest, a LanceDB table with a row for each photograph, and a lock for its writer.

LanceDB is embedded: the table is a folder of files that any number of processes may read while one writes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, field_validator

from captioning.options import CaptionerOptions
from captioning.style.template import Slots
from data.records import read_entries
from utils.errors import UserError
from utils.files import write_json
from utils.options import Fraction, NonNegativeInt

MANIFEST, LOCK = "index.json", ".tsn-index.lock"
VERSION = 1  # of the table's columns
SLOTS = tuple(field.name for field in fields(Slots))
_HASH_BLOCK = 1 << 20

# A strict group of options takes no dict by itself.
_ADDED: dict[str, Any] = {"send_to": None}  # keys that indexes of the same version may lack
_FromDict = BeforeValidator(lambda value: CaptionerOptions(**_ADDED | value) if isinstance(value, dict) else value)


class ModelFiles(BaseModel, extra="forbid"):
    """The files of the model that embeds photographs and sentences.

    Attributes:
        checkpoint, vocabulary: absolute paths; the vocabulary may also be a name on the hub.
        image_size: height and width in pixels; None for those of the checkpoint.
        size, modified: of the checkpoint's file in bytes, and when it was modified, in nanoseconds.
        digest: hash of the checkpoint and the image size.
    """

    checkpoint: str
    vocabulary: str
    image_size: tuple[int, int] | None
    size: int
    modified: int
    digest: str

    @classmethod
    def of(cls, checkpoint: Path, vocabulary: str | Path, image_size: tuple[int, int] | None) -> ModelFiles:
        """Describe a checkpoint.

        Raises:
            UserError: the checkpoint cannot be read.
        """
        checkpoint = checkpoint.absolute()
        vocabulary = str(Path(vocabulary).absolute() if Path(vocabulary).exists() else vocabulary)
        digest = hashlib.blake2b(repr(image_size).encode(), digest_size=8)
        try:
            status = checkpoint.stat()
            with checkpoint.open("rb") as file:
                while block := file.read(_HASH_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise UserError(f"checkpoint {checkpoint} cannot be read: {error.strerror}") from None
        return cls(
            checkpoint=str(checkpoint),
            vocabulary=vocabulary,
            image_size=image_size,
            size=status.st_size,
            modified=status.st_mtime_ns,
            digest=digest.hexdigest(),
        )

    def __str__(self) -> str:
        return f"{self.checkpoint} with digest {self.digest}"

    def check_unchanged(self) -> None:
        """Make sure that the checkpoint is still the one that embedded the photographs.

        Raises:
            UserError: it is missing, or has other content.
        """
        path = Path(self.checkpoint)
        if not path.is_file():
            raise UserError(
                f"the index was built with {path}, which is missing: put it back, or build the index again with "
                "search.py index --reindex"
            )
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified):
            now = ModelFiles.of(path, self.vocabulary, self.image_size).digest
            if now != self.digest:
                raise UserError(
                    f"{path} has changed since the index was built (its digest was {self.digest}, and is {now}): run "
                    "search.py index --reindex, or put the old file back"
                )


class Manifest(BaseModel, extra="forbid"):
    """What an index was built from, and how it is searched unless a query says otherwise.

    It is written when an index is complete: until then, queries are answered by what was there before.

    Attributes:
        folder: the folder of the photographs.
        frames, detector: the folder of the whole frames and the detector, if the photographs were cropped out of them.
        camera: regular expression that finds the camera in a path; None for the usual one.
        weight: of the rewrite, w.
        rewrite_image: share of the similarity of rewrite and photograph in that of the rewrite.
        rerank: photographs that the matching head scores again.
        captioner: models that describe photographs and rewrite queries.
    """

    version: int = VERSION
    folder: str
    frames: str | None = None
    detector: str | None = None
    camera: str | None
    model: ModelFiles
    weight: Fraction
    rewrite_image: Fraction
    rerank: NonNegativeInt
    captioner: Annotated[CaptionerOptions, _FromDict]

    @field_validator("folder", "frames")
    @classmethod
    def _resolve(cls, folder: str | None) -> str | None:
        return folder and str(Path(folder).resolve())

    @property
    def table(self) -> str:
        """Name of the table; embeddings of different models are never in one."""
        return f"photographs_{self.model.digest}"


def read_manifest(index: Path) -> Manifest:
    """Read the manifest of an index.

    Raises:
        UserError: there is no index, it is damaged, or of another version.
    """
    file = index / MANIFEST
    if not file.is_file():
        raise UserError(f"{index} is not an index: build one with search.py index FOLDER --index {index}")
    manifest: Manifest = read_entries(file, Manifest)
    if manifest.version != VERSION:
        raise UserError(f"{index} is of version {manifest.version}, this is {VERSION}: run search.py index --reindex")
    return manifest


def write_manifest(index: Path, manifest: Manifest) -> None:
    """Write the manifest of an index."""
    write_json(index / MANIFEST, manifest.model_dump(mode="json"))


def choose_manifest(
    index: Path, wanted: Manifest, *, model_is_chosen: bool, config_is_chosen: bool, rebuild: bool
) -> Manifest:
    """Return the manifest to build an index from: that of the existing index, which must go with the wanted one.

    Args:
        wanted: by the arguments of this call.
        model_is_chosen, config_is_chosen: whether the arguments name a model, and a config or some of its keys; if not,
            the index keeps its own.
        rebuild: whether the wanted manifest replaces that of the index.

    Raises:
        UserError: the index is of another folder, model or captioner.
    """
    if rebuild or not (index / MANIFEST).is_file():
        return wanted
    existing = read_manifest(index)
    backends = [f"{one.backend} {one.model or ''}".strip() for one in (existing.captioner, wanted.captioner)]
    pairs = {"folder": (existing.frames or existing.folder, wanted.frames or wanted.folder)}
    pairs["detector"] = (existing.detector or "none", wanted.detector or "none")
    if config_is_chosen:
        pairs["captioner"] = (backends[0], backends[1])
    if model_is_chosen and existing.model.digest != wanted.model.digest:
        pairs["model"] = (str(existing.model), str(wanted.model))
    for what, (own, other) in pairs.items():
        if own != other:
            raise UserError(
                f"{index} was built with the {what} {own}, not {other}: choose another --index, or add --reindex to "
                "build it again"
            )
    existing.model.check_unchanged()
    changes: dict[str, Any] = {} if wanted.camera is None else {"camera": wanted.camera}
    if config_is_chosen:
        changes["captioner"] = wanted.captioner
    if model_is_chosen:
        changes |= {name: getattr(wanted, name) for name in ("weight", "rewrite_image", "rerank")}
    return existing.model_copy(update=changes)


@contextmanager
def writing(index: Path) -> Iterator[None]:
    """Hold the lock of an index, so that one process at a time writes to it.

    Raises:
        UserError: another process holds it, the folder holds something else, or it cannot be written to.
    """
    try:
        if index.is_dir() and not (index / LOCK).exists() and any(index.iterdir()):
            raise UserError(f"--index {index} holds other files: choose a new folder for the index")
        index.mkdir(parents=True, exist_ok=True)
        file = (index / LOCK).open("a")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another process is writing to {index}: wait until it has finished") from None
    except OSError as error:
        raise UserError(f"cannot write to the index {index}: {error.strerror or error}") from error
    with file:
        yield


@contextmanager
def one_line_errors(problem: str) -> Iterator[None]:
    """Turn what LanceDB raises in this context into one line that begins with the problem."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{problem}: {' '.join(str(error).split())[:300]}") from None


def reading(index: Path) -> AbstractContextManager[None]:
    """Return the context in which an index is read."""
    return one_line_errors(f"the index {index} cannot be read, or is not finished: run search.py index again")


def columns(embed: int) -> pa.Schema:
    """Return the columns of a row; `vector` is the photograph's embedding followed by its caption's, 2 x `embed`."""
    return pa.schema(
        [
            ("id", pa.string()),  # hash of the path
            ("path", pa.string()),  # relative to the folder
            ("folder", pa.string()),
            ("content", pa.string()),  # hash of the file
            ("bytes", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("camera", pa.string()),
            ("time", pa.string()),  # ISO 8601, which sorts by time and compares with parts ("2026-05")
            ("caption", pa.string()),
            *((name, pa.string()) for name in SLOTS),
            ("vector", pa.list_(pa.float16(), 2 * embed)),
        ]
    )


def photograph_id(path: str) -> str:
    """Return a short identifier that can stand in an address."""
    return hashlib.blake2b(path.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def connect(index: Path) -> Any:
    """Open the LanceDB database of an index; what another process writes is seen by the next request."""
    os.environ.setdefault("LANCE_LOG", "error")  # it warns of every new table
    import lancedb  # takes a second to load

    return lancedb.connect(index / "lance", read_consistency_interval=timedelta(0))
