"""Options of the captioning backends, as `configs/base.yaml` has them."""

from __future__ import annotations

from typing import Any

from captioning.options import CaptionerOptions
from configs.load import FOLDER, read_yaml
from utils.options import build


def captioner_options(**changes: Any) -> CaptionerOptions:
    """The default options with these changes."""
    return build(CaptionerOptions, read_yaml(FOLDER / "base.yaml")["captioner"] | changes)
