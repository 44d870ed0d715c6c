"""The image encoder: timm's VisionTransformer, whose parameter names are those of BLIP's `visual_encoder`."""

from __future__ import annotations

from functools import partial
from typing import Any

from fairscale.nn import checkpoint_wrapper
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from models.options import Sizes
from utils.device import Precision, autocast


class AutocastBlock(Block):
    """timm's block with a fixed precision: fairscale would otherwise recompute it in fp16 in the backward pass."""

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
        precision: of the blocks' matrix products; the rest follows the caller's autocast.
        checkpointed_blocks: number of last blocks that recompute their activations in the backward pass: less memory,
            for a third more time.
        offload: keep the inputs of those blocks in CPU memory.
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
        block_fn=AutocastBlock,
        weight_init="jax",  # as in the ViT paper; learns faster from scratch than timm's default
    )
    # With timm's 0.02, patch content dominates patch position, but top and trousers differ mainly by position: on 1,200
    # drawn people, this value recognizes the color of the trousers better in half the epochs.
    assert encoder.pos_embed is not None
    nn.init.normal_(encoder.pos_embed, std=0.5)
    for block in encoder.blocks:
        assert isinstance(block, AutocastBlock)
        block.precision = precision
    for index in range(max(0, sizes.vision_depth - checkpointed_blocks), sizes.vision_depth):
        encoder.blocks[index] = checkpoint_wrapper(encoder.blocks[index], offload_to_cpu=offload)
    return encoder
