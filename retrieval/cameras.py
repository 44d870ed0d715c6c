"""Which camera took a photograph, by its name, and figures of one camera's gallery at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from retrieval.metrics import Judged, judge_queries
from retrieval.retrieval_set import RetrievalSet
from utils.errors import UserError

PATTERNS = (
    r"_c(\d+)",  # Market-1501 ("0002_c1s1_000451_03.jpg"), RSTPReid ("0000_c1_0004.jpg"), the demo
    r"(?:^|/)\d+_\d+_(\d+)_",  # ICFG-PEDES ("test/0627/0627_010_05_0303afternoon_1591_0.jpg")
    r"^([^/]+)/",  # CUHK-PEDES ("cam_a/001.jpg"): its folders are sources and cameras
)


def cameras_of(names: Sequence[str], pattern: str | None = None) -> list[str]:
    """The camera of each image; the first of `PATTERNS` that fits all names, or a given one.

    Raises:
        UserError: no pattern fits, or it is none.
    """
    for one in [pattern] if pattern else PATTERNS:
        try:
            found = [re.search(one, name) for name in names]
            if all(found):
                return [match[1] for match in found if match]
        except (re.error, IndexError) as error:
            raise UserError(f"--by-camera {one} is no pattern with one group: {error}") from None
        wrong = next(name for name, match in zip(names, found, strict=True) if not match)
    raise UserError(f"--by-camera: the name {wrong} does not tell a camera: give a pattern with one group")


def judge_by_camera(scores: Tensor, retrieval: RetrievalSet, cameras: Sequence[str]) -> dict[str, Judged]:
    """How queries are answered where the gallery is one camera's: {camera: those whose person it has seen}."""
    camera = np.array(cameras)
    found = {}
    for name in sorted(set(cameras)):
        gallery = np.flatnonzero(camera == name)
        queries = np.flatnonzero(np.isin(retrieval.query_ids, retrieval.gallery_ids[gallery]))
        if len(queries):
            part = scores[queries][:, gallery].numpy()
            found[name] = judge_queries(part, retrieval.query_ids[queries], retrieval.gallery_ids[gallery])
    return found
