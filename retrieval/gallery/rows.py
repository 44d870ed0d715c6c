"""The rows of an index: all compared with a query in memory, or found on disk by an approximate index."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from retrieval.gallery.build import EXACT_ROWS
from retrieval.gallery.index import SLOTS

_PROBES, _REFINE = 40, 8  # of the approximate index: partitions that are searched, and candidates per result
_COLUMNS = ["id", "path", "folder", "camera", "time", "width", "height", "caption", *SLOTS]


class Rows:
    """The rows of a table: in memory, where all are compared, or on disk behind an approximate index."""

    def __init__(self, table: Any) -> None:
        self._turn = threading.Lock()  # one product at a time uses all cores; several would only disturb each other
        self.count = table.count_rows()
        self.exact = self.count <= EXACT_ROWS
        self.vectors = np.empty((0, 0), np.float32)
        self.meta = self.ids = pa.table({})
        if self.exact:
            everything = table.search().select([*_COLUMNS, "vector"]).limit(max(1, self.count)).to_arrow()
            everything = everything.sort_by("path").combine_chunks()  # ties go to the first path
            self.vectors, self.meta = vectors_of(everything), everything.select(_COLUMNS)
            self.ids = everything["id"].combine_chunks()

    def best(
        self, vector: NDArray[np.float32], count: int, condition: str | None, table: Any
    ) -> tuple[NDArray[np.float32], pa.Table]:
        """Return the scores [K] and the rows of the best `count` that meet a condition, best first."""
        if not self.exact:
            search = table.search(vector.astype(np.float16), vector_column_name="vector").distance_type("dot")
            search = search.nprobes(_PROBES).refine_factor(_REFINE).limit(count).select([*_COLUMNS, "_distance"])
            found = (search.where(condition, prefilter=True) if condition else search).to_arrow()
            return 1 - found["_distance"].to_numpy(), found.select(_COLUMNS)
        rows = np.arange(self.count)
        if condition:
            chosen = table.search().where(condition).select(["id"]).limit(max(1, self.count)).to_arrow()["id"]
            rows = np.flatnonzero(pa.compute.is_in(self.ids, value_set=chosen.combine_chunks()).to_numpy(False))
        with self._turn:
            scores = (self.vectors if len(rows) == self.count else self.vectors[rows]) @ vector
        order = np.lexsort((rows, -scores)) if len(rows) <= count else _top(scores, count)
        return scores[order], self.meta.take(rows[order])


def _top(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the places of the `count` highest scores, best first, ties by place."""
    threshold = np.partition(scores, -count)[-count]
    places = np.flatnonzero(scores >= threshold)
    return places[np.lexsort((places, -scores[places]))][:count]


def vectors_of(rows: pa.Table) -> NDArray[np.float32]:
    column = rows["vector"].combine_chunks()
    width = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), width).astype(np.float32)
