"""Build an index of photographs, or bring it up to date: caption and embed what is new, forget what is gone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captioning.captioner import ImageCaptioner
from captioning.job.journal import Journal, journal_file, read_journals
from captioning.job.plan import JobOptions
from captioning.job.run import captioning_job
from captioning.options import CaptionerOptions
from captioning.style.prompts import PROMPT_VERSION
from captioning.style.template import parse
from data.images import BrokenImageError, open_image
from data.photographs import camera_of, find_photographs, time_of
from data.records import ImageRecord
from models.tokenizer import load_tokenizer
from models.tsn import TSN, TSNOptions
from retrieval.gallery.index import (
    SLOTS,
    Manifest,
    ModelFiles,
    columns,
    connect,
    one_line_errors,
    photograph_id,
    write_manifest,
)
from utils.device import pick_device, pick_precision
from utils.errors import UserError
from utils.logs import log, printable
from utils.progress import Progress

EXACT_ROWS = 200_000  # up to which all rows are compared with a query; beyond, an approximate index finds candidates
_BATCH = 512  # photographs between two commits: what a killed run has to embed again
_MAX_NAMED = 5
_IDENTITY = ["path", "content", "caption", "camera"]  # columns: a row is up to date if they are
_KEEP_VERSIONS = timedelta(hours=1)  # of the table, for processes that are reading it
_PQ_DIMENSIONS = 8  # of the vector per byte of its code
_ITERATIONS, _SAMPLE_RATE = 15, 128  # of k-means, and vectors per centroid; more take longer and find no more


@dataclass
class Changes:
    """What an update did.

    Attributes:
        added, changed, forgotten, unchanged: number of photographs.
        broken, uncaptioned: {path: reason} of those that were left out, and of those that have no caption.
    """

    added: int = 0
    changed: int = 0
    forgotten: int = 0
    unchanged: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    uncaptioned: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line for the log, and one for each kind of photograph that something is wrong with."""
        counts = {"new": self.added, "changed": self.changed, "forgotten": self.forgotten, "unchanged": self.unchanged}
        lines = [", ".join(f"{count} {name}" for name, count in counts.items())]
        for what, reasons in (("left out", self.broken), ("without a caption", self.uncaptioned)):
            if reasons:
                named = [f"{name} ({reason})" for name, reason in list(reasons.items())[:_MAX_NAMED]]
                more = f" and {len(reasons) - _MAX_NAMED} more" if len(reasons) > _MAX_NAMED else ""
                lines.append(f"{len(reasons)} {what}: {'; '.join(named)}{more}")
        return lines


@dataclass(frozen=True)
class _File:
    name: str  # relative to the folder
    path: Path
    content: str
    size: int


def load_model(files: ModelFiles, device: str) -> TSN:
    """Load the model of an index, in evaluation mode."""
    place = pick_device(device)
    options = TSNOptions(precision=pick_precision("auto", place))
    tokenizer = load_tokenizer(files.vocabulary)
    model = TSN.from_checkpoint(files.checkpoint, tokenizer, image_size=files.image_size, options=options)
    return model.to(place).eval()


def update_index(
    index: Path,
    manifest: Manifest,
    model: TSN,
    captioner: ImageCaptioner,
    *,
    backends: CaptionerOptions | None = None,
    names: Sequence[str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Changes:
    """Bring an index, whose lock the caller holds, up to date with its folder.

    Captions go through a journal and rows are committed in batches, so that a run that is killed loses at most a batch
    of embeddings and no caption. Photographs are recognized by their content: one that is renamed is not captioned
    again.

    Args:
        index: folder of the index.
        manifest: what to build it from; it replaces an earlier one.
        model: that of the manifest, in evaluation mode.
        captioner: describes what has no caption yet.
        backends: options of the captioner, if other than those of the manifest, which keeps its own.
        names: of the photographs, relative to the folder; None for all that are in it.
        texts: {name: caption} of photographs that are captioned already.

    Raises:
        UserError: the folder holds no photograph, none of them can be read, or the disk is full.
    """
    root = Path(manifest.folder)
    if names is None:
        names, skipped = find_photographs(root)
        for line in skipped.lines():
            log.warning(line)
    if not names:
        raise UserError(f"{root} holds no photograph")
    files = _hash_files(root, names)
    database, schema = connect(index), columns(model.sizes.embed)
    with one_line_errors(f"cannot write to the index {index}"):
        table = database.create_table(manifest.table, schema=schema, exist_ok=True)
        rows = table.search().select(_IDENTITY).limit(max(1, table.count_rows())).to_arrow()
    known = {row["path"]: (row["content"], row["caption"], row["camera"]) for row in rows.to_pylist()}
    captions, problems = _caption(index, backends or manifest.captioner, captioner, files, texts or {})
    identity = {one.name: (one.content, captions.get(one.name), camera_of(one.name, manifest.camera)) for one in files}
    new = [file for file in files if known.get(file.name) != identity[file.name]]
    changes = Changes(unchanged=len(files) - len(new))
    for batch in _rows(new, captions, manifest, model, changes.broken):
        with one_line_errors(f"cannot write to the index {index}"):
            table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(batch)
    readable = [file.name for file in new if file.name not in changes.broken]
    changes.changed = sum(name in known for name in readable)
    changes.added = len(readable) - changes.changed
    changes.uncaptioned = {name: problem for name, problem in problems.items() if name not in changes.broken}
    gone = sorted(known.keys() - {file.name for file in files if file.name not in changes.broken})
    changes.forgotten = len(gone)
    with one_line_errors(f"cannot write to the index {index}"):
        _forget(table, gone)
        if new or gone:
            _optimize(table)
    if not table.count_rows():
        raise UserError(f"none of the {len(files)} photographs of {root} can be read: {changes.lines()[1]}")
    write_manifest(index, manifest)
    with one_line_errors(f"cannot write to the index {index}"):
        for name in set(database.list_tables().tables) - {manifest.table}:  # of a model that the index had before
            database.drop_table(name)
    return changes


def _hash_files(root: Path, names: Sequence[str]) -> list[_File]:
    def hashed(name: str) -> _File:
        path = root / name
        try:
            data = path.read_bytes()
        except OSError:  # reported when it is decoded
            data = b""
        return _File(name, path, hashlib.blake2b(data, digest_size=8).hexdigest(), len(data))

    with ThreadPoolExecutor() as pool, Progress(len(names), desc="reading", unit="file") as bar:
        files = []
        for file in pool.map(hashed, names):
            files.append(file)
            bar.advance()
    return files


def _caption(
    index: Path,
    backends: CaptionerOptions,
    captioner: ImageCaptioner,
    files: Sequence[_File],
    texts: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, str]]:
    """Return {name: caption} and {name: problem} of these files; every answer is journaled as it arrives."""
    if not files:
        return {}, {}
    source = hashlib.blake2b(f"{captioner.name} {PROMPT_VERSION}".encode(), digest_size=4).hexdigest()
    file = index / f"captions_{source}.json"  # captions of different models are never mixed
    records = [ImageRecord(one.path, one.name, (), -1, "test") for one in files]
    job = captioning_job(captioner, backends, records, texts)
    with Journal(journal_file(file)) as journal:
        job.run(journal, read_journals(file), JobOptions())
    return job.plan.texts, job.plan.failed


def _rows(
    files: Sequence[_File], captions: dict[str, str], manifest: Manifest, model: TSN, broken: dict[str, str]
) -> Iterator[pa.Table]:
    """Embed photographs and yield their rows, batch by batch; those that cannot be read are noted in `broken`."""
    schema = columns(model.sizes.embed)

    def read(file: _File) -> tuple[Tensor, tuple[int, int], datetime | None] | str:
        try:
            image = open_image(file.path)
            with Image.open(file.path) as header:
                time = time_of(file.name, header)
            return model.preprocess(image), image.size, time
        except BrokenImageError as error:
            return printable(str(error)).removeprefix(f"{file.path} ")
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    with ThreadPoolExecutor() as pool, Progress(len(files), desc="embedding", unit="photograph") as bar:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            decoded = list(pool.map(read, batch))
            broken |= {file.name: why for file, why in zip(batch, decoded, strict=True) if isinstance(why, str)}
            readable = [
                (file, *result) for file, result in zip(batch, decoded, strict=True) if not isinstance(result, str)
            ]
            if readable:
                pixels = torch.stack([one[1] for one in readable])
                texts = [captions.get(one[0].name) for one in readable]
                vectors = row_vectors(model, pixels, texts)
                values = [
                    _columns_of(file, caption, size, time, manifest)
                    for (file, _, size, time), caption in zip(readable, texts, strict=True)
                ]
                yield _table(values, vectors, schema)
            bar.advance(len(batch))


def _columns_of(
    file: _File, caption: str | None, size: tuple[int, int], time: datetime | None, manifest: Manifest
) -> dict[str, Any]:
    slots = parse(caption or "")
    return {
        "id": photograph_id(file.name),
        "path": file.name,
        "folder": file.name.rpartition("/")[0],
        "content": file.content,
        "bytes": file.size,
        "width": size[0],
        "height": size[1],
        "camera": camera_of(file.name, manifest.camera),
        "time": time.isoformat() if time else None,
        "caption": caption,
        **{name: getattr(slots, name) for name in SLOTS},
    }


@torch.inference_mode()
def row_vectors(model: TSN, pixels: Tensor, captions: Sequence[str | None], *, batch_size: int = 64) -> Tensor:
    """Return the vectors [N, 2 E] of photographs: the embedding of each, then that of its caption.

    Where there is no caption, the photograph's own embedding takes its place, so that the rewrite of a query is
    compared with the photograph instead, and the score stays comparable.

    Args:
        pixels: [N, 3, H, W], normalized.
        captions: [N].
    """
    device = model.vision_proj.weight.device
    images = torch.cat([model.encode_image(part.to(device))[1].cpu() for part in pixels.split(batch_size)])
    distinct = sorted({text for text in captions if text})
    row = {text: number for number, text in enumerate(distinct)}
    table = model.embed_texts(distinct, batch_size=batch_size)
    texts = images.clone()
    for place, text in enumerate(captions):
        if text:
            texts[place] = table[row[text]]
    return torch.cat([images, texts], dim=1)


def _table(values: Sequence[dict[str, Any]], vectors: Tensor, schema: pa.Schema) -> pa.Table:
    flat: NDArray[np.float16] = vectors.to(torch.float16).numpy().reshape(-1)
    vector = pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1])
    rows = pa.Table.from_pylist(list(values), schema=schema.remove(schema.get_field_index("vector")))
    return rows.append_column(schema.field("vector"), vector)


def _forget(table: Any, paths: Sequence[str]) -> None:
    ids = [photograph_id(path) for path in paths]
    for start in range(0, len(ids), 1000):
        table.delete(f"id IN ({', '.join(repr(one) for one in ids[start : start + 1000])})")


def _optimize(table: Any) -> None:
    """Merge the small files of many commits; beyond `EXACT_ROWS`, index the vectors."""
    from lancedb.index import IvfPq

    rows, width = table.count_rows(), table.schema.field("vector").type.list_size
    indexed = any(one.columns == ["vector"] for one in table.list_indices())
    if rows > EXACT_ROWS and not indexed:
        log.info(f"building an approximate index of {rows} vectors, which takes minutes")
        table.create_index(
            "vector",
            config=IvfPq(
                distance_type="dot",
                num_partitions=round(rows**0.5),
                num_sub_vectors=width // _PQ_DIMENSIONS,
                max_iterations=_ITERATIONS,
                sample_rate=_SAMPLE_RATE,
            ),
        )
    table.optimize(cleanup_older_than=_KEEP_VERSIONS)
