"""A retrieval set through the model, once: everything that any scoring of it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
from utils.errors import UserError
from utils.progress import Progress


@dataclass(frozen=True)
class Embedded:
    """A retrieval set in the model's space, on the CPU.

    Attributes:
        image: [G, E] embeddings of the gallery, of unit length.
        image_tokens: [G, P, D] for the matching head; None when they were not asked for.
        query: [Q, E]; query_ids [Q, L] and query_mask [Q, L], the tokenized queries.
        rewrite: [Q, E] and caption [G, E], rows of zeros where there is no text; None when nothing has one.
    """

    image: Tensor
    image_tokens: Tensor | None
    query: Tensor
    query_ids: Tensor
    query_mask: Tensor
    rewrite: Tensor | None
    caption: Tensor | None


@torch.inference_mode()
def embed(
    model: TSN,
    tokenizer: BertTokenizer,
    retrieval: RetrievalSet,
    *,
    keep_tokens: bool,
    batch_size: int,
    workers: int = 0,
    opener: Opener = open_image,
    desc: str = "embedding",
) -> Embedded:
    """Embed gallery, queries, rewrites and captions with `model`, which is left in evaluation mode.

    Args:
        keep_tokens: keep the gallery's tokens for the matching head; G x P x D numbers.

    Raises:
        UserError: a gallery image cannot be read (every one counts in a test, so none is left out), or the model's
            embeddings are not finite.
    """
    model.eval()
    device = model.vision_proj.weight.device
    photographs = Photographs(
        [record.path for record in retrieval.records], test_transform(model.sizes.image), opener=opener
    )
    loader = DataLoader(photographs, batch_size=batch_size, num_workers=workers)
    with Progress(len(photographs), desc=desc, unit="image") as bar:
        try:
            images, tokens = _embed_images(model, loader, keep_tokens, bar)
        except BrokenImageError:  # from a worker, with a traceback for a message: look again
            reason = next(iter(find_broken(retrieval.records, what="the gallery").values()), "a file changed meanwhile")
            raise UserError(f"gallery image {reason}: every gallery image counts, so mend or replace it") from None
    if not images.isfinite().all():
        raise UserError("the model's embeddings are not finite: train with a lower train.lr, or train.clip_norm=1")
    ids, mask = tokenize(tokenizer, list(retrieval.queries))
    queries = [
        model.encode_text(ids[part].to(device), mask[part].to(device))[1].cpu()
        for part in torch.arange(len(ids)).split(batch_size)
    ]
    return Embedded(
        image=images,
        image_tokens=tokens,
        query=torch.cat(queries),
        query_ids=ids,
        query_mask=mask,
        rewrite=_embed_texts(model, tokenizer, retrieval.rewrites, batch_size),
        caption=_embed_texts(model, tokenizer, retrieval.captions, batch_size),
    )


def _embed_images(
    model: TSN, loader: Iterable[Tensor], keep_tokens: bool, bar: Progress
) -> tuple[Tensor, Tensor | None]:
    device = model.vision_proj.weight.device
    embeds, kept = [], []
    for pixels in loader:
        tokens, embedding = model.encode_image(pixels.to(device))
        embeds.append(embedding.cpu())
        if keep_tokens:
            kept.append(tokens.cpu())
        bar.advance(len(pixels))
    return torch.cat(embeds), torch.cat(kept) if keep_tokens else None


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
