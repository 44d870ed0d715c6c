"""DBSCAN over sparse pairs of near points, or over rows of the distance matrix (as published)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_BLOCK_CELLS = 2**24  # row distances held at once


def cluster_precomputed(distance: sparse.csr_matrix, *, eps: float, min_samples: int) -> NDArray[np.int64]:
    """DBSCAN labels [N] over sparse distances; -1 is noise.

    Clusters are numbered by their first core point, and a border point of several clusters belongs to the first.

    Args:
        distance: [N, N], of the pairs i < j; an absent pair is farther than eps.
        eps: radius of the ball, which is closed.
        min_samples: points in the ball around a point, itself included, that make it a core point.
    """
    from sklearn.cluster import DBSCAN  # takes a second to import, which only rank 0 should spend

    count = distance.shape[0]
    if not count:
        return np.empty(0, np.int64)
    near = np.flatnonzero(distance.data <= eps)
    pairs = (np.ones(len(near), bool), distance.indices[near], np.searchsorted(near, distance.indptr))
    upper = sparse.csr_matrix(pairs, shape=distance.shape)
    # Truth values count as a distance of 1, so that scikit-learn neither sorts nor filters them.
    graph = upper + upper.T + sparse.eye(count, dtype=bool, format="csr")
    return DBSCAN(eps=1, min_samples=min_samples, metric="precomputed").fit_predict(graph)


def cluster_rows(
    pairs: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, *, eps: float, min_samples: int
) -> NDArray[np.int64]:
    """DBSCAN labels [N] over the Euclidean distance between rows of D (as published), without D itself.

    With Jaccard similarities S, `D_ij = (1 - w)(1 - S_ij) + w (a_i + a_j)`, so that with b = 1 - w, row sums s and
    squared row norms n of S:
    `|D_i - D_j|^2 = b^2 (n_i + n_j - 2 S_i.S_j) - 2 b w (s_i - s_j)(a_i - a_j) + w^2 N (a_i - a_j)^2`.

    Args:
        pairs: Jaccard distances of the pairs i < j, [N, N], absent where they are 1.
        offsets: a [N]; zeros without a source set.
        weight: w.
        eps, min_samples: as in `cluster_precomputed`.
    """
    count = pairs.shape[0]
    upper = sparse.csr_matrix((1 - pairs.data, pairs.indices, pairs.indptr), shape=pairs.shape)
    similarity = (upper + upper.T + sparse.eye(count)).tocsr()
    keep = 1 - weight
    squared_norms = keep**2 * np.asarray(similarity.multiply(similarity).sum(axis=1)).ravel()
    sums = np.asarray(similarity.sum(axis=1)).ravel()
    near = [sparse.csr_matrix((0, count), dtype=bool)]
    step = max(1, _BLOCK_CELLS // max(1, count))
    for start in range(0, count, step):
        part = slice(start, min(count, start + step))
        shift = offsets[part, None] - offsets[None]
        squared = squared_norms[part, None] + squared_norms[None]
        squared = squared - 2 * keep**2 * (similarity[part] @ similarity).toarray()
        squared += weight * shift * (weight * count * shift - 2 * keep * (sums[part, None] - sums[None]))
        near.append(sparse.csr_matrix(np.triu(squared <= eps**2, k=start + 1)))
    return cluster_precomputed(sparse.vstack(near, format="csr"), eps=1, min_samples=min_samples)  # true counts as 1
