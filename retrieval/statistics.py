"""What a retrieval set is made of, in words and numbers."""

from __future__ import annotations

import re

import numpy as np

from retrieval.retrieval_set import NOBODY, RetrievalSet


def data_statistics(retrieval: RetrievalSet) -> dict[str, str]:
    """Counts of images, people, queries and texts, by what they are of."""
    known = retrieval.gallery_ids[retrieval.gallery_ids != NOBODY]
    _, images = np.unique(known, return_counts=True)
    asked, queries = np.unique(retrieval.query_ids, return_counts=True)
    found = {
        "Gallery": f"{len(known):,} images of {len(images):,} people",
        "Images of a person": _spread(images),
        "Queries": f"{len(retrieval.queries):,} about {len(asked):,} people",
        "Queries of a person": _spread(queries),
        "Words of a query": _spread(_words(retrieval.queries)),
        "Rewrites": _coverage(retrieval.rewrites),
        "Captions of the gallery": _coverage(retrieval.captions),
    }
    strangers = len(retrieval.gallery_ids) - len(known)
    return found | ({"Distractors": f"{strangers:,} images of others"} if strangers else {})


def _coverage(texts: tuple[str | None, ...]) -> str:
    given = [text for text in texts if text is not None]
    if not given:
        return "none"
    missing = f", {len(texts) - len(given):,} missing" if len(given) < len(texts) else ""
    return f"{len(given):,}, {len(set(given)):,} of them distinct{missing}; words: {_spread(_words(given))}"


def _words(texts: list[str] | tuple[str, ...]) -> np.ndarray:
    return np.array([len(re.findall(r"\w+", text)) for text in texts])


def _spread(values: np.ndarray) -> str:
    if not len(values):
        return "none"
    low, high, middle = int(values.min()), int(values.max()), float(np.median(values))
    return f"{low}" if low == high else f"{low} to {high}, median {middle:g}"
