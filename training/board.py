"""The log of a run as TensorBoard shows it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.files import read_jsonl


class Board:
    """Draws the numbers of `log.jsonl` over the lines of their kind: steps, epochs, rounds.

    What is drawn is drawn afresh from the log when a run goes on, so that the two never tell different stories.

    Args:
        folder: where the run keeps its log; the drawing goes to `tensorboard/` in it.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # it takes seconds to load

        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._seen: Counter[str] = Counter()
        for line in read_jsonl(folder / "log.jsonl"):
            self.draw(**line)

    def draw(self, event: str, **values: Any) -> None:
        """Draw the numbers of one line of the log."""
        place = self._seen[event]
        self._seen[event] += 1
        numbers: Mapping[str, float] = {
            name: value for name, value in values.items() if isinstance(value, int | float) and name not in _PLACES
        }
        for name, value in numbers.items():
            self._writer.add_scalar(f"{event}/{name}", value, place)
        if event != "step":
            self._writer.flush()


_PLACES = {"round", "epoch", "step"}
