"""A retrieval set of a few queries and images with random embeddings and known matching logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.records import ImageRecord
from retrieval.embed import Embeddings
from retrieval.retrieval_set import RetrievalSet
from retrieval.scoring import Scorer

Q, G, E = 12, 40, 8
DRAW = torch.Generator().manual_seed(3)
LOGITS = torch.randn(Q, G, generator=DRAW)


class KnownLogits:
    """A matcher whose logits are known, and which counts pairs."""

    def __init__(self) -> None:
        self.scored: set[tuple[int, int]] = set()
        self.seconds = 2.0

    @property
    def num_pairs(self) -> int:
        return len(self.scored)

    def __call__(self, queries: Tensor, images: Tensor) -> Tensor:
        self.scored |= set(zip(queries.tolist(), images.tolist(), strict=True))
        return LOGITS[queries, images]


def unit(count: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, E, generator=DRAW), dim=1)


EMBEDDINGS = Embeddings(
    image=unit(G),
    image_tokens=None,
    query=unit(Q),
    query_ids=torch.zeros(Q, 3, dtype=torch.int64),
    query_mask=torch.ones(Q, 3, dtype=torch.int64),
    rewrite=unit(Q) * (torch.arange(Q) != 2)[:, None],
    caption=unit(G) * (torch.arange(G) != 5)[:, None],
    seconds={"gallery": 9.0, "queries": 0.6, "rewrites": 0.3, "captions": 9.0},
)
RETRIEVAL = RetrievalSet(
    records=tuple(ImageRecord(Path(f"{n}.png"), f"{n % 3:04d}_c{n % 3}_{n}.png", (), n % 10, "test") for n in range(G)),
    captions=tuple(None if n == 5 else f"caption {n}" for n in range(G)),
    queries=tuple(f"query number {n}" for n in range(Q)),
    rewrites=tuple(None if n == 2 else f"rewrite {n}" for n in range(Q)),
    query_ids=np.array([*(n % 10 for n in range(Q - 1)), 99]),  # the last query has no match
    gallery_ids=np.arange(G) % 10,
    source_images=np.arange(Q),
)


def known_scorer(share: float = 0.0) -> Scorer:
    """Score the set; its times are known as well."""
    made = Scorer(EMBEDDINGS, RETRIEVAL, KnownLogits(), share)  # type: ignore[arg-type]
    made.seconds = 0.12
    return made
