"""The image encoder: timm's VisionTransformer, whose parameter names are those of BLIP's `visual_encoder`."""

from __future__ import annotations

from functools import partial

from fairscale.nn import checkpoint_wrapper
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from models.sizes import Sizes


def build_vision_encoder(sizes: Sizes, *, checkpointed_blocks: int = 0, offload: bool = False) -> VisionTransformer:
    """Build a ViT that returns all its tokens: pixels [B, 3, H, W] -> [B, 1 + patches, vision_width].

    Args:
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
        weight_init="jax",  # the ViT paper's, which learns faster from nothing than timm's narrow normal
    )
    # timm's 0.02 drowns where a patch lies in what it shows, and top and trousers differ by where they are: on 1,200
    # drawn people, half the epochs then tell the trousers' colour better.
    assert encoder.pos_embed is not None
    nn.init.normal_(encoder.pos_embed, std=0.5)
    for index in range(max(0, sizes.vision_depth - checkpointed_blocks), sizes.vision_depth):
        encoder.blocks[index] = checkpoint_wrapper(encoder.blocks[index], offload_to_cpu=offload)
    return encoder
