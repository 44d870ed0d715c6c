"""DBSCAN over pairwise distances, and over rows of the distance matrix as the release does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import DBSCAN

_CELLS_AT_ONCE = 2**24


def cluster_precomputed(distance: sparse.csr_matrix, *, eps: float, min_samples: int) -> NDArray[np.int64]:
    """DBSCAN labels [N] over a sparse distance matrix that holds every pair within `eps`; -1 is noise."""
    if distance.shape[0] == 0:
        return np.empty(0, np.int64)
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(distance)
    return found.astype(np.int64)


def cluster_rows(
    similarity: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, *, eps: float, min_samples: int
) -> NDArray[np.int64]:
    """DBSCAN labels [N] over the Euclidean distance between rows of D, as published, without D itself.

    With Jaccard similarities S, `D_ij = (1 - w)(1 - S_ij) + w (a_i + a_j)`, so that with b = 1 - w, row sums s and
    squared row norms n of S:
    `|D_i - D_j|^2 = b^2 (n_i + n_j - 2 S_i.S_j) - 2 b w (s_i - s_j)(a_i - a_j) + w^2 N (a_i - a_j)^2`.

    Args:
        similarity: S [N, N], 1 on the diagonal, absent where zero.
        offsets: a [N]; zeros where there is no source set.
        weight: w.
    """
    count = similarity.shape[0]
    if count == 0:
        return np.empty(0, np.int64)
    keep = 1 - weight
    norms = keep**2 * np.asarray(similarity.multiply(similarity).sum(axis=1)).ravel()
    sums = np.asarray(similarity.sum(axis=1)).ravel()
    transposed = similarity.T.tocsc()
    parts = []
    for start in range(0, count, max(1, _CELLS_AT_ONCE // count)):
        part = slice(start, min(count, start + max(1, _CELLS_AT_ONCE // count)))
        shift = offsets[part, None] - offsets[None]
        square = norms[part, None] + norms[None] - 2 * keep**2 * (similarity[part] @ transposed).toarray()
        square += weight * shift * (weight * count * shift - 2 * keep * (sums[part, None] - sums[None]))
        row, column = np.nonzero(square <= eps**2)
        near = np.sqrt(np.clip(square[row, column], 0, None))
        parts.append(sparse.csr_matrix((near, (row, column)), shape=square.shape))
    return cluster_precomputed(sparse.vstack(parts, format="csr"), eps=eps, min_samples=min_samples)
