"""Rank-k, mAP and mINP of a score matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rank_metrics(
    scores: NDArray, query_ids: NDArray, gallery_ids: NDArray, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Evaluate a ranking; ties go to the image that stands first in the gallery.

    Rank-k: share of queries with an image of the right person among the first k. mAP: mean over queries of average
    precision. mINP: mean of (right images) / (rank of the last of them), the cost of finding them all (Ye et al.,
    TPAMI 2021). A query whose person is not in the gallery counts as never found.

    Args:
        scores: [Q, G], higher is nearer.
        query_ids: [Q].
        gallery_ids: [G].
        ks: the k of Rank-k.

    Returns:
        `R<k>` for each k, `mAP` and `mINP`, in percent.

    Raises:
        ValueError: shapes do not agree, there is nothing to rank, or a score is NaN.
    """
    scores, query_ids, gallery_ids = np.asarray(scores), np.asarray(query_ids), np.asarray(gallery_ids)
    if scores.shape != (len(query_ids), len(gallery_ids)):
        raise ValueError(f"scores {scores.shape} do not fit {len(query_ids)} query and {len(gallery_ids)} gallery ids")
    if not scores.size:
        raise ValueError("there is nothing to rank: no query or no gallery image")
    if np.isnan(scores).any():
        raise ValueError(f"scores hold NaN, first for query {int(np.isnan(scores).any(axis=1).argmax())}")
    order = np.argsort(-scores, axis=1, kind="stable")
    right = gallery_ids[order] == query_ids[:, None]
    found = right.cumsum(axis=1)
    total = found[:, -1]
    ranks = np.arange(1, right.shape[1] + 1)
    precision = (right * (found / ranks)).sum(axis=1) / np.maximum(total, 1)
    last = right.shape[1] - right[:, ::-1].argmax(axis=1)
    metrics = {f"R{k}": 100 * float((found[:, min(k, right.shape[1]) - 1] > 0).mean()) for k in ks}
    metrics["mAP"] = 100 * float(precision.mean())
    metrics["mINP"] = 100 * float((total / last).mean())
    return metrics
