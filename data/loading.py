"""Load batches of images in worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler

from utils.errors import UserError
from utils.processes import available_cores

_TROUBLE = ("DataLoader worker", "shared memory", "No space left", "/torch_")

_MOST_WORKERS = 16


class ImageLoader(DataLoader[Any]):
    """A `DataLoader` whose workers survive signals to the process group, and whose failures are one line.

    Workers leave Ctrl-C and SIGTERM to the main process, which saves and ends them: a worker that ended first would
    take the run with it. They are forked, so that images in memory are shared.

    Args:
        dataset: of images.
        workers: processes, at most one a batch; 0 loads in this one, and None chooses their number by the cores.
        options: of the `DataLoader`.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        workers: int | None = 0,
        batch_size: int = 1,
        batch_sampler: Sampler[list[int]] | None = None,
        **options: Any,
    ) -> None:
        batches = len(batch_sampler) if batch_sampler else -(-len(dataset) // batch_size)  # type: ignore[arg-type]
        self._workers = min(_default_workers() if workers is None else workers, batches)
        super().__init__(
            dataset,
            batch_size=1 if batch_sampler else batch_size,
            batch_sampler=batch_sampler,
            num_workers=self._workers,
            worker_init_fn=_initialize_worker,
            multiprocessing_context="fork" if self._workers else None,
            **options,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches.

        Raises:
            UserError: a worker was killed, or the shared memory is full.
        """
        try:
            yield from super().__iter__()
        except (RuntimeError, OSError) as error:
            if not self._workers or not any(word in str(error) for word in _TROUBLE):
                raise
            raise UserError(
                f"a process that loads images ended ({str(error).splitlines()[0][:120]}): the shared memory (/dev/shm) "
                "may be too small; in docker use --shm-size=8g or --ipc=host, or set train.workers=0"
            ) from None


def _default_workers() -> int:
    # One core launches the kernels; no GPU takes more images than so many others decode, and each holds two batches.
    return min(max(1, available_cores() - 1), _MOST_WORKERS)


def _initialize_worker(worker: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # no further threads in each of several workers
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
