"""How good pseudo-labels are, for the report alone: nothing here flows back into training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


def label_quality(labels: NDArray[np.int64], person_ids: NDArray[np.int64] | None = None) -> dict[str, float]:
    """Count clusters, and compare them with the true persons where these are known.

    Args:
        labels: [N], -1 is noise. To be compared, every noise image is a cluster of its own: dropping the hard images
            must not look like knowing them.
        person_ids: [N], or None.

    Returns:
        `clusters`, `noise`, `largest` and `mean_size`, and with ids `ari` (adjusted Rand index) and `nmi` in [0, 1].
    """
    sizes = np.bincount(labels[labels >= 0])
    noise = labels < 0
    quality: dict[str, float] = {
        "clusters": len(sizes),
        "noise": int(noise.sum()),
        "largest": int(sizes.max(initial=0)),
        "mean_size": round(float(sizes.mean()), 2) if len(sizes) else 0.0,
    }
    if person_ids is not None:
        apart = np.where(noise, len(sizes) + np.cumsum(noise), labels)
        quality["ari"] = float(adjusted_rand_score(person_ids, apart))
        quality["nmi"] = float(normalized_mutual_info_score(person_ids, apart))
    return quality


def describe_quality(quality: dict[str, float]) -> str:
    """Say a clustering's quality in a few words."""
    words = f"{quality['clusters']} clusters, {quality['noise']} noise"
    return words + (f", ARI {quality['ari']:.3f}, NMI {quality['nmi']:.3f}" if "ari" in quality else "")
