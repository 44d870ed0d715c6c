"""The image encoder: timm's VisionTransformer, whose parameter names are those of BLIP's `visual_encoder`."""

from __future__ import annotations

from functools import partial
from typing import Any

from fairscale.nn import checkpoint_wrapper
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from models.sizes import Sizes
from utils.device import Precision, autocast


class PreciseBlock(Block):
    """timm's block, in a precision of its own: fairscale would recompute it in fp16, whatever it was computed in."""

    precision: Precision = "fp32"

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """[B, P, D] -> [B, P, D]."""
        with autocast(x.device, self.precision):
            return super().forward(x, *args, **options)


def build_vision_encoder(
    sizes: Sizes, *, precision: Precision = "fp32", checkpointed_blocks: int = 0, offload: bool = False
) -> VisionTransformer:
    """Build a ViT that returns all its tokens: pixels [B, 3, H, W] -> [B, 1 + patches, vision_width].

    Args:
        precision: of the blocks' matrix products; what surrounds them is computed as the caller's autocast says.
        checkpointed_blocks: this many last blocks forget their activations and compute them again in the backward
            pass; memory for a third more time.
        offload: keep what those blocks need for it in the CPU's memory.
    """
    encoder = VisionTransformer(
        img_size=sizes.image,
        patch_size=sizes.patch,
        embed_dim=sizes.vision_width,
        depth=sizes.vision_depth,
        num_heads=sizes.vision_width // 64,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_classes=0,
        global_pool="",
        block_fn=PreciseBlock,
        weight_init="jax",  # the ViT paper's, which learns faster from nothing than timm's narrow normal
    )
    # timm's 0.02 drowns where a patch lies in what it shows, and top and trousers differ by where they are: on 1,200
    # drawn people, half the epochs then tell the trousers' colour better.
    assert encoder.pos_embed is not None
    nn.init.normal_(encoder.pos_embed, std=0.5)
    for block in encoder.blocks:
        assert isinstance(block, PreciseBlock)
        block.precision = precision
    for index in range(max(0, sizes.vision_depth - checkpointed_blocks), sizes.vision_depth):
        encoder.blocks[index] = checkpoint_wrapper(encoder.blocks[index], offload_to_cpu=offload)
    return encoder
