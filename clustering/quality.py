"""Quality of pseudo-labels, for reports only: training never uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_CELLS = 2**22  # distances held at once


def label_quality(
    labels: NDArray[np.int64],
    person_ids: NDArray[np.int64] | None = None,
    *,
    previous: NDArray[np.int64] | None = None,
    silhouette: float | None = None,
) -> dict[str, float]:
    """Count clusters, and compare them with the previous round, and with the true persons if they are known.

    Args:
        labels: [N], -1 is noise. For comparisons every noise image is a separate cluster, so that leaving out hard
            images does not raise the agreement.
        person_ids: [N], or None.
        previous: [N], labels of the previous round, or None.
        silhouette: as returned by `silhouette`, or None.

    Returns:
        `clusters`, `noise`, `largest`, `mean_size` and `median_size`; `silhouette` if it is finite; with `previous`
        also `ari_before` (adjusted Rand index); with `person_ids` also `ari`, `nmi`, `precision`, `recall` and `f` of
        the pairs of images that share a cluster, and `purity` (share of images that show the most frequent person of
        their cluster), all at most 1.
    """
    from sklearn.metrics import adjusted_rand_score  # takes a second to import, which only rank 0 should spend

    sizes = np.bincount(labels[labels >= 0])
    quality: dict[str, float] = {
        "clusters": len(sizes),
        "noise": int((labels < 0).sum()),
        "largest": int(sizes.max(initial=0)),
        "mean_size": round(float(sizes.mean()), 2) if len(sizes) else 0.0,
        "median_size": float(np.median(sizes)) if len(sizes) else 0.0,
    }
    if silhouette is not None and np.isfinite(silhouette):
        quality["silhouette"] = silhouette
    if previous is not None:
        quality["ari_before"] = float(adjusted_rand_score(_noise_as_singletons(previous), _noise_as_singletons(labels)))
    if person_ids is not None:
        quality |= _agreement(_noise_as_singletons(labels), person_ids)
    return quality


def _noise_as_singletons(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels in which every noise image is a separate cluster."""
    noise = labels < 0
    return np.where(noise, labels.max(initial=-1) + np.cumsum(noise), labels)


def _agreement(clusters: NDArray[np.int64], person_ids: NDArray[np.int64]) -> dict[str, float]:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import pair_confusion_matrix

    (_, wrong), (missed, right) = pair_confusion_matrix(person_ids, clusters).astype(float)
    precision = right / (right + wrong) if right + wrong else 0.0
    recall = right / (right + missed) if right + missed else 0.0
    pairs, counts = np.unique(np.stack([clusters, person_ids]), axis=1, return_counts=True)
    largest = np.zeros(int(clusters.max(initial=-1)) + 1, np.int64)
    np.maximum.at(largest, pairs[0], counts)
    return {
        "ari": float(adjusted_rand_score(person_ids, clusters)),
        "nmi": float(normalized_mutual_info_score(person_ids, clusters)),
        "precision": precision,
        "recall": recall,
        "f": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "purity": float(largest.sum() / len(clusters)) if len(clusters) else 0.0,
    }


def silhouette(features: NDArray[Any], labels: NDArray[np.int64], *, sample: int = 1000, seed: int = 0) -> float:
    """Mean silhouette (Rousseeuw 1987) of a sample of the clustered images, in Euclidean distance between features.

    Each image of the sample is compared with all clustered images; noise is left out, and a cluster of one image
    counts as 0.

    Returns:
        A value from -1 to 1; NaN if there are fewer than two clusters.
    """
    inside = np.flatnonzero(labels >= 0)
    order = inside[np.argsort(labels[inside], kind="stable")]
    _, first, size = np.unique(labels[order], return_index=True, return_counts=True)
    if len(size) < 2:
        return float("nan")
    chosen = np.sort(np.random.default_rng(seed).choice(len(order), min(sample, len(order)), replace=False))
    own = np.searchsorted(first, chosen, side="right") - 1
    points = features[order].astype(np.float32)
    points -= points.mean(axis=0)
    norms = np.einsum("nd,nd->n", points, points)
    total = 0.0
    for start in range(0, len(chosen), step := max(1, _BLOCK_CELLS // len(order))):
        one, cluster = chosen[start : start + step], own[start : start + step]
        square = norms[one, None] + norms[None] - 2 * points[one] @ points.T
        square[np.arange(len(one)), one] = 0  # exactly, despite rounding
        sums = np.add.reduceat(np.sqrt(np.maximum(square, 0)), first, axis=1)
        row = np.arange(len(one))
        inner = sums[row, cluster] / np.maximum(size[cluster] - 1, 1)
        sums /= size
        sums[row, cluster] = np.inf
        outer = sums.min(axis=1)
        larger = np.maximum(inner, outer)
        value = np.divide(outer - inner, larger, out=np.zeros_like(larger), where=larger > 0)
        total += float(value[size[cluster] > 1].sum())
    return total / len(chosen)


def describe_quality(quality: dict[str, float]) -> str:
    """Summarize the result of `label_quality` in one line."""
    summary = f"{quality['clusters']} clusters, {quality['noise']} noise"
    if "ari" not in quality:
        return summary
    return (
        f"{summary}, ARI {quality['ari']:.3f}, NMI {quality['nmi']:.3f}, pairs of images: precision "
        f"{quality['precision']:.3f}, recall {quality['recall']:.3f}"
    )
