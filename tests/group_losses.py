"""Program for a process group: write the losses and gradients of a global batch; see test_together.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from models.options import Sizes
from models.tsn import TSN, TSNOptions
from training.epoch import data_parallel
from utils import distributed

LABELS = torch.tensor([0, 0, 1, 2, 3, 1, 4, 4])


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "fuse padding": {"fuse_padding": True},
    "checkpointed": {"checkpointed_blocks": 2},
    "checkpointed, without matching": {"checkpointed_blocks": 2, "matching": False},
}
"""Options of `losses_and_gradients`."""


def small_model(**options: Any) -> TSN:
    """A model of two layers, without dropout."""
    torch.manual_seed(0)
    sizes = Sizes((32, 16), 16, 64, 2, 64, 2, 96, vocabulary=30, positions=80)
    return TSN(sizes, enc_token=29, classes=5, options=TSNOptions(dropout=0.0, **options))


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return eight images and texts of different lengths."""
    random = torch.Generator().manual_seed(1)
    pixels = torch.randn(8, 3, 32, 16, generator=random)
    ids = torch.randint(5, 29, (8, 12), generator=random)
    mask = (torch.arange(12) < torch.tensor([12, 3, 7, 5, 4, 12, 9, 6])[:, None]).long()
    return pixels, ids * mask, mask


def losses_and_gradients(*, matching: bool = True, **options: Any) -> dict[str, torch.Tensor]:
    """Compute those of this process's share of the batch, averaged over the group."""
    model = small_model(**options)
    mine = distributed.shard(8)
    parallel = data_parallel(model, matching=matching)
    losses = parallel(*(each[mine] for each in (*batch(), LABELS)), matching=matching)
    torch.stack(list(losses.values())).sum().backward()
    found = {f"loss {name}": distributed.all_reduce_mean(loss) for name, loss in losses.items()}
    return found | {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu")):
        found = {name: losses_and_gradients(**options) for name, options in VARIANTS.items()}
        if distributed.is_main_process():
            torch.save(found, Path(sys.argv[1]))
