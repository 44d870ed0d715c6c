"""A retrieval set through the model, once: everything that any scoring of it needs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import BertTokenizer

from data.images import BrokenImageError, Opener, find_broken, open_image
from data.pairs import Photographs
from data.transforms import test_transform
from models.tokenizer import tokenize
from models.tsn import TSN
from retrieval.retrieval_set import RetrievalSet
from utils import distributed
from utils.errors import UserError
from utils.progress import Progress

TokenPrecision = Literal["half", "full"]
_NOT_FINITE = "the model's embeddings are not finite: train with a lower train.lr, or train.clip_norm=1"


@dataclass(frozen=True)
class Embedded:
    """A retrieval set in the model's space, on the CPU.

    Attributes:
        image: [G, E] embeddings of the gallery, of unit length.
        image_tokens: [share of G, P, D] for the matching head, of the images that are this process's; None when they
            were not asked for.
        query: [Q, E]; query_ids [Q, L] and query_mask [Q, L], the tokenized queries.
        rewrite: [Q, E] and caption [G, E], rows of zeros where there is no text; None when nothing has one.
        seconds: what the `gallery`, the `queries`, the `rewrites` and the `captions` took.
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
    workers: int = 0,
    opener: Opener = open_image,
    desc: str = "embedding",
) -> Embedded:
    """Embed gallery, queries, rewrites and captions with `model`, which is left in evaluation mode.

    In a group of processes, each embeds its share of the gallery, and all get all embeddings.

    Args:
        keep_tokens: keep the gallery's tokens for the matching head, G x P x D numbers, in half precision (two bytes
            each; of a model that computes in bfloat16 nothing is lost) or in `full`.

    Raises:
        UserError: a gallery image cannot be read (every one counts in a test, so none is left out), or the model's
            embeddings are not finite.
    """
    model.eval()
    device = model.vision_proj.weight.device
    records = retrieval.records[distributed.shard(len(retrieval.records))]
    photographs = Photographs([record.path for record in records], test_transform(model.sizes.image), opener=opener)
    loader = DataLoader(photographs, batch_size=batch_size, num_workers=workers)
    seconds: dict[str, float] = {}
    kind = None if keep_tokens is None else _kind(model, keep_tokens)
    with Progress(len(photographs), desc=desc, unit="image") as bar, _clock(seconds, "gallery"):
        try:
            images, tokens = _embed_images(model, loader, kind, bar)
        except BrokenImageError:  # from a worker, with a traceback for a message: look again
            reason = next(iter(find_broken(retrieval.records, what="the gallery").values()), "a file changed meanwhile")
            raise UserError(f"gallery image {reason}: every gallery image counts, so mend or replace it") from None
        images = torch.from_numpy(distributed.gather_shards(images.numpy(), len(retrieval.records)))
    if not images.isfinite().all():
        raise UserError(_NOT_FINITE)
    with _clock(seconds, "queries"):
        ids, mask = tokenize(tokenizer, list(retrieval.queries))
        queries = [
            model.encode_text(ids[part].to(device), mask[part].to(device))[1].cpu()
            for part in torch.arange(len(ids)).split(batch_size)
        ]
    with _clock(seconds, "rewrites"):
        rewrite = _embed_texts(model, tokenizer, retrieval.rewrites, batch_size)
    with _clock(seconds, "captions"):
        caption = _embed_texts(model, tokenizer, retrieval.captions, batch_size)
    query = torch.cat(queries)
    if not all(texts is None or texts.isfinite().all() for texts in (query, rewrite, caption)):
        raise UserError(_NOT_FINITE)
    return Embedded(images, tokens, query, ids, mask, rewrite, caption, seconds)


def _kind(model: TSN, keep_tokens: TokenPrecision) -> torch.dtype:
    if keep_tokens == "full":
        return torch.float32
    return torch.bfloat16 if model.precision == "bf16" else torch.float16


@contextmanager
def _clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _embed_images(
    model: TSN, loader: Iterable[Tensor], kind: torch.dtype | None, bar: Progress
) -> tuple[Tensor, Tensor | None]:
    """Embeddings of the loader's images, and their tokens if they have a kind; no batch is copied twice."""
    device = model.vision_proj.weight.device
    count, done, sizes = bar.total, 0, model.sizes
    embeds = torch.empty(count, sizes.embed)
    kept = None
    if kind is not None:
        kept = torch.empty(count, 1 + sizes.grid[0] * sizes.grid[1], sizes.vision_width, dtype=kind)
    for pixels in loader:
        tokens, embedding = model.encode_image(pixels.to(device))
        here = slice(done, done := done + len(pixels))
        embeds[here] = embedding.cpu()
        if kept is not None:
            kept[here] = tokens.to(kept.dtype).cpu()
        bar.advance(len(pixels))
    return embeds, kept


def _embed_texts(model: TSN, tokenizer: BertTokenizer, texts: Sequence[str | None], batch_size: int) -> Tensor | None:
    """[len(texts), E], each distinct text embedded once, zeros for None; None when there is no text at all."""
    distinct = sorted({text for text in texts if text is not None})
    if not distinct:
        return None
    device = model.vision_proj.weight.device
    rows = []
    for start in range(0, len(distinct), batch_size):
        ids, mask = tokenize(tokenizer, distinct[start : start + batch_size])
        rows.append(model.encode_text(ids.to(device), mask.to(device))[1].cpu())
    table = torch.cat([*rows, torch.zeros(1, rows[0].shape[1])])
    place = {text: number for number, text in enumerate(distinct)}
    return table[[len(distinct) if text is None else place[text] for text in texts]]
