"""Run in a group: every process meets the same error; see test_together.py."""

from __future__ import annotations

import torch

from utils import distributed
from utils.errors import UserError, run_script
from utils.interrupts import exit_cleanly_on_sigterm
from utils.logs import log


def main() -> None:
    """Log a message on every rank, and fail on rank 0."""
    with exit_cleanly_on_sigterm(), distributed.process_group(torch.device("cpu")):
        log.info("printed by rank 0 only")
        distributed.run_on_main(_fail)


def _fail() -> None:
    raise UserError("the disk is full")


if __name__ == "__main__":
    run_script(main)
