"""The matching head (ITM) on chosen pairs of query and gallery image, each pair once, in large batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from models.tokenizer import length_step
from models.tsn import TSN
from retrieval.embed import Embeddings
from utils import distributed
from utils.errors import UserError
from utils.progress import Progress

Result = TypeVar("Result")

PAIRS_PER_IMAGE = 4  # batch size in pairs, relative to that in images: many pairs of a batch share an image
_LENGTH_STEP = 8  # tokens: texts of a batch differ in length by less, since attention is computed on their padding


class Matcher:
    """Computes and caches matching logits, so that each pair is scored once.

    Pairs with texts of similar length are processed image by image, so that an image's tokens are moved to the device,
    and its keys and values computed, once for all its pairs. In a process group, the main process decides which pairs
    are scored and every process scores those of its share of the gallery: see `run_on_main`.

    Attributes:
        seconds: time spent so far.
    """

    def __init__(self, model: TSN, embeddings: Embeddings, *, batch_size: int) -> None:
        self.seconds = 0.0
        self._model = model
        self._embeddings = embeddings
        self._batch_size = PAIRS_PER_IMAGE * batch_size
        self._keys = torch.empty(0, dtype=torch.int64)  # sorted: query * G + image
        self._logits = torch.empty(0)

    @property
    def num_pairs(self) -> int:
        """Distinct pairs scored so far."""
        return len(self._keys)

    def __call__(self, queries: Tensor, images: Tensor) -> Tensor:
        """Return the logits [P] of pairs given by query indices [P] and image indices [P]."""
        keys = queries * len(self._embeddings.image) + images
        wanted = keys.unique()
        new = wanted[~torch.isin(wanted, self._keys)]
        if len(new):
            start = time.perf_counter()
            if distributed.world_size() > 1:
                distributed.broadcast(torch.tensor(len(new)))
                distributed.broadcast(new)
            logits = torch.cat([self._logits, self._match(new)])
            self._keys, order = torch.cat([self._keys, new]).sort()
            self._logits = logits[order]
            self.seconds += time.perf_counter() - start
        return self._logits[torch.searchsorted(self._keys, keys)]

    def run_on_main(self, work: Callable[[], Result]) -> Result | None:
        """Call `work` in the main process alone and return its result; the other processes return None.

        Until it ends, the others score their shares of the pairs that it requests. Rankings are thus decided in one
        place, even where similarities differ in the last bit between processes.
        """
        if not distributed.is_main_process():
            while count := int(distributed.broadcast(torch.tensor(0))):
                self._match(distributed.broadcast(torch.empty(count, dtype=torch.int64)))
            return None
        try:
            return work()
        finally:
            if distributed.world_size() > 1:
                distributed.broadcast(torch.tensor(0))

    @torch.inference_mode()
    def _match(self, keys: Tensor) -> Tensor:
        """Return the logits [P] of pairs that are not in the cache."""
        embeddings, model = self._embeddings, self._model
        if embeddings.image_tokens is None:
            raise ValueError("the gallery was embedded without its tokens, which matching needs")
        device = model.itm_head.weight.device
        gallery = len(embeddings.image)
        queries, images = keys // gallery, keys % gallery
        length = (embeddings.query_mask.sum(dim=1) + _LENGTH_STEP - 1) // _LENGTH_STEP
        owner = torch.searchsorted(torch.tensor(distributed.shard_ends(gallery)), images, right=True)
        order = ((owner * (1 + length.max()) + length[queries]) * gallery + images).argsort(stable=True)
        shares = torch.bincount(owner, minlength=distributed.world_size()).tolist()
        own = order.split(shares)[distributed.rank()]
        first = distributed.shard(gallery).start
        found = [torch.empty(0)]
        with Progress(len(own), desc="matching", unit="pair") as bar:
            for batch in own.split(self._batch_size) if len(own) else ():
                mask = embeddings.query_mask[queries[batch]]
                longest = int(mask.sum(dim=1).max())  # no batch needs more padding than its longest query
                longest += -longest % length_step(device)
                distinct, image = images[batch].unique(return_inverse=True)
                tokens = embeddings.image_tokens[distinct - first].to(device)
                logits = model.match(
                    # Half precision, if the model computes in it, would only be cast back in every layer.
                    tokens.float() if model.precision == "fp32" else tokens,
                    embeddings.query_ids[queries[batch], :longest].to(device),
                    mask[:, :longest].to(device),
                    image_index=image.to(device),
                )
                found.append(logits.cpu())
                bar.advance(len(batch))
        all_logits = torch.empty(len(keys))
        all_logits[order] = torch.from_numpy(distributed.all_gather_rows(torch.cat(found).numpy(), shares))
        # Only the main process raises: the others wait for its next request.
        if distributed.is_main_process() and not all_logits.isfinite().all():
            raise UserError(
                "the matching head's logits are not finite: set train.precision=fp32, or test another checkpoint"
            )
        return all_logits
