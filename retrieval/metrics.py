"""Rank-k, mAP and mINP of a score matrix, of any method.

python -m retrieval.metrics scores.npz       # arrays `scores` [Q, G], `query_ids` [Q], `gallery_ids` [G]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.figures import KS
from utils.errors import UserError, run_script
from utils.files import read_npz, write_json
from utils.jit import cached_njit

DRAWS = 2000  # of people, for intervals
_AT_ONCE = 2**12  # right images whose ranks a thread counts before it takes others


@dataclass(frozen=True)
class Judged:
    """How each of Q queries was answered.

    Attributes:
        first: [Q] rank of the first right image; beyond every rank where there is none.
        precision: [Q] average precision, from 0 to 1.
        inverse: [Q] (right images) / (rank of the last of them), from 0 to 1.
        right: [Q] right images in the gallery.
        query_ids: [Q].
    """

    first: NDArray[np.int64]
    precision: NDArray[np.float64]
    inverse: NDArray[np.float64]
    right: NDArray[np.int64]
    query_ids: NDArray[np.int64]

    @property
    def hopeless(self) -> int:
        """Queries without a right image in the gallery; they count, as never found."""
        return int((self.right == 0).sum())

    def columns(self, ks: Sequence[int] = KS) -> dict[str, NDArray]:
        """[Q] in percent of each figure, which is the mean of its column."""
        ranks: dict[str, NDArray] = {f"R{k}": 100.0 * (self.first <= k) for k in ks}
        return ranks | {"mAP": 100 * self.precision, "mINP": 100 * self.inverse}

    def figures(self, ks: Sequence[int] = KS) -> dict[str, float]:
        """The means over all queries, in percent."""
        return {name: float(column.mean()) for name, column in self.columns(ks).items()}


def rank_metrics(scores: NDArray, query_ids: NDArray, gallery_ids: NDArray, ks: Sequence[int] = KS) -> dict[str, float]:
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
    return judge_queries(scores, query_ids, gallery_ids).figures(ks)


def judge_queries(scores: NDArray, query_ids: NDArray, gallery_ids: NDArray) -> Judged:
    """Rank the right images of every query; nothing is sorted, and no second [Q, G] matrix is made.

    Args, Raises: as `rank_metrics`.
    """
    scores, query_ids, gallery_ids = np.asarray(scores), np.asarray(query_ids), np.asarray(gallery_ids)
    if query_ids.ndim != 1 or gallery_ids.ndim != 1:
        raise ValueError(f"ids should be one id for each: {query_ids.shape} query and {gallery_ids.shape} gallery ids")
    if scores.dtype.kind not in "fiub":
        raise ValueError(f"scores are no real numbers but {scores.dtype}")
    if scores.shape != (len(query_ids), len(gallery_ids)):
        raise ValueError(f"scores {scores.shape} do not fit {len(query_ids)} query and {len(gallery_ids)} gallery ids")
    if not scores.size:
        raise ValueError("there is nothing to rank: no query or no gallery image")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    for row, line in enumerate(scores):
        if np.isnan(line).any():
            raise ValueError(f"scores hold NaN, first for query {row}")
    # The right images of a query stand together once the gallery is sorted by person.
    by_person = np.argsort(gallery_ids, kind="stable")
    begin = np.searchsorted(gallery_ids[by_person], query_ids, side="left")
    right = np.searchsorted(gallery_ids[by_person], query_ids, side="right") - begin
    ends = np.cumsum(right)
    query = np.repeat(np.arange(len(query_ids)), right)
    place = np.arange(ends[-1]) - np.repeat(ends - right, right)  # among the right images of the query
    image = by_person[np.repeat(begin, right) + place]
    rank = np.empty(len(query), np.int64)
    starts = range(0, len(query), _AT_ONCE)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(lambda start: _rank(scores, query, image, rank, start, start + _AT_ONCE), starts))
    # By query and rank: the n-th right image at rank r adds n / r.
    rank = rank[np.lexsort((rank, query))]
    precision = np.bincount(query, (place + 1) / rank, minlength=len(query_ids)) / np.maximum(right, 1)
    first = np.full(len(query_ids), np.iinfo(np.int64).max)
    last = np.full(len(query_ids), len(gallery_ids))
    some = right > 0
    first[some], last[some] = rank[(ends - right)[some]], rank[ends[some] - 1]
    return Judged(first, precision, right / last, right, query_ids)


@cached_njit()
def _rank(scores: NDArray, query: NDArray, image: NDArray, rank: NDArray, start: int, stop: int) -> None:
    """Ranks, from 1, of the images from `start` to `stop` among all of their queries' scores."""
    for pair in range(start, min(stop, query.shape[0])):
        line, own = scores[query[pair]], scores[query[pair], image[pair]]
        before = 0
        for other in range(line.shape[0]):
            before += line[other] > own
        for other in range(image[pair]):
            before += line[other] == own
        rank[pair] = before + 1


def intervals(judged: Judged, *, draws: int = DRAWS, seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of each figure by bootstrap over people, in percent.

    People are drawn with replacement, each with all their queries: queries of one person are not independent.
    """
    _, person = np.unique(judged.query_ids, return_inverse=True)
    people = int(person.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=draws)
    queries = drawn @ np.bincount(person)
    found = {}
    for name, column in judged.columns().items():
        means = drawn @ np.bincount(person, column) / queries
        low, high = np.percentile(means, (2.5, 97.5))
        found[name] = (float(low), float(high))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m retrieval.metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scores", type=Path, help=".npz file of `scores`, `query_ids` and `gallery_ids`")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    given = parser.parse_args(argv)
    judged = _judge_file(given.scores)
    bounds = intervals(judged)
    figures = judged.figures()
    print(f"{len(judged.first)} queries of {len(np.unique(judged.query_ids))} people; 95 % intervals over people\n")
    for name, value in figures.items():
        print(f"{name:>5} {value:7.2f}  [{bounds[name][0]:.2f}, {bounds[name][1]:.2f}]")
    if judged.hopeless:
        print(f"\n{judged.hopeless} queries have no right image in the gallery: they count as never found")
    if given.out:
        write_json(given.out, figures | {"intervals": bounds, "queries_without_right_image": judged.hopeless})


def _judge_file(path: Path) -> Judged:
    arrays = read_npz(path, ("scores", "query_ids", "gallery_ids"))
    try:
        return judge_queries(**arrays)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


if __name__ == "__main__":
    run_script(main)
