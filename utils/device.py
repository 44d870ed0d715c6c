"""Where to compute."""

from __future__ import annotations

import torch

from utils.errors import UserError


def pick_device(name: str) -> torch.device:
    """`auto` takes the first GPU where there is one; anything else must be there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise UserError(f"run.device={name}: there is no such GPU here ({torch.cuda.device_count()} found)")
    return device
