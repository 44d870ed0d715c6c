"""Searching an index of synthetic vectors: building it, its size, latency and recall, beside faiss on the same vectors.

python -m benchmarks.search --rows 10000 100000
python -m benchmarks.search --rows 100000 --server

Latencies are of whole searches by `Gallery.search`, which embed a sentence and explain the results. With `--server`, a
real server answers clients over HTTP. Recall is that of the 50 best rows, against an exact search.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import httpx2
import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import search
from data.demo import DrawnSet, draw_people
from retrieval.gallery import Gallery, build
from retrieval.gallery.index import SLOTS, connect, photograph_id, read_manifest
from utils.errors import run_script

FEW = DrawnSet(seed=3, train_people=1, val_people=1, test_people=6, train_images=1, eval_images=2)
SENTENCES = [
    f"a {who} in a {upper} {top} with {lower} trousers"
    for who in ("man", "woman")
    for upper in ("red", "blue", "green", "white", "black")
    for top in ("shirt", "coat")
    for lower in ("black", "blue", "gray")
]
BEST = 50
_CHUNK = 20_000  # rows written at a time


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], help="sizes (default: %(default)s)")
    parser.add_argument("--searches", type=int, default=200, help="per measurement (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8], help="at once (default: %(default)s)")
    parser.add_argument("--server", action="store_true", help="measure a server over HTTP, too")
    arguments = parser.parse_args(argv)
    print(f"{os.cpu_count()} cores, lancedb {lancedb.__version__}, faiss {faiss.__version__}")
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), rows, arguments)


def measure(folder: Path, rows: int, arguments: argparse.Namespace) -> None:
    """Build an index of this many rows, and print its figures."""
    draw_people(folder / "people", FEW, workers=1)
    index = folder / "index"
    search.main(["index", str(folder / "people" / "imgs"), "--index", str(index)])
    manifest = read_manifest(index)
    table = connect(index).open_table(manifest.table)
    vectors = synthetic_vectors(rows, table.schema.field("vector").type.list_size)

    start = time.perf_counter()
    for first in range(0, rows, _CHUNK):
        table.add(fill(table, vectors[first : first + _CHUNK], first))
    written = time.perf_counter() - start
    start = time.perf_counter()
    build._optimize(table)
    indexed = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (index / "lance").rglob("*") if path.is_file())
    kind = "exact" if rows + 20 <= build.EXACT_ROWS else "approximate"
    print(f"\n{rows:,} rows: written in {written:.1f} s, {kind} index in {indexed:.1f} s, {size / 1e6:.0f} MB on disk")

    start = time.perf_counter()
    gallery = Gallery.open(index, device="cpu")
    gallery.search(SENTENCES[0])
    print(f"opened, with the first search, in {time.perf_counter() - start:.1f} s")
    for clients in arguments.clients:
        report("Gallery.search", clients, lambda sentence: gallery.search(sentence), arguments.searches)
    recall_beside_faiss(gallery, vectors, table)
    if arguments.server:
        command = [sys.executable, "search.py", "serve", "--index", str(index), "--port", "0", "--device", "cpu"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            address = re.search(r"http://\S+/", process.stdout.readline())
            assert address
            with httpx2.Client(timeout=60) as client:
                ask = lambda sentence: client.get(f"{address[0]}api/search", params={"q": sentence, "top": 20})  # noqa: E731
                for clients in arguments.clients:
                    report("server", clients, ask, arguments.searches)
            process.terminate()


def synthetic_vectors(rows: int, width: int) -> NDArray[np.float16]:
    """Return unit vectors [N, W] around a hundredth as many centers, as of people with several photographs each."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(max(1, rows // 100), width)).astype(np.float32)
    vectors = np.empty((rows, width), np.float16)
    for first in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - first)
        part = centers[random.integers(len(centers), size=count)]
        part = part + 0.9 * random.normal(size=part.shape).astype(np.float32)
        vectors[first : first + count] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def fill(table: Any, vectors: NDArray[np.float16], first: int) -> pa.Table:
    """Return rows with these vectors, and with the other columns of the table's first row."""
    row = table.search().limit(1).to_arrow()
    rows = row.take(np.zeros(len(vectors), np.int64)).drop_columns(["id", "path", "vector", *SLOTS[:2]])
    paths = [f"{number // 1000}/{number}.jpg" for number in range(first, first + len(vectors))]
    colors = ["red", "blue", "green", "white", "black"]
    rows = rows.append_column("id", pa.array([photograph_id(path) for path in paths]))
    rows = rows.append_column("path", pa.array(paths))
    rows = rows.append_column(SLOTS[0], pa.array([("male", "female")[n % 2] for n in range(len(paths))]))
    rows = rows.append_column(SLOTS[1], pa.array([colors[n % 5] for n in range(len(paths))]))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    return rows.append_column("vector", column).select(table.schema.names)


def report(what: str, clients: int, ask: Callable[[str], Any], searches: int) -> None:
    """Print the median and the 99th percentile of searches by several clients at once."""

    def timed(number: int) -> float:
        start = time.perf_counter()
        ask(SENTENCES[number % len(SENTENCES)])
        return 1000 * (time.perf_counter() - start)

    with ThreadPoolExecutor(clients) as pool:
        times = np.array(list(pool.map(timed, range(searches))))
    print(f"{what}, {clients} clients: p50 {np.percentile(times, 50):.0f} ms, p99 {np.percentile(times, 99):.0f} ms")


def recall_beside_faiss(gallery: Gallery, vectors: NDArray[np.float16], table: Any) -> None:
    """Print recall and time of the vector search alone, and those of faiss on the same vectors."""
    random = np.random.default_rng(1)
    chosen = vectors[random.integers(len(vectors), size=100)].astype(np.float32)
    queries = (chosen + 0.01 * random.normal(size=chosen.shape)).astype(np.float32)
    exact = faiss.IndexFlatIP(vectors.shape[1])
    for first in range(0, len(vectors), _CHUNK):
        exact.add(vectors[first : first + _CHUNK].astype(np.float32))
    names = [photograph_id(f"{number // 1000}/{number}.jpg") for number in range(len(vectors))]
    rows, found, truth, ours, theirs = gallery._current_rows(), [], [], [], []
    for query in queries:
        start = time.perf_counter()
        best = rows.best(query, BEST, None, table)[1]["id"].to_pylist()
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        neighbors = exact.search(query[None], BEST)[1][0]
        theirs.append(time.perf_counter() - start)
        found.append(set(best))
        truth.append({names[row] for row in neighbors})
    recall = np.mean([len(one & other) / BEST for one, other in zip(found, truth, strict=True)])
    print(
        f"vectors alone: p50 {1000 * np.median(ours):.1f} ms, recall@{BEST} {recall:.4f}; "
        f"faiss, exact: p50 {1000 * np.median(theirs):.1f} ms"
    )


if __name__ == "__main__":
    run_script(main)
