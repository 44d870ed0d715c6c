"""Fused features of photographs with their captions, for clustering."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset
from transformers import BertTokenizer

from data.images import ImageOpener, open_image
from data.pairs import PairDataset, UnlabelledPairs
from data.transforms import test_transform
from models.tokenizer import MAX_TOKENS, tokenize
from models.tsn import TSN
from utils import distributed
from utils.errors import UserError
from utils.progress import Progress


@torch.inference_mode()
def fused_features(
    model: TSN,
    tokenizer: BertTokenizer,
    pairs: UnlabelledPairs,
    *,
    batch_size: int,
    workers: int = 0,
    opener: ImageOpener = open_image,
    desc: str = "features",
) -> NDArray[np.float16]:
    """Fuse each photograph with its caption into [N, 256] float16, in the order of `pairs` (half as published).

    In a process group, each rank computes its shard, and all ranks return the whole.

    Raises:
        UserError: a feature is not finite.
    """
    model.eval()
    device = model.cross_proj.weight.device
    local = range(len(pairs))[distributed.shard(len(pairs))]
    images = Subset(PairDataset(pairs, test_transform(model.sizes.image), opener=opener), local)
    features = [np.empty((0, model.sizes.embed), np.float16)]
    with Progress(len(local), desc=desc, unit="image") as bar:
        for pixels, captions, _ in DataLoader(images, batch_size=batch_size, num_workers=workers):
            # If the fusion attends to padding, it has to be the published amount, whatever the batch contains.
            ids, mask = tokenize(tokenizer, list(captions), pad_to=MAX_TOKENS if model.fuse_padding else None)
            ids, mask = ids.to(device), mask.to(device)
            image_tokens, _ = model.encode_image(pixels.to(device))
            text_tokens, _ = model.encode_text(ids, mask)
            fused = model.fuse(image_tokens, text_tokens, None if model.fuse_padding else mask)
            features.append(fused.cpu().to(torch.float16).numpy())
            bar.advance(len(pixels))
    everything = distributed.gather_shards(np.concatenate(features), len(pairs))
    if not np.isfinite(everything).all():
        raise UserError("the model's fused features are not finite: lower train.lr, or set train.clip_norm=1")
    return everything
