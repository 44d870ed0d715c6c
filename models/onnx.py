"""Export the image and the text encoder as ONNX, for programs without PyTorch.

image_encoder.onnx: `pixels` [B, 3, H, W], resized and normalized as by `TSN.preprocess`, to `image_embedding` [B, 256].
text_encoder.onnx: `input_ids` and `attention_mask` [B, L], from vocab.txt, to `text_embedding` [B, 256].
All embeddings have unit length; their inner product is the similarity.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.onnx import export

from models.tsn import TSN
from utils.files import atomic_write

FILES = ("image_encoder.onnx", "text_encoder.onnx")
_EXAMPLES = 2  # a batch of one would fix the size
_LENGTH = 12


class _ImageEncoder(nn.Module):
    def __init__(self, model: TSN) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)[1]


class _TextEncoder(nn.Module):
    def __init__(self, model: TSN) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.encode_text(input_ids, attention_mask)[1]


def export_onnx(model: TSN, folder: Path) -> None:
    """Write both encoders to `folder`, with any number of images and texts, and texts of any length, as input.

    Raises:
        UserError: the folder cannot be written to.
    """
    model = model.float().cpu().eval()
    height, width = model.sizes.image
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2, max=model.sizes.positions)
    ids = torch.ones(_EXAMPLES, _LENGTH, dtype=torch.int64)
    exports: tuple[tuple[nn.Module, dict[str, Tensor], dict[str, dict[int, object]]], ...] = (
        (_ImageEncoder(model), {"pixels": torch.rand(_EXAMPLES, 3, height, width)}, {"pixels": {0: batch}}),
        (
            _TextEncoder(model),
            {"input_ids": ids, "attention_mask": ids.clone()},
            {name: {0: batch, 1: length} for name in ("input_ids", "attention_mask")},
        ),
    )
    for name, (encoder, inputs, shapes) in zip(FILES, exports, strict=True):
        with atomic_write(folder / name) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns of names of dimensions that are equal
            export(
                encoder,
                tuple(inputs.values()),
                temporary,
                input_names=list(inputs),
                output_names=[name.replace("encoder.onnx", "embedding")],
                dynamic_shapes=shapes,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
