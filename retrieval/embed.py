"""Embed a retrieval set once: everything that any scoring of it needs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import BertTokenizer

from data.images import BrokenImageError, ImageOpener, find_broken, open_image
from data.loading import ImageLoader
from data.pairs import ImageDataset
from data.transforms import RawPixels, normalize, test_transform
from models.tokenizer import length_step, tokenize
from models.tsn import TSN
from retrieval.retrieval_set import RetrievalSet
from utils import distributed
from utils.errors import UserError
from utils.progress import Progress

TokenPrecision = Literal["half", "full"]


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a retrieval set, on the CPU.

    Attributes:
        image: [G, E] embeddings of the gallery, of unit length.
        image_tokens: [G / processes, P, D] tokens of this process's share of the gallery, for the matching head; None
            if they were not requested.
        query: [Q, E] embeddings of the queries.
        query_ids, query_mask: [Q, L] the tokenized queries.
        rewrite, caption: [Q, E] and [G, E], rows of zeros where the text is missing; None if all are missing.
        seconds: time spent on "gallery", "queries", "rewrites" and "captions".
    """

    image: Tensor
    image_tokens: Tensor | None
    query: Tensor
    query_ids: Tensor
    query_mask: Tensor
    rewrite: Tensor | None
    caption: Tensor | None
    seconds: dict[str, float]


@torch.inference_mode()
def embed(
    model: TSN,
    tokenizer: BertTokenizer,
    retrieval: RetrievalSet,
    *,
    keep_tokens: TokenPrecision | None,
    batch_size: int,
    workers: int | None = 0,
    opener: ImageOpener = open_image,
    desc: str = "embedding",
) -> Embeddings:
    """Embed gallery, queries, rewrites and captions with `model`, which is left in evaluation mode.

    In a process group, each process embeds its share of the gallery, and all get all embeddings.

    Args:
        keep_tokens: keep the gallery's tokens for the matching head, G x P x D numbers, in `half` precision (two bytes
            each; lossless for a model that computes in bfloat16) or in `full`.

    Raises:
        UserError: a gallery image cannot be read (leaving it out would change the metrics), or the embeddings are not
            finite.
    """
    model.eval()
    device = model.vision_proj.weight.device
    records = retrieval.records[distributed.shard(len(retrieval.records))]
    photographs = ImageDataset([record.path for record in records], test_transform(model.sizes.image), opener=opener)
    loader = ImageLoader(photographs, batch_size=batch_size, workers=workers)
    seconds: dict[str, float] = {}
    dtype = None if keep_tokens is None else _token_dtype(model, keep_tokens)
    with Progress(len(photographs), desc=desc, unit="image") as bar, _timed(seconds, "gallery"):
        try:
            images, tokens = _embed_images(model, loader, dtype, bar)
        except BrokenImageError:  # a worker's error carries its traceback: find the file again for a one-line message
            reason = next(iter(find_broken(retrieval.records, what="the gallery").values()), "a file changed meanwhile")
            raise UserError(f"gallery image {reason}: repair or replace it, since every gallery image counts") from None
        images = torch.from_numpy(distributed.gather_shards(images.numpy(), len(retrieval.records)))
    with _timed(seconds, "queries"):
        ids, mask = tokenize(tokenizer, list(retrieval.queries), multiple_of=length_step(device))
        queries = [
            model.encode_text(ids[part].to(device), mask[part].to(device))[1].cpu()
            for part in torch.arange(len(ids)).split(batch_size)
        ]
    with _timed(seconds, "rewrites"):
        rewrite = _embed_texts(model, tokenizer, retrieval.rewrites, batch_size)
    with _timed(seconds, "captions"):
        caption = _embed_texts(model, tokenizer, retrieval.captions, batch_size)
    query = torch.cat(queries)
    if not all(found is None or found.isfinite().all() for found in (images, query, rewrite, caption)):
        raise UserError("the model's embeddings are not finite: train with a lower train.lr, or train.clip_norm=1")
    return Embeddings(images, tokens, query, ids, mask, rewrite, caption, seconds)


def _token_dtype(model: TSN, precision: TokenPrecision) -> torch.dtype:
    if precision == "full":
        return torch.float32
    return torch.bfloat16 if model.precision == "bf16" else torch.float16


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _embed_images(
    model: TSN, loader: Iterable[RawPixels], token_dtype: torch.dtype | None, bar: Progress
) -> tuple[Tensor, Tensor | None]:
    """Return embeddings [N, E] and, if they have a dtype, tokens [N, P, D], filled in place without further copies."""
    device = model.vision_proj.weight.device
    count, done, sizes = bar.total, 0, model.sizes
    embeddings = torch.empty(count, sizes.embed)
    kept = None
    if token_dtype is not None:
        kept = torch.empty(count, 1 + sizes.grid[0] * sizes.grid[1], sizes.vision_width, dtype=token_dtype)
    for images in loader:
        tokens, embedding = model.encode_image(normalize(images, device))
        batch = slice(done, done := done + len(embedding))
        embeddings[batch] = embedding.cpu()
        if kept is not None:
            kept[batch] = tokens.to(kept.dtype).cpu()
        bar.advance(len(embedding))
    return embeddings, kept


def _embed_texts(model: TSN, tokenizer: BertTokenizer, texts: Sequence[str | None], batch_size: int) -> Tensor | None:
    """Return [len(texts), E], each distinct text embedded once, zeros for None; None if there is no text at all."""
    distinct = sorted({text for text in texts if text is not None})
    if not distinct:
        return None
    device = model.vision_proj.weight.device
    rows = []
    for start in range(0, len(distinct), batch_size):
        ids, mask = tokenize(tokenizer, distinct[start : start + batch_size], multiple_of=length_step(device))
        rows.append(model.encode_text(ids.to(device), mask.to(device))[1].cpu())
    table = torch.cat([*rows, torch.zeros(1, rows[0].shape[1])])
    index = {text: number for number, text in enumerate(distinct)}
    return table[[len(distinct) if text is None else index[text] for text in texts]]
