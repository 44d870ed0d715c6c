"""DBSCAN over sparse pairs of near points, or over rows of the distance matrix (as published)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_BLOCK_CELLS = 2**24  # row distances held at once


def cluster_precomputed(distance: sparse.csr_matrix, *, eps: float, min_samples: int) -> NDArray[np.int64]:
    """DBSCAN labels [N] over sparse distances; -1 is noise.

    Args:
        distance: [N, N], of the pairs i < j; an absent pair is farther than eps.
        eps: radius of the ball, which is closed.
        min_samples: points in the ball around a point, itself included, that make it a core point.
    """
    near = np.flatnonzero(distance.data <= eps)
    indptr = np.searchsorted(near, distance.indptr)
    pairs = (np.ones(len(near), bool), distance.indices[near], indptr)
    return cluster_pairs(sparse.csr_matrix(pairs, shape=distance.shape), min_samples=min_samples)


def cluster_pairs(pairs: sparse.csr_matrix, *, min_samples: int) -> NDArray[np.int64]:
    """DBSCAN labels [N] given the pairs within the radius, numbered as scikit-learn does; -1 is noise.

    Clusters are numbered by their first core point, and a border point of several clusters belongs to the first.

    Args:
        pairs: [N, N], an entry for every pair i < j within the radius, whatever its value.
        min_samples: as in `cluster_precomputed`.
    """
    count = pairs.shape[0]
    row, column = np.repeat(np.arange(count, dtype=np.int32), np.diff(pairs.indptr)), pairs.indices
    core = 1 + np.diff(pairs.indptr) + np.bincount(column, minlength=count) >= min_samples
    joined = core[row] & core[column]
    graph = sparse.csr_matrix((np.ones(joined.sum(), bool), (row[joined], column[joined])), shape=pairs.shape)
    component = connected_components(graph, directed=False)[1] if count else np.empty(0, int)
    _, first, number = np.unique(component[core], return_index=True, return_inverse=True)
    labels = np.full(count, -1)
    labels[core] = np.argsort(np.argsort(first))[number]
    # Of several labels written to one border point the last one stays, so the first cluster is written last.
    point, other = np.concatenate([row, column]), np.concatenate([column, row])
    border = np.flatnonzero(core[other] & ~core[point])
    border = border[np.argsort(-labels[other[border]], kind="stable")]
    labels[point[border]] = labels[other[border]]
    return labels


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
    return cluster_pairs(sparse.vstack(near, format="csr"), min_samples=min_samples)
