"""A gallery and its queries, with person ids, generated captions and rewrites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from filecmp import cmp
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.captions import TestTexts, check_same_data, query_file, read_test_texts, read_train_captions
from data.photographs import find_photographs
from data.readers import READERS, of_split
from data.records import ImageRecord
from utils.errors import UserError

DISTRACTOR_ID = -1  # person id of gallery images that match no query


@dataclass(frozen=True)
class RetrievalSet:
    """A gallery and the queries to search it with.

    Attributes:
        records: [G] gallery images.
        captions: [G] generated captions, None where missing.
        queries: [Q] sentences.
        rewrites: [Q] the queries in the style of the captions, None where missing.
        query_ids, gallery_ids: [Q] and [G] person ids.
        source_images: [Q] index of the gallery image that each query was written for.
    """

    records: tuple[ImageRecord, ...]
    captions: tuple[str | None, ...]
    queries: tuple[str, ...]
    rewrites: tuple[str | None, ...]
    query_ids: NDArray[np.int64]
    gallery_ids: NDArray[np.int64]
    source_images: NDArray[np.int64]

    @property
    def num_missing_rewrites(self) -> int:
        """Queries without a rewrite; they are scored without MSM."""
        return sum(rewrite is None for rewrite in self.rewrites)

    @property
    def num_missing_captions(self) -> int:
        """Gallery images without a caption; they are scored without MSM."""
        return sum(caption is None for caption in self.captions)


def read_retrieval_set(
    records: list[ImageRecord], split: Literal["val", "test"], file: Path, *, root: str
) -> RetrievalSet:
    """Read the gallery and queries of a split, with their texts from a caption file.

    Raises:
        UserError: the split or the file is missing or invalid.
    """
    chosen = of_split(records, split, source=root)
    if not file.is_file():
        raise UserError(f"{file} is missing: first caption the gallery and rewrite the queries with gen_test_data.py")
    texts = read_test_texts(file)
    check_same_data(texts, chosen, file)
    return build_retrieval_set(chosen, texts, source=f"{root} ({split})")


def read_validation_set(data_name: str, root: str, captions: Path) -> RetrievalSet:
    """Read a data set's validation split, on which the weight of the rewrites and k are tuned.

    Args:
        captions: the folder of the caption files.

    Raises:
        UserError: as `read_retrieval_set`.
    """
    records = READERS[data_name](Path(root))
    if not any(record.split == "val" for record in records):
        tuned = "eval.msm_weight=val and eval.k_test=val are tuned on a validation split"
        raise UserError(f"{tuned}, and {root} has none: set both to numbers")
    return read_retrieval_set(records, "val", query_file(captions, data_name, "val"), root=root)


def with_distractors(
    retrieval: RetrievalSet, known: Sequence[ImageRecord], folder: Path, captions: Path | None = None
) -> RetrievalSet:
    """Add every image of a folder, at any depth, to the gallery, as images that match no query.

    Args:
        known: the records of the data set.
        captions: a training caption file that names the images by their paths below the folder.

    Raises:
        UserError: the folder is missing, holds no image, or holds an image of the data set itself.
    """
    if not folder.is_dir():
        raise UserError(f"--distractors: no such folder: {folder}")
    files = [folder / name for name in find_photographs(folder)[0]]
    if not files:
        raise UserError(f"--distractors: {folder} holds no image")
    sizes = defaultdict(list)
    for record in known:
        sizes[record.path.stat().st_size].append(record.path)
    if shared := [path for path in files if any(cmp(path, own, shallow=False) for own in sizes[path.stat().st_size])]:
        raise UserError(
            f"--distractors: {len(shared)} images of {folder} belong to the data set itself, the first {shared[0]}: "
            "use a folder of other people"
        )
    texts = read_train_captions(captions) if captions else {}
    extra = tuple(ImageRecord(path, path.relative_to(folder).as_posix(), (), DISTRACTOR_ID, "test") for path in files)
    if captions:
        check_same_data(texts, extra, captions)
    return replace(
        retrieval,
        records=retrieval.records + extra,
        captions=retrieval.captions + tuple(texts.get(record.name) for record in extra),
        gallery_ids=np.concatenate([retrieval.gallery_ids, np.full(len(extra), DISTRACTOR_ID)]),
    )


def build_retrieval_set(
    records: Sequence[ImageRecord], texts: Mapping[str, TestTexts] | None = None, *, source: str
) -> RetrievalSet:
    """Build a retrieval set: every image is in the gallery, and every caption of every image is a query.

    Args:
        texts: generated texts by image name.
        source: where the records come from, for messages.

    Raises:
        UserError: there is no query, or the person id of an image is unknown.
    """
    texts = texts or {}
    queries = [(index, number) for index, record in enumerate(records) for number in range(len(record.captions))]
    if not queries:
        raise UserError(f"{source} has no query: no image of this split has a caption")
    unknown = sum(record.person_id < 0 for record in records)
    if unknown:
        raise UserError(f"{source}: {unknown} images have no person id, which evaluation needs")
    own = [texts.get(record.name, TestTexts(None, ())) for record in records]
    sentences = [records[index].captions[number] for index, number in queries]
    rewrites = [own[index].rewrite_of(query, number) for query, (index, number) in zip(sentences, queries, strict=True)]
    person_ids = np.array([record.person_id for record in records])
    source_images = np.array([index for index, _ in queries])
    return RetrievalSet(
        records=tuple(records),
        captions=tuple(text.caption for text in own),
        queries=tuple(sentences),
        rewrites=tuple(rewrites),
        query_ids=person_ids[source_images],
        gallery_ids=person_ids,
        source_images=source_images,
    )
