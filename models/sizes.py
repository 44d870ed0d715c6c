"""How big a model is: the three presets, and what a dual encoder needs to be built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from utils.errors import UserError


@dataclass(frozen=True)
class Sizes:
    """Everything that fixes the shape of every weight but the classifier's.

    Attributes:
        image: height and width of the input in pixels, multiples of `patch`.
        patch: side of a ViT patch in pixels.
        vision_width, vision_depth: channels and blocks of the ViT; a head has 64 channels.
        text_width, text_depth, text_mlp: channels, layers and feed-forward channels of BERT; a head has 64 channels.
        vocabulary: token ids, `[DEC]` and `[ENC]` included.
        positions: longest text in tokens.
        embed: dimensions of the common space.

    Raises:
        UserError: the image is no whole number of patches.
    """

    image: tuple[int, int]
    patch: int
    vision_width: int
    vision_depth: int
    text_width: int
    text_depth: int
    text_mlp: int
    vocabulary: int = 30524
    positions: int = 512
    embed: int = 256

    def __post_init__(self) -> None:
        if self.image[0] % self.patch or self.image[1] % self.patch:
            raise UserError(f"model.image_size={list(self.image)} is no multiple of the patch, {self.patch} pixels")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image[0] // self.patch, self.image[1] // self.patch

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint keeps them."""
        return asdict(self) | {"image": list(self.image)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Sizes:
        """The inverse of `to_dict`."""
        return cls(**(values | {"image": tuple(values["image"])}))


# `base` and `large` are BLIP's two; `tiny` trains from nothing on a CPU in minutes, and keeps a pedestrian's 2:1 shape.
PRESETS = {
    "tiny": Sizes(
        image=(96, 48), patch=16, vision_width=128, vision_depth=3, text_width=128, text_depth=2, text_mlp=256
    ),
    "base": Sizes(
        image=(224, 224), patch=16, vision_width=768, vision_depth=12, text_width=768, text_depth=12, text_mlp=3072
    ),
    "large": Sizes(
        image=(224, 224), patch=16, vision_width=1024, vision_depth=24, text_width=768, text_depth=12, text_mlp=3072
    ),
}
