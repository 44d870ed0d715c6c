"""Which camera took a photograph, by its name, and figures of one camera's gallery at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from retrieval.metrics import Judged, judge_queries
from retrieval.retrieval_set import RetrievalSet
from retrieval.scorer import Scorer
from retrieval.scoring import rerank
from utils.errors import UserError

PATTERNS = (
    r"_c(\d+)",  # Market-1501 ("0002_c1s1_000451_03.jpg"), RSTPReid ("0000_c1_0004.jpg"), the demo
    r"(?:^|/)\d+_\d+_(\d+)_",  # ICFG-PEDES ("test/0627/0627_010_05_0303afternoon_1591_0.jpg")
    r"^([^/]+)/",  # CUHK-PEDES ("cam_a/001.jpg"): its folders are sources and cameras
)


def cameras_of(names: Sequence[str], pattern: str | None = None) -> list[str]:
    """The camera of each image, by a given pattern or by the first of `PATTERNS` that tells two cameras or more.

    Raises:
        UserError: no pattern fits all names, or it is none.
    """
    wrong = names[0]
    for one in [pattern] if pattern else PATTERNS:
        try:
            found = [match[1] if (match := re.search(one, name)) else None for name in names]
        except (re.error, IndexError) as error:
            raise UserError(f"--by-camera {one} is no pattern with one group: {error}") from None
        cameras = [camera for camera in found if camera]
        if len(cameras) == len(names) and (pattern or len(set(cameras)) > 1):
            return cameras
        wrong = next((name for name, camera in zip(names, found, strict=True) if not camera), wrong)
    raise UserError(f"--by-camera: the name {wrong} does not tell a camera: give a pattern with one group")


def judge_by_camera(
    scorer: Scorer, retrieval: RetrievalSet, cameras: Sequence[str], *, weight: float, k: int
) -> dict[str, Judged]:
    """How queries are answered where the gallery is one camera's: {camera: those whose person it has seen}."""
    camera, similarity, found = np.array(cameras), scorer.similarity(weight), {}
    for name in sorted(set(cameras)):
        gallery = np.flatnonzero(camera == name)
        queries = np.flatnonzero(np.isin(retrieval.query_ids, retrieval.gallery_ids[gallery]))
        if not len(queries):
            continue
        rows, columns = torch.from_numpy(queries), torch.from_numpy(gallery)
        part = similarity[rows][:, columns]
        scores = rerank(part, partial(_match_part, scorer, rows, columns), k)
        found[name] = judge_queries(scores.numpy(), retrieval.query_ids[queries], retrieval.gallery_ids[gallery])
    return found


def _match_part(scorer: Scorer, rows: Tensor, columns: Tensor, queries: Tensor, images: Tensor) -> Tensor:
    return scorer.match(rows[queries], columns[images])
