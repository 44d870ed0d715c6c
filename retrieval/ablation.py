"""Metrics with and without rewrites (MSM) and matching (ITM), over their weight and k, and for each camera."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retrieval.metrics import QueryMetrics, confidence_intervals, evaluate_queries
from retrieval.scoring import Match, Scorer, rerank
from utils.errors import UserError

WEIGHTS = tuple(tenth / 10 for tenth in range(11))
KS = (0, 2, 4, 8, 16, 32, 64, 128)
VARIANTS = ((False, False), (True, False), (False, True), (True, True))  # (msm, itm)

CAMERA_PATTERNS = (
    r"_c(\d+)",  # Market-1501 ("0002_c1s1_000451_03.jpg"), RSTPReid ("0000_c1_0004.jpg"), the demo
    r"(?:^|/)\d+_\d+_(\d+)_",  # ICFG-PEDES ("test/0627/0627_010_05_0303afternoon_1591_0.jpg")
    r"^([^/]+)/",  # CUHK-PEDES ("cam_a/001.jpg"): its folders are sources and cameras
)


@dataclass(frozen=True)
class AblationRow:
    """The method with or without rewrites and matching.

    Attributes:
        msm: whether the rewrites and captions contribute to the similarity.
        itm: whether the matching head re-ranks the best images.
        queries: metrics of each query.
        metrics: R1, R5, R10, mAP and mINP in percent.
        intervals: 95 % confidence interval of each metric.
        milliseconds: time per query, from text to ranking, given the gallery's embeddings.
        llm_calls: per query; None if unknown.
    """

    msm: bool
    itm: bool
    queries: QueryMetrics
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    milliseconds: float
    llm_calls: int | None


@dataclass(frozen=True)
class SweepPoint:
    """Metrics at one weight of the rewrites and one number of re-ranked images."""

    weight: float
    k: int
    metrics: dict[str, float]


def ablation_rows(scorer: Scorer, *, weight: float, k: int, llm_calls: int | None) -> list[AblationRow]:
    """Evaluate all `VARIANTS`.

    Args:
        weight: of the rewrites.
        k: images per query that the matching head re-ranks.
        llm_calls: that one rewrite took; None if unknown.
    """
    embeddings = scorer.embeddings
    k = min(k, len(embeddings.image))
    has_rewrites = weight > 0 and scorer.rewrite_caption is not None
    evaluated = [scorer.evaluate(weight=weight * msm, k=k * itm) for msm, itm in VARIANTS]
    seconds_per_pair = scorer.match.seconds / max(scorer.match.num_pairs, 1)
    num_queries = len(embeddings.query)
    rows = []
    for (msm, itm), queries in zip(VARIANTS, evaluated, strict=True):
        seconds = embeddings.seconds["queries"] + scorer.seconds
        seconds += (embeddings.seconds["rewrites"] + scorer.seconds) * msm + num_queries * k * seconds_per_pair * itm
        rows.append(
            AblationRow(
                msm=msm,
                itm=itm,
                queries=queries,
                metrics=queries.means(),
                intervals=confidence_intervals(queries),
                milliseconds=1000 * seconds / num_queries,
                llm_calls=llm_calls if msm and has_rewrites else 0,
            )
        )
    return rows


def sweep(scorer: Scorer, weights: Iterable[float], ks: Iterable[int]) -> list[SweepPoint]:
    """Evaluate every weight with every k."""
    ks = sorted(set(ks), reverse=True)  # largest first: the images of a smaller k are among its images
    return [
        SweepPoint(weight, k, scorer.evaluate(weight=weight, k=k).means())
        for weight in sorted(set(weights))
        for k in ks
    ]


def sweep_scored_pairs(scorer: Scorer, *, weight: float, k: int) -> list[SweepPoint]:
    """Evaluate what the pairs that `ablation_rows` has scored suffice for: every weight without matching, smaller k."""
    smaller = {k, *(one for one in KS if 0 < one < k)} - {0}
    return sweep(scorer, {*WEIGHTS, weight}, [0]) + sweep(scorer, {0.0, weight}, smaller)


def best_point(points: Sequence[SweepPoint], by: str) -> SweepPoint:
    """Return the point with the highest metric; of equal ones, the one with the smallest k, then weight."""
    return min(points, key=lambda point: (-point.metrics[by], point.k, point.weight))


def search_grid(weight: float | str, k: int | str, gallery: int) -> tuple[Sequence[float], Sequence[int]]:
    """Return the weights and the ks to try: a number stands for itself, "val" for all up to the gallery's size."""
    return (
        WEIGHTS if isinstance(weight, str) else [weight],
        [one for one in KS if one <= gallery] if isinstance(k, str) else [k],
    )


def camera_names(images: Sequence[str], pattern: str | None = None) -> list[str]:
    """Return the camera of each image by its name.

    Args:
        pattern: regular expression with one group; None tries `CAMERA_PATTERNS` for one that finds several cameras.

    Raises:
        UserError: the pattern is invalid, or none matches all names.
    """
    unmatched = images[0]
    for one in [pattern] if pattern else CAMERA_PATTERNS:
        try:
            found = [match[1] if (match := re.search(one, image)) else None for image in images]
        except (re.error, IndexError) as error:
            raise UserError(f"--by-camera {one} is not a regular expression with one group: {error}") from None
        cameras = [camera for camera in found if camera]
        if len(cameras) == len(images) and (pattern or len(set(cameras)) > 1):
            return cameras
        unmatched = next((image for image, camera in zip(images, found, strict=True) if not camera), unmatched)
    raise UserError(f"--by-camera: no camera in the image name {unmatched}: give a regular expression with one group")


def evaluate_by_camera(
    scorer: Scorer, camera_of_image: Sequence[str], *, weight: float, k: int
) -> dict[str, QueryMetrics]:
    """Evaluate on the gallery of one camera at a time, with the queries whose person it has captured.

    Args:
        camera_of_image: [G] names of cameras.
    """
    cameras, similarity, retrieval = np.array(camera_of_image), scorer.similarity(weight), scorer.retrieval
    found = {}
    for camera in sorted(set(camera_of_image)):
        gallery = np.flatnonzero(cameras == camera)
        queries = np.flatnonzero(np.isin(retrieval.query_ids, retrieval.gallery_ids[gallery]))
        if not len(queries):
            continue
        rows, columns = torch.from_numpy(queries), torch.from_numpy(gallery)
        scores = rerank(similarity[rows][:, columns], _match_subset(scorer.match, rows, columns), k)
        found[camera] = evaluate_queries(scores.numpy(), retrieval.query_ids[queries], retrieval.gallery_ids[gallery])
    return found


def _match_subset(match: Match, queries: Tensor, images: Tensor) -> Match:
    """Score pairs that are given by their positions in a subset of queries and images."""
    return lambda query, image: match(queries[query], images[image])
