"""The matching head on the best k images of every query, against the query-by-query loop of the published script.

python -m benchmarks.rerank output/demo --k 32

Both score the same pairs of a run's test set with the same weights; the loop repeats a query, padded to 73 tokens, for
each of its k images, as published. Then the time of scoring random embeddings at the size of ICFG-PEDES.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from configs.load import load_config
from data.captions import query_file
from data.readers import READERS
from models.tokenizer import MAX_TOKENS, load_tokenizer
from models.tsn import TSN
from retrieval.embed import Embeddings, embed
from retrieval.matching import Matcher
from retrieval.metrics import confidence_intervals, evaluate_queries
from retrieval.retrieval_set import read_retrieval_set
from retrieval.scoring import fuse, rerank, top_images
from utils.device import pick_device
from utils.errors import run_script

SIZE, TOKENS, WIDTH = 19848, 197, 768  # of ICFG-PEDES, at 224 x 224 pixels


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("output/demo"))
    parser.add_argument("--k", type=int, default=32, help="images per query (default: %(default)s)")
    parser.add_argument(
        "--times", type=int, default=3, help="repetitions, of which the median is shown (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, default=SIZE, help="queries, and images (default: %(default)s)")
    parser.add_argument("--large", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.large:
        print(json.dumps(large(arguments.size, arguments.k)))
        return
    config = load_config(arguments.run / "config.yaml", [f"run.dir={arguments.run}"])
    device = pick_device(config.run.device)
    tokenizer = load_tokenizer(arguments.run / "vocab.txt")
    model = TSN.from_checkpoint(arguments.run / "best.pth", tokenizer).to(device)
    file = query_file(Path(config.captions.dir), config.data.name)
    records = READERS[config.data.name](Path(config.data.root))
    retrieval = read_retrieval_set(records, "test", file, root=config.data.root)
    embeddings = embed(model, tokenizer, retrieval, keep_tokens="half", batch_size=config.eval.batch_size)
    best = top_images(embeddings.query @ embeddings.image.T, arguments.k)

    seconds: dict[str, list[float]] = {"loop": [], "ours": []}
    for _ in range(arguments.times):
        start = time.perf_counter()
        loop = query_by_query(model, embeddings, best)
        seconds["loop"].append(time.perf_counter() - start)
        start = time.perf_counter()
        queries = torch.arange(len(best)).repeat_interleave(best.shape[1])
        ours = Matcher(model, embeddings, batch_size=config.eval.batch_size)(queries, best.flatten()).reshape(
            best.shape
        )
        seconds["ours"].append(time.perf_counter() - start)
    difference = float((ours - loop).abs().max())
    medians = {name: float(np.median(taken)) for name, taken in seconds.items()}
    print(f"{best.numel():,} pairs; the logits of the two differ by {difference:.1e} at most\n")
    print("| method | seconds | pairs/s | ratio |\n|---|---|---|---|")
    for name, taken in medians.items():
        print(f"| {name} | {taken:.2f} | {best.numel() / taken:,.0f} | {medians['loop'] / taken:.1f} |")

    command = [
        sys.executable,
        "-m",
        "benchmarks.rerank",
        "--large",
        "--size",
        str(arguments.size),
        "--k",
        str(arguments.k),
    ]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = f"{arguments.size:,} x {arguments.size:,}"
    print(f"\n{size}, tokens of the gallery in half precision: {result.pop('tokens'):.1f} GB")
    print(", ".join(f"{name} {value:.1f} s" for name, value in result.items() if name != "peak"))
    print(f"peak {result['peak']:.1f} GB")


@torch.inference_mode()
def query_by_query(model: TSN, embeddings: Embeddings, best: Tensor) -> Tensor:
    """Logits [Q, k], as the published script computes them."""
    device = model.itm_head.weight.device
    assert embeddings.image_tokens is not None
    padded = torch.nn.functional.pad(embeddings.query_ids, (0, MAX_TOKENS - embeddings.query_ids.shape[1]))
    mask = torch.nn.functional.pad(embeddings.query_mask, (0, MAX_TOKENS - embeddings.query_mask.shape[1]))
    rows = []
    for query, images in enumerate(best):
        tokens = embeddings.image_tokens[images].to(device).float()
        ids, own = padded[query].expand(len(images), -1).to(device), mask[query].expand(len(images), -1).to(device)
        rows.append(published_match(model, tokens, ids, own).cpu())
    return torch.stack(rows)


def published_match(model: TSN, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """`TSN.match` with attention computed on the padding, too, as published."""
    with mock.patch("models.text.should_pack", return_value=False):
        return model.match(tokens, ids, mask)


def large(size: int, k: int) -> dict[str, float]:
    """Seconds of each step of scoring, and peak memory in GB, with the gallery's tokens in memory."""
    draw = torch.Generator().manual_seed(0)
    embeddings = [torch.nn.functional.normalize(torch.randn(size, 256, generator=draw), dim=1) for _ in range(4)]
    tokens = torch.zeros(size, TOKENS, WIDTH, dtype=torch.float16).fill_(1)
    people = np.arange(size) % 1000
    evaluate_queries(np.zeros((2, 2), np.float32), people[:2], people[:2])  # loads the compiled loop
    steps: dict[str, float] = {"tokens": tokens.numel() * 2 / 2**30}
    query, image, rewrite, caption = embeddings

    def step(name: str, start: float) -> float:
        steps[name] = time.perf_counter() - start
        return time.perf_counter()

    at = time.perf_counter()
    query_image, rewrite_caption = query @ image.T, rewrite @ caption.T
    at = step("two similarities", at)
    present = torch.ones(size, dtype=torch.bool)
    fused = fuse(query_image, rewrite_caption, present, present, 0.1)
    at = step("fusing", at)
    scores = rerank(fused, lambda queries, images: torch.zeros(len(queries)), k)
    at = step(f"best {k}, without the head", at)
    confidence_intervals(evaluate_queries(scores.numpy(), people, people))
    step("metrics and intervals", at)
    return steps | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


if __name__ == "__main__":
    run_script(main)
