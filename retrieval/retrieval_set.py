"""What a test needs: gallery, queries, who is who, and what a language model wrote of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from filecmp import cmp
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.captions import TestTexts, check_same_data, read_test_texts, read_train_captions
from data.readers import IMAGE_SUFFIXES, of_split
from data.records import ImageRecord
from utils.errors import UserError

NOBODY = -1  # the person of an image that no query asks for


@dataclass(frozen=True)
class RetrievalSet:
    """A gallery and the queries that search it.

    Attributes:
        records: [G] gallery images.
        captions: [G] their generated captions, None where there is none.
        queries: [Q] sentences.
        rewrites: [Q] the same in the style of the captions, None where there is none.
        query_ids, gallery_ids: [Q] and [G] person ids.
        described: [Q] numbers of the gallery images that the queries were written about.
    """

    records: tuple[ImageRecord, ...]
    captions: tuple[str | None, ...]
    queries: tuple[str, ...]
    rewrites: tuple[str | None, ...]
    query_ids: NDArray[np.int64]
    gallery_ids: NDArray[np.int64]
    described: NDArray[np.int64]

    @property
    def unwritten(self) -> int:
        """Queries without a rewrite; they are scored without MSM."""
        return sum(rewrite is None for rewrite in self.rewrites)

    @property
    def undescribed(self) -> int:
        """Gallery images without a caption; they are scored without MSM."""
        return sum(caption is None for caption in self.captions)


def read_retrieval_set(
    records: list[ImageRecord], split: Literal["val", "test"], file: Path, *, root: str
) -> RetrievalSet:
    """A split's gallery and queries with what was written of them into a caption file.

    Raises:
        UserError: the split or the file is missing, or is not what it should be.
    """
    chosen = of_split(records, split, source=root)
    if not file.is_file():
        raise UserError(f"{file} is missing: describe the gallery and rewrite the queries first with gen_test_data.py")
    texts = read_test_texts(file)
    check_same_data(texts, chosen, file)
    return build_retrieval_set(chosen, texts, source=f"{root} ({split})")


def with_distractors(
    retrieval: RetrievalSet, known: Sequence[ImageRecord], folder: Path, captions: Path | None = None
) -> RetrievalSet:
    """The same with every photograph of a folder, to any depth, in the gallery: people whom no query asks for.

    Args:
        known: the records of the data set.
        captions: a training caption file, which calls the photographs by their paths below the folder.

    Raises:
        UserError: there is no such folder, no photograph in it, or one of the data set's own, `known`.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not files:
        raise UserError(
            f"--distractors: {folder} holds no image" if folder.is_dir() else f"--distractors: no folder {folder}"
        )
    sizes = defaultdict(list)
    for record in known:
        sizes[record.path.stat().st_size].append(record.path)
    if shared := [path for path in files if any(cmp(path, own, shallow=False) for own in sizes[path.stat().st_size])]:
        raise UserError(
            f"--distractors: {len(shared)} photographs of {folder} are the data set's own, the first {shared[0]}: "
            "name a folder of other people"
        )
    texts = read_train_captions(captions) if captions else {}
    extra = tuple(ImageRecord(path, path.relative_to(folder).as_posix(), (), NOBODY, "test") for path in files)
    if captions:
        check_same_data(texts, extra, captions)
    return replace(
        retrieval,
        records=retrieval.records + extra,
        captions=retrieval.captions + tuple(texts.get(record.name) for record in extra),
        gallery_ids=np.concatenate([retrieval.gallery_ids, np.full(len(extra), NOBODY)]),
    )


def build_retrieval_set(
    records: Sequence[ImageRecord], texts: Mapping[str, TestTexts] | None = None, *, source: str
) -> RetrievalSet:
    """Every image is in the gallery, and every caption of every image is a query.

    Args:
        texts: generated texts by image name; what is missing there is None.
        source: where the records come from, for messages.

    Raises:
        UserError: no query, or images whose person is unknown.
    """
    texts = texts or {}
    queries: list[str] = []
    rewrites: list[str | None] = []
    query_ids: list[int] = []
    described: list[int] = []
    for place, record in enumerate(records):
        own = texts.get(record.name)
        for number, query in enumerate(record.captions):
            queries.append(query)
            rewrites.append(own.rewrite_of(query, number) if own else None)
            query_ids.append(record.person_id)
            described.append(place)
    if not queries:
        raise UserError(f"{source} has no query: no image of this split has a caption")
    unknown = sum(record.person_id < 0 for record in records)
    if unknown:
        raise UserError(f"{source}: {unknown} images have no person id, so no ranking can be judged")
    return RetrievalSet(
        records=tuple(records),
        captions=tuple(texts[record.name].caption if record.name in texts else None for record in records),
        queries=tuple(queries),
        rewrites=tuple(rewrites),
        query_ids=np.array(query_ids),
        gallery_ids=np.array([record.person_id for record in records]),
        described=np.array(described),
    )
