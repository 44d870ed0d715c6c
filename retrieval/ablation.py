"""Metrics with and without rewrites (MSM) and matching (ITM), over their weight and k, and for each camera.

The weight and k themselves are configured, or tuned on the validation split.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from data.photographs import CAMERA_PATTERNS
from retrieval.metrics import QueryMetrics, confidence_intervals, evaluate_queries
from retrieval.options import EvaluationOptions
from retrieval.retrieval_set import RetrievalSet
from retrieval.scoring import Match, Scorer, rerank
from retrieval.slots import slot_agreement
from utils.errors import UserError
from utils.logs import log

WEIGHTS = tuple(tenth / 10 for tenth in range(11))
KS = (0, 2, 4, 8, 16, 32, 64, 128)
VARIANTS = ((False, False), (True, False), (False, True), (True, True))  # (msm, itm)


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

    @property
    def calls(self) -> str:
        """`llm_calls` for a table."""
        return "?" if self.llm_calls is None else str(self.llm_calls)


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
    seconds, num_queries = scorer.embeddings.seconds, len(scorer.embeddings.query)
    k = min(k, len(scorer.embeddings.image))
    if not weight or scorer.rewrite_caption is None:
        llm_calls = 0
    evaluated = [scorer.evaluate(weight=weight * msm, k=k * itm) for msm, itm in VARIANTS]
    plain = seconds["queries"] + scorer.seconds
    rewrites = seconds["rewrites"] + scorer.seconds
    matching = num_queries * k * scorer.match.seconds / max(scorer.match.num_pairs, 1)
    return [
        AblationRow(
            msm=msm,
            itm=itm,
            queries=queries,
            metrics=queries.means(),
            intervals=confidence_intervals(queries),
            milliseconds=1000 * (plain + rewrites * msm + matching * itm) / num_queries,
            llm_calls=llm_calls if msm else 0,
        )
        for (msm, itm), queries in zip(VARIANTS, evaluated, strict=True)
    ]


def slot_counting_row(retrieval: RetrievalSet, *, llm_calls: int | None) -> AblationRow | None:
    """Evaluate the ranking by equal slots of rewrites and captions, without a model; None if texts have no slots."""
    start = time.perf_counter()
    scores = slot_agreement(retrieval.rewrites, retrieval.captions)
    if scores is None:
        return None
    milliseconds = 1000 * (time.perf_counter() - start) / len(scores)
    queries = evaluate_queries(scores, retrieval.query_ids, retrieval.gallery_ids)
    return AblationRow(
        msm=True,
        itm=False,
        queries=queries,
        metrics=queries.means(),
        intervals=confidence_intervals(queries),
        milliseconds=milliseconds,
        llm_calls=llm_calls,
    )


def sweep(scorer: Scorer, weights: Iterable[float], ks: Iterable[int]) -> list[SweepPoint]:
    """Evaluate every weight with every k."""
    ks = sorted(set(ks), reverse=True)  # largest first: the images of a smaller k are among its images
    return [
        SweepPoint(weight, k, scorer.evaluate(weight=weight, k=k).means())
        for weight in sorted(set(weights))
        for k in ks
    ]


def sweep_around(scorer: Scorer, *, weight: float, k: int, full: bool) -> list[SweepPoint]:
    """Evaluate other weights and ks than those chosen.

    Args:
        full: evaluate every weight with every k. Otherwise, what the pairs that `ablation_rows` has scored suffice for:
            every weight without matching, and smaller ks.
    """
    gallery = len(scorer.retrieval.records)
    k = min(k, gallery)
    if full:
        return sweep(scorer, {*WEIGHTS, weight}, {k, *(one for one in KS if one <= gallery)})
    smaller = {k, *(one for one in KS if 0 < one < k)} - {0}
    return sweep(scorer, {*WEIGHTS, weight}, [0]) + sweep(scorer, {0.0, weight}, smaller)


def tune(scorer: Scorer, options: EvaluationOptions) -> list[SweepPoint]:
    """Return the metrics at the weights and ks to choose from, of which `weight_and_k` takes the best."""
    weights = WEIGHTS if options.msm_weight == "val" else [options.msm_weight]
    ks = [k for k in KS if k <= len(scorer.retrieval.records)] if options.k_test == "val" else [options.k_test]
    points = sweep(scorer, weights, ks)
    weight, k = weight_and_k(options, points)
    log.info(f"tuned on the validation split: weight of the rewrites {weight:g}, {k} re-ranked images per query")
    return points


def weight_and_k(options: EvaluationOptions, points: Sequence[SweepPoint]) -> tuple[float, int]:
    """Return the configured weight and k, or those of the point with the highest `select_by` if some were tuned.

    Of equal points, the one with the smallest k, then weight, is taken.
    """
    if options.msm_weight == "val" or options.k_test == "val":
        best = min(points, key=lambda point: (-point.metrics[options.select_by], point.k, point.weight))
        return best.weight, best.k
    return options.msm_weight, options.k_test


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
        camera_of_image: [G] names of cameras; may be empty.
    """
    cameras, retrieval, match = np.array(camera_of_image), scorer.retrieval, scorer.match
    similarity, found = scorer.similarity(weight), {}
    for camera in sorted(set(camera_of_image)):
        gallery = torch.from_numpy(np.flatnonzero(cameras == camera))
        people = retrieval.gallery_ids[gallery]
        queries = torch.from_numpy(np.flatnonzero(np.isin(retrieval.query_ids, people)))
        if len(queries):
            # Pairs are given by their positions in this camera's queries and gallery.
            match_here = partial(_match_subset, match, queries, gallery)
            scores = rerank(similarity[queries][:, gallery], match_here, k)
            found[camera] = evaluate_queries(scores.numpy(), retrieval.query_ids[queries], people)
    return found


def _match_subset(match: Match, queries: Tensor, images: Tensor, query: Tensor, image: Tensor) -> Tensor:
    return match(queries[query], images[image])
