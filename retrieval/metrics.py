"""Rank-k, mAP and mINP of a score matrix, of any method.

python -m retrieval.metrics scores.npz       # arrays `scores` [Q, G], `query_ids` [Q], `gallery_ids` [G]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from utils.errors import UserError, run_script
from utils.files import as_path, read_npz, write_json
from utils.jit import cached_njit
from utils.logs import show

Array = NDArray[Any]

KS = (1, 5, 10)  # of Rank-k
METRICS = (*(f"R{k}" for k in KS), "mAP", "mINP")  # in the order of every table
DRAWS = 2000  # bootstrap samples
_CHUNK = 2**12  # matches whose ranks a thread counts at a time


@dataclass(frozen=True)
class QueryMetrics:
    """Metrics of each of Q queries; a match is a gallery image of the person that the query describes.

    Attributes:
        first_match_rank: [Q] rank of the first match, from 1; the largest int64 where there is no match.
        average_precision: [Q] from 0 to 1.
        inverse_penalty: [Q] (number of matches) / (rank of the last match), from 0 to 1; its mean is mINP.
        num_matches: [Q] in the gallery.
        query_ids: [Q] person ids.
    """

    first_match_rank: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    inverse_penalty: NDArray[np.float64]
    num_matches: NDArray[np.int64]
    query_ids: NDArray[np.int64]

    @property
    def num_queries_without_match(self) -> int:
        """Queries without a match in the gallery; every metric counts them as never found."""
        return int((self.num_matches == 0).sum())

    def per_query(self, ks: Sequence[int] = KS) -> dict[str, Array]:
        """Each metric by name, [Q] in percent."""
        hits: dict[str, Array] = {f"R{k}": 100.0 * (self.first_match_rank <= k) for k in ks}
        return hits | {"mAP": 100 * self.average_precision, "mINP": 100 * self.inverse_penalty}

    def means(self, ks: Sequence[int] = KS) -> dict[str, float]:
        """Each metric by name: its mean over all queries, in percent."""
        return {name: float(values.mean()) for name, values in self.per_query(ks).items()}


def rank_metrics(scores: Array, query_ids: Array, gallery_ids: Array, ks: Sequence[int] = KS) -> dict[str, float]:
    """Evaluate a ranking; ties go to the image that comes first in the gallery.

    Rank-k: share of queries with a match among the first k. mAP: mean over queries of average precision. mINP: mean of
    (number of matches) / (rank of the last match), the cost of finding them all (Ye et al., TPAMI 2021). A query whose
    person is not in the gallery counts as never found.

    Args:
        scores: [Q, G], higher is more similar.
        query_ids: [Q] person ids.
        gallery_ids: [G] person ids.
        ks: the k of Rank-k.

    Returns:
        `R<k>` for each k, `mAP` and `mINP`, in percent.

    Raises:
        ValueError: shapes do not agree, there is nothing to rank, or a score is NaN.
    """
    return evaluate_queries(scores, query_ids, gallery_ids).means(ks)


def evaluate_queries(scores: Array, query_ids: Array, gallery_ids: Array) -> QueryMetrics:
    """Rank the matches of every query, without sorting and without a second [Q, G] matrix.

    Args, Raises: as `rank_metrics`.
    """
    scores, query_ids, gallery_ids = np.asarray(scores), np.asarray(query_ids), np.asarray(gallery_ids)
    if query_ids.ndim != 1 or gallery_ids.ndim != 1:
        raise ValueError(f"ids should have one dimension: query ids {query_ids.shape}, gallery ids {gallery_ids.shape}")
    if scores.dtype.kind not in "fiub":
        raise ValueError(f"scores should be real numbers, not {scores.dtype}")
    if scores.shape != (len(query_ids), len(gallery_ids)):
        raise ValueError(f"scores {scores.shape} do not fit {len(query_ids)} query and {len(gallery_ids)} gallery ids")
    if not scores.size:
        raise ValueError("there is nothing to rank: no query or no gallery image")
    if query_ids.dtype.kind not in "iuUS" or (query_ids.dtype.kind in "iu") != (gallery_ids.dtype.kind in "iu"):
        raise ValueError(f"ids should be whole numbers or names, not {query_ids.dtype} and {gallery_ids.dtype}")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    for number, row in enumerate(scores):
        if np.isnan(row).any():
            raise ValueError(f"scores contain NaN, first for query {number}")
    # Once the gallery is sorted by person, the matches of a query are a slice of it.
    by_person = np.argsort(gallery_ids, kind="stable")
    begin = np.searchsorted(gallery_ids[by_person], query_ids, side="left")
    num_matches = np.searchsorted(gallery_ids[by_person], query_ids, side="right") - begin
    ends = np.cumsum(num_matches)
    query = np.repeat(np.arange(len(query_ids)), num_matches)
    place = np.arange(len(query)) - np.repeat(ends - num_matches, num_matches)
    image = by_person[np.repeat(begin, num_matches) + place]
    rank = np.empty(len(query), np.int64)
    starts = range(0, len(query), _CHUNK)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(lambda start: _count_ranks(scores, query, image, rank, start, start + _CHUNK), starts))
    # By query and rank: the n-th match at rank r adds n / r.
    rank = rank[np.lexsort((rank, query))]
    precision = np.bincount(query, (place + 1) / rank, minlength=len(query_ids)) / np.maximum(num_matches, 1)
    first = np.full(len(query_ids), np.iinfo(np.int64).max)
    last = np.full(len(query_ids), len(gallery_ids))
    found = num_matches > 0
    first[found], last[found] = rank[(ends - num_matches)[found]], rank[ends[found] - 1]
    return QueryMetrics(first, precision, num_matches / last, num_matches, query_ids)


@cached_njit()
def _count_ranks(scores: Array, query: Array, image: Array, rank: Array, start: int, stop: int) -> None:
    """Write the ranks, from 1, of the images from `start` to `stop` among all scores of their queries."""
    for pair in range(start, min(stop, query.shape[0])):
        row, own = scores[query[pair]], scores[query[pair], image[pair]]
        before = 0
        for other in range(row.shape[0]):
            before += row[other] > own
        for other in range(image[pair]):
            before += row[other] == own
        rank[pair] = before + 1


def confidence_intervals(queries: QueryMetrics, *, draws: int = DRAWS, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of each metric by bootstrap over identities, in percent.

    Identities are drawn with replacement, each with all its queries: queries of one person are not independent.
    """
    _, identity = np.unique(queries.query_ids, return_inverse=True)
    count = int(identity.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    num_queries = drawn @ np.bincount(identity)
    intervals = {}
    for name, values in queries.per_query().items():
        means = drawn @ np.bincount(identity, values) / num_queries
        low, high = np.percentile(means, (2.5, 97.5))
        intervals[name] = (float(low), float(high))
    return intervals


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m retrieval.metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scores", type=as_path, help=".npz file of `scores`, `query_ids` and `gallery_ids`")
    parser.add_argument("--out", type=as_path, help="also write the metrics to this file, as JSON")
    arguments = parser.parse_args(argv)
    arrays = read_npz(arguments.scores, ("scores", "query_ids", "gallery_ids"))
    try:
        queries = evaluate_queries(**arrays)
    except ValueError as error:
        raise UserError(f"{arguments.scores}: {error}") from None
    means, intervals, missing = queries.means(), confidence_intervals(queries), queries.num_queries_without_match
    identities = len(np.unique(queries.query_ids))
    # This command's purpose is to print its result.
    show(f"{len(queries.query_ids)} queries of {identities} identities; 95 % intervals (bootstrap over identities)\n")
    for name, value in means.items():
        show(f"{name:>5} {value:7.2f}  [{intervals[name][0]:.2f}, {intervals[name][1]:.2f}]")
    if missing:
        show(f"\n{missing} queries have no match in the gallery: they count as never found")
    if arguments.out:
        write_json(arguments.out, means | {"intervals": intervals, "queries_without_right_image": missing})


if __name__ == "__main__":
    run_script(main)
