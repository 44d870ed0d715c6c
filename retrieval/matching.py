"""The matching head over chosen pairs of query and gallery image, each pair once, in large batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from models.tsn import TSN
from retrieval.embed import Embedded
from utils import distributed
from utils.errors import UserError
from utils.progress import Progress

Result = TypeVar("Result")

PAIRS = 4  # matched at once, for each image that is embedded at once: many look at the same image
_BUCKET = 8  # tokens by which the texts of a batch may differ in length: attention is computed of their padding


class Matcher:
    """Logits of pairs, kept, so that a pair is matched once however often it is asked for.

    Pairs of texts of about the same length are taken image by image, so that the keys and values of an image are
    computed once for all of those that look at it, and its tokens travel to the device once for them. In a group of
    processes, the first asks, and each matches the pairs of its share of the gallery: see `led`.

    Attributes:
        seconds: spent matching so far.
        pairs: matched so far.
    """

    def __init__(self, model: TSN, embedded: Embedded, *, batch_size: int) -> None:
        self.seconds = 0.0
        self._model = model
        self._embedded = embedded
        self._at_once = PAIRS * batch_size
        self._keys = torch.empty(0, dtype=torch.int64)
        self._logits = torch.empty(0)

    @property
    def pairs(self) -> int:
        return len(self._keys)

    def __call__(self, queries: Tensor, images: Tensor) -> Tensor:
        """Logits [P] of queries [P] and images [P], numbers of rows of the retrieval set."""
        keys = queries * len(self._embedded.image) + images
        wanted = keys.unique()
        new = wanted[~torch.isin(wanted, self._keys)]
        if len(new):
            start = time.perf_counter()
            if distributed.world_size() > 1:
                distributed.broadcast(torch.tensor(len(new)))
                distributed.broadcast(new)
            logits = torch.cat([self._logits, self._matched(new)])
            self._keys, order = torch.cat([self._keys, new]).sort()
            self._logits = logits[order]
            self.seconds += time.perf_counter() - start
        return self._logits[torch.searchsorted(self._keys, keys)]

    def led(self, work: Callable[[], Result]) -> Result | None:
        """What `work` returns in the first process, where alone it is called.

        The others match their shares of the pairs that it asks for until it ends, and return None: what is ranked is
        then decided in one place, whatever the last bit of a similarity is elsewhere.
        """
        if not distributed.is_main_process():
            while count := int(distributed.broadcast(torch.tensor(0))):
                self._matched(distributed.broadcast(torch.empty(count, dtype=torch.int64)))
            return None
        try:
            return work()
        finally:
            if distributed.world_size() > 1:
                distributed.broadcast(torch.tensor(0))

    @torch.inference_mode()
    def _matched(self, keys: Tensor) -> Tensor:
        """Logits [P] of pairs that nobody has matched yet."""
        embedded, model = self._embedded, self._model
        if embedded.image_tokens is None:
            raise ValueError("the gallery was embedded without its tokens, which matching needs")
        device = model.itm_head.weight.device
        gallery = len(embedded.image)
        queries, images = keys // gallery, keys % gallery
        bucket = (embedded.query_mask.sum(dim=1) + _BUCKET - 1) // _BUCKET
        owner = torch.searchsorted(torch.tensor(distributed.shard_ends(gallery)), images, right=True)
        order = ((owner * (1 + bucket.max()) + bucket[queries]) * gallery + images).argsort(stable=True)
        shares = torch.bincount(owner, minlength=distributed.world_size()).tolist()
        mine = order.split(shares)[distributed.rank()]
        first = distributed.shard(gallery).start
        found = [torch.empty(0)]
        with Progress(len(mine), desc="matching", unit="pair") as bar:
            for part in mine.split(self._at_once) if len(mine) else ():
                mask = embedded.query_mask[queries[part]]
                longest = int(mask.sum(dim=1).max())  # the queries of a batch need no more padding than that
                looked_at, image = images[part].unique(return_inverse=True)
                logits = model.match(
                    embedded.image_tokens[looked_at - first].to(device).float(),
                    embedded.query_ids[queries[part], :longest].to(device),
                    mask[:, :longest].to(device),
                    image=image.to(device),
                )
                found.append(logits.cpu())
                bar.advance(len(part))
        logits_of_all = torch.empty(len(keys))
        logits_of_all[order] = torch.from_numpy(distributed.all_gather_rows(torch.cat(found).numpy(), shares))
        if distributed.is_main_process() and not logits_of_all.isfinite().all():  # the others wait for the next request
            raise UserError(
                "the matching head's logits are not finite: set train.precision=fp32, or test another checkpoint"
            )
        return logits_of_all
