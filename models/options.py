"""Options of the model (section `model` of a config)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from utils.options import NonNegativeInt, PositiveInt, options


@options
class ModelOptions:
    """What a model is built from; `configs/base.yaml` explains each key."""

    preset: Literal["tiny", "base", "large"]
    init: str | None
    vocab: str | None
    image_size: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None
    dropout: Annotated[float, Field(ge=0, lt=1)]
    fuse_padding: bool
    checkpointed_blocks: NonNegativeInt
    offload: bool

    @property
    def size(self) -> tuple[int, int] | None:
        """Configured height and width in pixels, or None for those of the preset or checkpoint."""
        return (self.image_size[0], self.image_size[1]) if self.image_size else None
