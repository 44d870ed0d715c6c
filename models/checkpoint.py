"""Read weights from disk: released checkpoints, BLIP's files and our own, without unpickling."""

from __future__ import annotations

import math
import operator
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from models.options import Sizes
from utils.errors import UserError
from utils.files import read_object

# Entries of BLIP's and the released files that the model does not have: momentum copies, queues, the text decoder, a
# temperature, an unused head, and position buffers.
_IGNORED = re.compile(
    r"^(visual_encoder_m|text_encoder_m|vision_proj_m|text_proj_m|text_decoder|itm_local_head)\."
    r"|^(image_queue|text_queue|ptr_queue|queue_ptr|idx_queue|temp)$"
    r"|^text_encoder\.embeddings\.(position_ids|token_type_ids)$"
    r"|^text_encoder\.(pooler|cls)\."
)
# Entries that a file may lack: BLIP has no fusion encoder and no classifier, and only our files have the zero
# token-type embedding.
_OPTIONAL = re.compile(
    r"^(image_cross_model|cross_proj|classifier)\.|^text_encoder\.embeddings\.token_type_embeddings\."
)
_STEM = re.compile(r"visual_encoder\.patch_embed\.backbone\.\d+\.conv\.weight")
_SHOWN = 8  # names in an error message

_SIGN = "visual_encoder.patch_embed.proj.weight"
_WEIGHT_KEYS = ("model", "state_dict", "model_state_dict", "net")
_MOST_PIXELS = 2**26
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

WEIGHTS, SETTINGS = "model.safetensors", "config.json"  # files of an exported model


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a `.pth` file with `weights_only`, or a `.safetensors` file with the settings next to it.

    Raises:
        UserError: the file is missing, truncated, not a checkpoint, or contains pickled code.
    """
    if not path.is_file():
        raise UserError(f"checkpoint {path} is {'a folder, not a file' if path.is_dir() else 'missing'}")
    try:
        if path.suffix == ".safetensors":
            return {"model": load_file(path), "sizes": read_object(path.parent / SETTINGS).get("sizes")}
        with warnings.catch_warnings(action="ignore"):  # about the ways in which some tensors are stored
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        # torch reports "Unsupported operand" for bytes that are not a pickle, such as a saved web page
        unsafe = "Unsupported operand" not in str(error) and ("Unsupported" in str(error) or "GLOBAL" in str(error))
        if unsafe:
            raise UserError(
                f"checkpoint {path} is refused: it contains pickled Python objects, which could run arbitrary code "
                "when they are loaded; save only its tensors"
            ) from None
        raise UserError(f"checkpoint {path} is truncated or not a PyTorch checkpoint: download it again") from None
    except MemoryError:
        raise UserError(f"checkpoint {path} does not fit into memory, or is damaged: download it again") from None
    except Exception as error:  # damaged archives raise errors of any kind
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"checkpoint {path} cannot be read ({reason}): download it again") from None
    if not isinstance(content, dict):
        raise UserError(f"checkpoint {path} does not contain a state dict")
    return content


def read_model(path: Path) -> tuple[Sizes, dict[str, Tensor]]:
    """Read the sizes and the weights of a released checkpoint, of BLIP's model_base(.large).pth, or of one of ours.

    Known entries that the model does not have (momentum copies, queues, decoder) are dropped.

    Raises:
        UserError: as for `read_checkpoint`, or the file belongs to another model.
    """
    content = read_checkpoint(path)
    weights = _find_weights(content, path)
    weights = {name: value for name, value in weights.items() if not _IGNORED.search(name)}
    check_weights(weights, path)
    return read_sizes(weights, _image_size(content.get("sizes"), path), path), weights


def check_weights(weights: Mapping[str, Any], path: Path) -> None:
    """Make sure that all weights are dense tensors of finite floating-point numbers.

    Raises:
        UserError: one is not; the message names it.
    """
    for name, value in weights.items():
        if not isinstance(value, Tensor) or not _is_plain(value):
            raise UserError(f"checkpoint {path} is damaged: {name} is no plain tensor")
        if value.dtype not in _DTYPES or not value.isfinite().all():
            raise UserError(f"checkpoint {path} is damaged: {name} has values that are no finite numbers")


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor has a value of its own for each element; a few bytes can stand for gigabytes otherwise."""
    if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_meta:
        return False
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _find_weights(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint, under whatever key and prefix other code has saved it."""
    candidates = [content, *(value for name in _WEIGHT_KEYS if isinstance(value := content.get(name), dict))]
    for weights in candidates:
        if not all(isinstance(name, str) for name in weights):
            continue
        for prefix in ("", "module."):
            if prefix + _SIGN in weights:
                return {name.removeprefix(prefix): value for name, value in weights.items()}
    shown = ", ".join(str(name)[:40] for name in list(content)[:_SHOWN])
    raise UserError(f"checkpoint {path} is for another model: it has no {_SIGN}, but {shown or 'nothing'}")


def _image_size(sizes: object, path: Path) -> tuple[int, int] | None:
    """Return the image size that our own checkpoints store; None for others."""
    if not sizes:
        return None
    image = sizes.get("image") if isinstance(sizes, dict) else None
    try:
        height, width = (operator.index(side) for side in image)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        raise UserError(f"checkpoint {path} is damaged: its sizes hold no height and width of the images") from None
    if not 0 < height * width <= _MOST_PIXELS or height < 0:
        raise UserError(f"checkpoint {path} is damaged: images of {height} x {width} pixels")
    return height, width


def load_weights(
    model: nn.Module, weights: dict[str, Tensor], *, trained: Sizes, sizes: Sizes, source: str | Path
) -> None:
    """Copy weights into a model of `sizes`, resampling the position embedding from the patch grid of `trained`.

    The fusion encoder and the classifier may be missing, as in BLIP's files: they keep their random initialization.

    Raises:
        UserError: parameters are missing, unknown or of another shape; the message names them.
    """
    position = "visual_encoder.pos_embed"
    if position in weights and trained.grid != sizes.grid:
        resampled = resample_abs_pos_embed(weights[position], list(sizes.grid), list(trained.grid))
        weights = weights | {position: resampled}
    own = model.state_dict()
    missing = sorted(name for name in own if name not in weights and not _OPTIONAL.search(name))
    unknown = sorted(name for name in weights if name not in own)
    mismatched = sorted(name for name, value in weights.items() if name in own and value.shape != own[name].shape)
    for problem, names in (("lacks", missing), ("has unknown", unknown), ("has wrong shapes for", mismatched)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            shown = ", ".join(names[:_SHOWN])
            raise UserError(f"checkpoint {source} {problem} {shown}{more}: it is for another model")
    model.load_state_dict(own | weights)


def read_sizes(weights: dict[str, Tensor], image: tuple[int, int] | None, path: Path) -> Sizes:
    """Infer a model's sizes from its weights; without `image` the grid of patches must be square."""
    try:
        patch_embed = weights["visual_encoder.patch_embed.proj.weight"]
        patches = weights["visual_encoder.pos_embed"].shape[1] - 1
        words = weights["text_encoder.embeddings.word_embeddings.weight"]
        positions = weights["text_encoder.embeddings.position_embeddings.weight"]
        feed_forward = weights["text_encoder.encoder.layer.0.intermediate.dense.weight"]
        embed = weights["vision_proj.weight"].shape[0]
        blocks = _depth(weights, r"visual_encoder\.blocks\.(\d+)\.")
        layers = _depth(weights, r"text_encoder\.encoder\.layer\.(\d+)\.")
    except KeyError as error:
        raise UserError(f"checkpoint {path} lacks {error.args[0]}: it is for another model") from None
    except IndexError:
        raise UserError(f"checkpoint {path} is for another model: a weight has too few dimensions") from None
    if min(patch_embed.dim() - 3, words.dim() - 1, positions.dim() - 1, feed_forward.dim() - 1) < 1 or not blocks:
        raise UserError(f"checkpoint {path} is for another model: it has no blocks, or weights of other dimensions")
    halvings = sum(_STEM.fullmatch(name) is not None for name in weights)
    patch = patch_embed.shape[-1] * 2**halvings
    if image is None:
        side = math.isqrt(patches)
        if side * side != patches:
            raise UserError(
                f"checkpoint {path} has {patches} patches, which do not form a square: its image size is unknown"
            )
        image = (side * patch, side * patch)
    return Sizes(
        image=image,
        patch=patch,
        vision_width=patch_embed.shape[0],
        vision_depth=blocks,
        text_width=words.shape[1],
        text_depth=layers,
        text_mlp=feed_forward.shape[0],
        vocabulary=words.shape[0],
        positions=positions.shape[0],
        embed=embed,
        stem="convolutions" if halvings else "patch",
    )


def _depth(weights: dict[str, Tensor], pattern: str) -> int:
    found = (re.match(pattern, name) for name in weights)
    return max((1 + int(match.group(1)) for match in found if match), default=0)
