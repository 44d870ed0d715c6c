"""What a test needs: gallery, queries, who is who, and what a language model wrote of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.captions import TestTexts
from data.records import ImageRecord
from utils.errors import UserError


@dataclass(frozen=True)
class RetrievalSet:
    """A gallery and the queries that search it.

    Attributes:
        records: [G] gallery images.
        captions: [G] their generated captions, None where there is none.
        queries: [Q] sentences.
        rewrites: [Q] the same in the style of the captions, None where there is none.
        query_ids, gallery_ids: [Q] and [G] person ids.
    """

    records: tuple[ImageRecord, ...]
    captions: tuple[str | None, ...]
    queries: tuple[str, ...]
    rewrites: tuple[str | None, ...]
    query_ids: NDArray[np.int64]
    gallery_ids: NDArray[np.int64]


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
    for record in records:
        own = texts.get(record.name)
        for number, query in enumerate(record.captions):
            queries.append(query)
            rewrites.append(own.rewrite_of(query, number) if own else None)
            query_ids.append(record.person_id)
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
    )
