"""Pseudo-labels of a round: fused features, their clusters, and the log of their quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import Subset
from transformers import BertTokenizer

from clustering.pseudo_labels import PseudoLabels, cluster_features
from clustering.quality import describe_quality, label_quality
from data.images import ImageOpener, open_image
from data.loading import ImageLoader
from data.pairs import PairDataset, UnlabelledPairs
from data.transforms import normalize, test_transform
from models.tokenizer import length_step
from models.tsn import TSN
from training.batches import TextInputs
from training.options import PseudoLabelOptions
from training.run_folder import RunFolder
from utils import distributed
from utils.errors import UserError
from utils.logs import log
from utils.progress import Progress

_EPS_FACTOR = 1.1  # by which eps is multiplied or divided
_MAX_RETRIES = 24  # enough to raise eps from 0.1 to 0.98

ComputeFeatures = Callable[[], tuple[NDArray[Any], NDArray[Any] | None]]


@torch.inference_mode()
def fused_features(
    model: TSN,
    tokenizer: BertTokenizer,
    pairs: UnlabelledPairs,
    *,
    image_weight: float = 0.0,
    batch_size: int,
    workers: int | None = 0,
    opener: ImageOpener = open_image,
    desc: str = "features",
) -> NDArray[np.float16]:
    """Fuse each image with its caption: [N, 256] in the order of `pairs`, in float16 (as published).

    The cross-attention returns a mixture of text tokens: the image only chooses their weights, so the fused features of
    two people who are described alike are alike. With `image_weight` w, the features are `[sqrt(1 - w) f, sqrt(w) v]`,
    [N, 512], of the fused feature f and the image embedding v, each of unit length: their cosine is the weighted mean
    of both cosines.

    In a process group, each rank computes its shard, and all ranks return all features.

    Raises:
        UserError: a feature is not finite.
    """
    model.eval()
    device = model.cross_proj.weight.device
    local = range(len(pairs))[distributed.shard(len(pairs))]
    images = Subset(PairDataset(pairs, test_transform(model.sizes.image), opener=opener), local)
    texts = TextInputs(tokenizer, model.fuse_padding, multiple_of=length_step(device))
    features = [np.empty((0, model.sizes.embed * (2 if image_weight else 1)), np.float16)]
    with Progress(len(local), desc=desc, unit="image") as bar:
        for batch in ImageLoader(images, batch_size=batch_size, collate_fn=texts.collate, workers=workers):
            ids, mask = batch.input_ids.to(device), batch.attention_mask.to(device)
            image_tokens, image = model.encode_image(normalize(batch.pixels, device))
            text_tokens, _ = model.encode_text(ids, mask)
            fused = model.fuse(image_tokens, text_tokens, None if model.fuse_padding else mask)
            if image_weight:
                fused = (1 - image_weight) ** 0.5 * F.normalize(fused, dim=-1)
                fused = torch.cat([fused, image_weight**0.5 * image], dim=1)
            features.append(fused.cpu().to(torch.float16).numpy())
            bar.advance(len(ids))
    everything = distributed.gather_shards(np.concatenate(features), len(pairs))
    if not np.isfinite(everything).all():
        raise UserError("the model's fused features are not finite: lower train.lr, or set train.clip_norm=1")
    return everything


def load_or_compute_labels(
    run: RunFolder,
    round_number: int,
    compute_features: ComputeFeatures,
    options: PseudoLabelOptions,
    *,
    names: Sequence[str],
    device: torch.device | str | None = None,
) -> PseudoLabels:
    """Return the pseudo-labels that were saved for a round, or cluster the features and save the labels.

    Args:
        compute_features: returns the features of the training pairs, and those of the source pairs or None.
        options: `degenerate` says what to do if all images are noise or all are one cluster: "stop", or "adjust" eps in
            steps of 10 % until there are at least two clusters.
        names: of the training images.
        device: where neighbors are searched.

    Raises:
        UserError: there are fewer than two clusters, so that nothing can be learned from the labels.
    """
    if stored := run.load_labels(round_number):
        if len(stored[0]) != len(names):
            raise UserError(
                f"the pseudo-labels of round {round_number} in {run.path} are of {len(stored[0])} images, not "
                f"{len(names)}: remove their file, and the round is clustered again"
            )
        return PseudoLabels(*stored)
    features, source = compute_features()
    found = cluster_features(features, options, source=source, device=device)
    for _ in range(_MAX_RETRIES if options.degenerate == "adjust" else 0):
        if found.clusters > 1:
            break
        eps = found.eps / _EPS_FACTOR if found.clusters else found.eps * _EPS_FACTOR
        log.warning(f"round {round_number}: {_describe_degenerate(found)}: retrying with eps={eps:.4f}")
        found = cluster_features(features, replace(options, eps=eps), source=source, device=device)
    if found.clusters < 2:
        hint = _degenerate_hint(found, features, options)
        raise UserError(f"round {round_number}: {_describe_degenerate(found)}: {hint}")
    run.save_labels(
        round_number, found.labels, eps=found.eps, silhouette=found.silhouette, names=names, features=features
    )
    return found


def _describe_degenerate(found: PseudoLabels) -> str:
    return f"{'all images are one cluster' if found.clusters else 'all images are noise'} at eps={found.eps:.4f}"


def _degenerate_hint(found: PseudoLabels, features: NDArray[Any], options: PseudoLabelOptions) -> str:
    """Return what helps; no eps does where all images have the same neighbors, or none can be a core point."""
    count, k1, k2, core = len(features), options.k1, options.k2, options.min_samples
    if count <= max(k1 + 1, k2) or count < 2 * core:
        return (
            f"{count} images are too few for cluster.k1={k1}, cluster.k2={k2} and cluster.min_samples={core}: add "
            "images, lower these keys to the number of images that a person has, or train without clustering "
            "(train.rounds=0 and train.pretrain_epochs)"
        )
    if (features == features[0]).all():
        return "their features are all equal: are there different images and captions?"
    return f"set a {'smaller' if found.clusters else 'larger'} cluster.eps"


def log_label_quality(run: RunFolder, round_number: int, found: PseudoLabels, person_ids: NDArray[Any] | None) -> None:
    """Log and print the quality of a round's labels, the only use of the person ids."""
    stored = run.load_labels(round_number - 1)
    previous = stored[0] if stored and len(stored[0]) == len(found.labels) else None
    quality = label_quality(found.labels, person_ids, previous=previous, silhouette=found.silhouette)
    run.log("labels", round=round_number, eps=found.eps, **quality)
    log.info(f"round {round_number}: {describe_quality(quality)}, eps {found.eps:.4f}")
