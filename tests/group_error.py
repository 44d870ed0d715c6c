"""Run in a group: every process meets the same error; see test_together.py."""

from __future__ import annotations

import torch

from utils import group
from utils.errors import UserError, run_script
from utils.interrupts import ending_well


def main() -> None:
    """Say something, as each would, and fail where the first process does."""
    with ending_well(), group.joined(torch.device("cpu")):
        print("said by the first alone")
        group.of_first(_fail)


def _fail() -> None:
    raise UserError("the disk is full")


if __name__ == "__main__":
    run_script(main)
