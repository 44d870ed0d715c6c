"""DBSCAN over pairs of near points, and over rows of the distance matrix as the release does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_CELLS_AT_ONCE = 2**24


def cluster_precomputed(distance: sparse.csr_matrix, *, eps: float, min_samples: int) -> NDArray[np.int64]:
    """DBSCAN labels [N] over a sparse distance matrix that holds every pair within `eps`; -1 is noise.

    Args:
        distance: [N, N], both directions of each pair or one alone; an absent pair is farther than eps.
        eps: radius of the ball, which is closed.
        min_samples: points in the ball, its centre included, that make that a core point.
    """
    near = np.flatnonzero(distance.data <= eps)
    within = np.searchsorted(near, distance.indptr)
    row = np.repeat(np.arange(distance.shape[0], dtype=np.int32), np.diff(within))
    column = distance.indices[near]
    if (row < column).all():
        pairs = sparse.csr_matrix((np.ones(len(row), bool), column, within), shape=distance.shape)
    else:
        other = row != column
        low, high = np.minimum(row, column)[other], np.maximum(row, column)[other]
        # As booleans, a pair that is there in both directions is summed to one.
        pairs = sparse.coo_matrix((np.ones(len(low), bool), (low, high)), shape=distance.shape).tocsr()
    return cluster_pairs(pairs, min_samples=min_samples)


def cluster_pairs(pairs: sparse.csr_matrix, *, min_samples: int) -> NDArray[np.int64]:
    """DBSCAN labels [N] where the pairs within the radius are known, numbered as scikit-learn does.

    Clusters are numbered by their first core point, and a point between two of them belongs to the first.

    Args:
        pairs: [N, N], an entry for every pair i < j within the radius, whatever its value.
        min_samples: points within the radius, the point itself included, that make it a core point.
    """
    count = pairs.shape[0]
    row, column = np.repeat(np.arange(count, dtype=np.int32), np.diff(pairs.indptr)), pairs.indices
    core = 1 + np.diff(pairs.indptr) + np.bincount(column, minlength=count) >= min_samples
    joined = core[row] & core[column]
    graph = sparse.csr_matrix((np.ones(joined.sum(), bool), (row[joined], column[joined])), shape=pairs.shape)
    part = connected_components(graph, directed=False)[1] if count else np.empty(0, int)
    _, first, number = np.unique(part[core], return_index=True, return_inverse=True)
    labels = np.full(count, -1)
    labels[core] = np.argsort(np.argsort(first))[number]
    # The last core point that is written is the one whose cluster comes first.
    point, other = np.concatenate([row, column]), np.concatenate([column, row])
    reached = np.flatnonzero(core[other] & ~core[point])
    reached = reached[np.argsort(-labels[other[reached]], kind="stable")]
    labels[point[reached]] = labels[other[reached]]
    return labels


def cluster_rows(
    pairs: sparse.csr_matrix, offsets: NDArray[np.float64], weight: float, *, eps: float, min_samples: int
) -> NDArray[np.int64]:
    """DBSCAN labels [N] over the Euclidean distance between rows of D, as published, without D itself.

    With Jaccard similarities S, `D_ij = (1 - w)(1 - S_ij) + w (a_i + a_j)`, so that with b = 1 - w, row sums s and
    squared row norms n of S:
    `|D_i - D_j|^2 = b^2 (n_i + n_j - 2 S_i.S_j) - 2 b w (s_i - s_j)(a_i - a_j) + w^2 N (a_i - a_j)^2`.

    Args:
        pairs: Jaccard distances of the pairs i < j, [N, N], absent where they are 1.
        offsets: a [N]; zeros where there is no source set.
        weight: w.
    """
    count = pairs.shape[0]
    upper = sparse.csr_matrix((1 - pairs.data, pairs.indices, pairs.indptr), shape=pairs.shape)
    similarity = (upper + upper.T + sparse.eye(count)).tocsr()
    keep = 1 - weight
    norms = keep**2 * np.asarray(similarity.multiply(similarity).sum(axis=1)).ravel()
    sums = np.asarray(similarity.sum(axis=1)).ravel()
    parts = [sparse.csr_matrix((0, count), dtype=bool)]
    step = max(1, _CELLS_AT_ONCE // max(1, count))
    for start in range(0, count, step):
        part = slice(start, min(count, start + step))
        shift = offsets[part, None] - offsets[None]
        square = norms[part, None] + norms[None] - 2 * keep**2 * (similarity[part] @ similarity).toarray()
        square += weight * shift * (weight * count * shift - 2 * keep * (sums[part, None] - sums[None]))
        parts.append(sparse.csr_matrix(np.triu(square <= eps**2, k=start + 1)))
    return cluster_pairs(sparse.vstack(parts, format="csr"), min_samples=min_samples)
