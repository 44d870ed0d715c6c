"""Options of a model (section `model` of a config), the sizes of its weights, and presets of sizes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from utils.errors import UserError
from utils.options import NonNegativeInt, options

LONGEST_SIDE = 4096  # pixels of an input image: the memory for attention grows with the fourth power
DRAWN = Path(__file__).parent / "drawn"  # small weights that were trained on drawn people, see its README.md


@options
class ModelOptions:
    """Options of a model; `configs/base.yaml` explains each key."""

    preset: Literal["tiny", "base", "large"]
    init: str | None
    vocab: str | None
    image_size: Annotated[list[Annotated[int, Field(ge=1, le=LONGEST_SIDE)]], Field(min_length=2, max_length=2)] | None
    dropout: Annotated[float, Field(ge=0, lt=1)]
    fuse_padding: bool
    checkpointed_blocks: NonNegativeInt
    offload: bool

    @property
    def init_file(self) -> Path | None:
        """The file of the initial weights, or their name on the hub; None for random ones."""
        if self.init == "drawn":
            return DRAWN / "model.safetensors"
        return Path(self.init) if self.init else None

    @property
    def vocabulary(self) -> str | None:
        """The vocabulary: the configured one, or that of the shipped weights; None to train one on the captions."""
        return str(DRAWN / "vocab.txt") if self.init == "drawn" and self.vocab is None else self.vocab

    @property
    def size(self) -> tuple[int, int] | None:
        """Configured height and width in pixels, or None for those of the preset or checkpoint."""
        return (self.image_size[0], self.image_size[1]) if self.image_size else None


@dataclass(frozen=True)
class Sizes:
    """The sizes that determine the shape of every weight except the classifier's.

    Attributes:
        image: height and width of the input in pixels, multiples of `patch`.
        patch: side of a ViT patch in pixels; with convolutions, a power of two.
        vision_width, vision_depth: channels and blocks of the ViT; a head has 64 channels.
        text_width, text_depth, text_mlp: channels, layers and feed-forward channels of BERT; a head has 64 channels.
        vocabulary: number of token ids, `[DEC]` and `[ENC]` included.
        positions: maximum length of a text in tokens.
        embed: dimensions of the shared embedding space.
        stem: what turns pixels into tokens: one convolution of the size of a patch (ViT, BLIP), or several of 3 x 3
            pixels that halve the image (Xiao et al. 2021), which need less training.

    Raises:
        UserError: the image size is not a multiple of the patch size.
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
    stem: Literal["patch", "convolutions"] = "patch"

    def __post_init__(self) -> None:
        if self.image[0] % self.patch or self.image[1] % self.patch:
            raise UserError(f"model.image_size={list(self.image)} is not a multiple of the patch size, {self.patch}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image[0] // self.patch, self.image[1] // self.patch

    def to_dict(self) -> dict[str, Any]:
        """Return builtin types only, as checkpoints store them."""
        return asdict(self) | {"image": list(self.image)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Sizes:
        """Build sizes from the result of `to_dict`."""
        return cls(**(values | {"image": tuple(values["image"])}))


# `base` and `large` are BLIP's; `tiny` trains on a CPU in minutes, on images of 2:1 like pedestrians.
PRESETS = {
    "tiny": Sizes(
        image=(96, 48),
        patch=8,
        vision_width=128,
        vision_depth=3,
        text_width=128,
        text_depth=2,
        text_mlp=256,
        stem="convolutions",
    ),
    "base": Sizes(
        image=(224, 224), patch=16, vision_width=768, vision_depth=12, text_width=768, text_depth=12, text_mlp=3072
    ),
    "large": Sizes(
        image=(224, 224), patch=16, vision_width=1024, vision_depth=24, text_width=768, text_depth=12, text_mlp=3072
    ),
}
