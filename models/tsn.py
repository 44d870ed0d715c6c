"""TSN: a dual encoder, a matching encoder that shares the text encoder's weights, and a fusion encoder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from transformers import BertTokenizer

from models.checkpoint import load_weights, read_model
from models.losses import Negatives, hard_negatives, id_loss, image_image_loss, itc_loss, itm_loss, text_text_loss
from models.options import PRESETS, ModelOptions, Sizes
from models.text import TextLayout, build_text_encoder, encode_pairs, encode_texts, layers_of
from models.tokenizer import enc_token_id, tokenize
from models.vision import FusionEncoder, build_vision_encoder, pixels_of
from utils import distributed
from utils.device import Precision, autocast
from utils.errors import UserError
from utils.hub import find_weights

_COMPILED_KINDS = 32


@dataclass(frozen=True)
class TSNOptions:
    """How a model of given sizes computes; none of the options changes the name or the shape of a weight.

    Attributes:
        negatives: which negative pairs the matching loss uses, see `hard_negatives`.
        fuse_padding: attend to the padding of a caption in the fusion, as published; its fused feature then depends on
            the padded length.
        dropout: of the text encoder.
        precision: of the encoders' matrix products; projections, losses and all outputs are float32.
        checkpointed_blocks, offload: see `build_vision_encoder`.
    """

    negatives: Negatives = "hardest"
    fuse_padding: bool = False
    dropout: float = 0.1
    precision: Precision = "fp32"
    checkpointed_blocks: int = 0
    offload: bool = False


@dataclass(frozen=True)
class Rewordings:
    """Second wordings of the captions of a batch.

    Attributes:
        input_ids, attention_mask: [B, L].
        captions: [B] int64, equal for equal captions.
    """

    input_ids: Tensor
    attention_mask: Tensor
    captions: Tensor


class TSN(nn.Module):
    """Encode images and texts into one space, match pairs and fuse pairs, with BLIP's parameter names.

    Args:
        sizes: the shape of every weight.
        enc_token: id of `[ENC]`, which replaces the first token of a text that is matched with an image.
        classes: pseudo-identities of the classifier; the number changes from round to round.

    Attributes:
        tokenizer: of `embed_texts`; None unless the model was loaded by `from_checkpoint`.
    """

    def __init__(self, sizes: Sizes, *, enc_token: int, classes: int = 0, options: TSNOptions = TSNOptions()) -> None:
        super().__init__()
        self.sizes = sizes
        self.enc_token = enc_token
        self.negatives = options.negatives
        self.fuse_padding = options.fuse_padding
        self.precision = options.precision
        self.tokenizer: BertTokenizer | None = None
        self.visual_encoder = build_vision_encoder(
            sizes, checkpointed_blocks=options.checkpointed_blocks, offload=options.offload
        )
        self.text_encoder = build_text_encoder(sizes, dropout=options.dropout)
        self.vision_proj = nn.Linear(sizes.vision_width, sizes.embed)
        self.text_proj = nn.Linear(sizes.text_width, sizes.embed)
        self.itm_head = nn.Linear(sizes.text_width, 2)
        self.image_cross_model = FusionEncoder(sizes.vision_width, sizes.text_width)
        self.cross_proj = nn.Linear(sizes.vision_width, sizes.embed)
        self.classifier = _classifier(sizes.embed, classes)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        tokenizer: BertTokenizer,
        *,
        image_size: tuple[int, int] | None = None,
        options: TSNOptions = TSNOptions(),
    ) -> TSN:
        """Build the model that a checkpoint's weights describe, and load them.

        Args:
            path: a released checkpoint, BLIP's model_base.pth or model_large.pth, or one of ours.
            tokenizer: from `load_tokenizer`, with the vocabulary that the weights were trained with.
            image_size: height and width in pixels; None keeps the checkpoint's. The position embedding is resampled.

        Raises:
            UserError: the file cannot be read without unpickling, belongs to another model or vocabulary, or has
                missing or unknown parameters (they are named).
        """
        trained, weights = read_model(Path(path))
        if trained.vocabulary != len(tokenizer):
            raise UserError(
                f"checkpoint {path} has a vocabulary of {trained.vocabulary} ids, the tokenizer has {len(tokenizer)} "
                "([DEC] and [ENC] included): set model.vocab to the vocabulary that it was trained with"
            )
        sizes = replace(trained, image=image_size or trained.image)
        classes = len(weights["classifier.weight"]) if "classifier.weight" in weights else 0
        model = cls(sizes, enc_token=enc_token_id(tokenizer), classes=classes, options=options)
        load_weights(model, weights, trained=trained, sizes=sizes, source=path)
        model.tokenizer = tokenizer
        return model

    def set_classes(self, classes: int) -> None:
        """Replace the classifier by a new one over this many pseudo-identities."""
        self.classifier = _classifier(self.sizes.embed, classes).to(self.cross_proj.weight.device)

    def matching_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that only the matching loss trains: its head and the text encoder's cross-attention."""
        for name, parameter in self.named_parameters():
            if name.startswith("itm_head.") or ".crossattention." in name:
                yield parameter

    def freeze_text(self) -> None:
        """Stop training the embedding of texts; the matching encoder's cross-attention is still trained."""
        matching = set(self.matching_parameters())
        for module in (self.text_encoder, self.text_proj):
            for parameter in module.parameters():
                parameter.requires_grad_(parameter in matching)

    def compile_encoders(self) -> None:
        """Compile the blocks of both encoders, each kind at its first call; parameter names stay the same.

        All blocks of an encoder share their compiled code, and so do the models of later rounds. It is made for the
        first shape, and once more for all others.
        """
        # Code is kept for training and inference, with and without images, for one shape and for all, in any precision.
        dynamo = torch._dynamo.config
        dynamo.recompile_limit = max(dynamo.recompile_limit, _COMPILED_KINDS)
        for block in (*self.visual_encoder.blocks, *layers_of(self.text_encoder)):
            block.compile()

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode normalized pixels [B, 3, H, W] into tokens [B, P, D] and embeddings [B, 256] of unit length."""
        with autocast(pixels.device, self.precision):
            tokens = self.visual_encoder(pixels)
        return tokens.float(), F.normalize(self.vision_proj(tokens[:, 0].float()), dim=-1)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode token ids [B, L] into tokens [B, L, D] and embeddings [B, 256] of unit length."""
        with autocast(input_ids.device, self.precision):
            tokens = encode_texts(self.text_encoder, input_ids, TextLayout(attention_mask.bool()))
        return tokens.float(), F.normalize(self.text_proj(tokens[:, 0].float()), dim=-1)

    def preprocess(self, image: Image.Image) -> Tensor:
        """Resize an RGB image to the model's input size and normalize it: [3, H, W], as `data.transforms` does."""
        return pixels_of(image, self.sizes.image)

    @torch.inference_mode()
    def embed_images(self, paths: Sequence[str | Path], *, batch_size: int = 64) -> Tensor:
        """Embed image files, turned upright by their EXIF orientation: [N, 256] of unit length, on the CPU.

        Set the model to evaluation mode first, as for every use of it but training.

        Raises:
            OSError: a file is missing or not an image.
        """

        def read(path: str | Path) -> Tensor:
            with Image.open(path) as image:
                return self.preprocess(ImageOps.exif_transpose(image).convert("RGB"))

        rows = [torch.empty(0, self.sizes.embed)]
        with ThreadPoolExecutor() as pool:  # Pillow releases the GIL
            for start in range(0, len(paths), batch_size):
                pixels = torch.stack(list(pool.map(read, paths[start : start + batch_size])))
                rows.append(self.encode_image(pixels.to(self.vision_proj.weight.device))[1].cpu())
        return torch.cat(rows)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Embed sentences with the tokenizer of `from_checkpoint`: [N, 256] of unit length, on the CPU.

        Raises:
            ValueError: the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise ValueError("the model has no tokenizer: load it by TSN.from_checkpoint, or set `tokenizer`")
        device, rows = self.text_proj.weight.device, [torch.empty(0, self.sizes.embed)]
        for start in range(0, len(texts), batch_size):
            ids, mask = tokenize(self.tokenizer, list(texts[start : start + batch_size]))
            rows.append(self.encode_text(ids.to(device), mask.to(device))[1].cpu())
        return torch.cat(rows)

    def fuse(self, image_tokens: Tensor, text_tokens: Tensor, text_mask: Tensor | None = None) -> Tensor:
        """Fuse images (tokens [B, P, D]) with their captions (tokens [B, L, D]) into features [B, 256], not normalized.

        Without `text_mask` [B, L] the padding is attended to (as published).
        """
        with autocast(image_tokens.device, self.precision):
            fused = self.image_cross_model(image_tokens, text_tokens, text_mask)
        return self.cross_proj(fused.float())

    def match(
        self, image_tokens: Tensor, input_ids: Tensor, attention_mask: Tensor, *, image_index: Tensor | None = None
    ) -> Tensor:
        """Return the logit [B] that text i (ids [B, L]) describes image i of image_tokens [B, P, D].

        With `image_index` [B], text i is matched with image `image_index[i]` instead.
        """
        layout = TextLayout.from_mask(attention_mask, image_index=image_index)
        with autocast(input_ids.device, self.precision):
            first = encode_pairs(self.text_encoder, self._with_enc_token(input_ids), layout, image_tokens)
        return self.itm_head(first.float())[:, 1]

    def forward(
        self,
        pixels: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor,
        *,
        matching: bool = True,
        image_image: bool = False,
        rewordings: Rewordings | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch of pairs with pseudo-labels [B]: `itc`, `itm` and `id`, scalars in float32.

        `matching=False` omits `itm`, which takes half of the time. `image_image` adds the loss of this name, and
        `rewordings` the loss `text_text`.

        With several processes, ITC and the negatives of ITM use the pairs of all of them; the mean over processes of
        the losses, and of their gradients, equals that of one process with all pairs. All texts must then be padded to
        the same length.

        Each encoder runs once for all three losses. The fusion encoder gets detached tokens: the ID loss trains the
        fusion encoder, the classifier and the text projection, and, through the text logits, the text encoder, but
        never the image encoder (as published).
        """
        mask = attention_mask.bool()
        # If the fusion attends to padding, the text encoder must compute it.
        layout = TextLayout(mask) if self.fuse_padding else TextLayout.from_mask(mask)
        with autocast(pixels.device, self.precision):
            image_tokens = self.visual_encoder(pixels)
            text_tokens = encode_texts(self.text_encoder, input_ids, layout)
        image_proj = self.vision_proj(image_tokens[:, 0].float())
        text_proj = self.text_proj(layout.first_tokens(text_tokens).float())

        text_mask = None if self.fuse_padding else attention_mask
        fused = self.fuse(image_tokens.detach(), layout.unpack(text_tokens.detach()), text_mask)
        all_images, all_texts, all_labels = map(distributed.all_gather_with_grad, (image_proj, text_proj, labels))
        losses = {"itc": itc_loss(all_images, all_texts, all_labels)}
        if matching:
            negatives = hard_negatives(all_images, all_texts, all_labels, choice=self.negatives)
            losses["itm"] = self._matching_loss(image_tokens, input_ids, attention_mask, *negatives)
        losses["id"] = id_loss(self.classifier(fused), self.classifier(text_proj), labels)
        if image_image:
            losses["image_image"] = image_image_loss(all_images, all_labels)
        if rewordings is not None:
            second = self._project_texts(rewordings.input_ids, rewordings.attention_mask)
            all_second, captions = map(distributed.all_gather_with_grad, (second, rewordings.captions))
            losses["text_text"] = text_text_loss(all_texts, all_second, captions)
        return losses

    def _project_texts(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        layout = TextLayout.from_mask(mask)
        with autocast(input_ids.device, self.precision):
            tokens = encode_texts(self.text_encoder, input_ids, layout)
        return self.text_proj(layout.first_tokens(tokens).float())

    def _matching_loss(
        self, image_tokens: Tensor, input_ids: Tensor, mask: Tensor, image_index: Tensor, text_index: Tensor
    ) -> Tensor:
        """Return the ITM loss of this process's B pairs, given the negatives [processes * B] of all pairs."""
        local = torch.arange(len(input_ids), device=input_ids.device)
        rows = local + distributed.rank() * len(local)  # of the local pairs among all
        image_index, text_index = image_index[rows], text_index[rows]
        if distributed.world_size() > 1:
            # Append the negatives only, so that keys and values of no other image are computed.
            image_tokens = torch.cat([image_tokens, distributed.all_gather_with_grad(image_tokens)[image_index]])
            image_index = local + len(local)
        ids = torch.cat([input_ids, input_ids, distributed.all_gather_with_grad(input_ids)[text_index]])
        layout = TextLayout.from_mask(
            torch.cat([mask, mask, distributed.all_gather_with_grad(mask)[text_index]]),
            image_index=torch.cat([local, image_index, local]),
        )
        with autocast(ids.device, self.precision):
            joint = encode_texts(self.text_encoder, self._with_enc_token(ids), layout, image_tokens)
        return itm_loss(self.itm_head(layout.first_tokens(joint).float()))

    def _with_enc_token(self, input_ids: Tensor) -> Tensor:
        """Replace the first token by `[ENC]`, which makes the text encoder match."""
        return torch.cat([torch.full_like(input_ids[:, :1], self.enc_token), input_ids[:, 1:]], dim=1)


def build_model(
    tokenizer: BertTokenizer, model: ModelOptions, *, seed: int, negatives: Negatives, precision: Precision
) -> TSN:
    """Build a TSN with seeded random weights, or with the weights at `model.init`.

    Raises:
        UserError: `model.init` is missing or does not match the preset, or the image size is not a multiple of the
            patch size.
    """
    preset = PRESETS[model.preset]
    sizes = replace(preset, vocabulary=len(tokenizer), image=model.size or preset.image)
    options = TSNOptions(
        negatives=negatives,
        fuse_padding=model.fuse_padding,
        dropout=model.dropout,
        precision=precision,
        checkpointed_blocks=model.checkpointed_blocks,
        offload=model.offload,
    )
    torch.manual_seed(seed)
    if model.init_file is None:
        return TSN(sizes, enc_token=enc_token_id(tokenizer), options=options)
    path = find_weights(model.init_file)
    if not path.is_file():
        raise UserError(
            f"model.init: {path} is missing: download BLIP's weights there (see README), or train a small model "
            "with --set model.preset=tiny"
        )
    loaded = TSN.from_checkpoint(path, tokenizer, image_size=sizes.image, options=options)
    if replace(loaded.sizes, positions=sizes.positions) != sizes:
        raise UserError(f"model.init: {path} does not match model.preset={model.preset}: it has {loaded.sizes}")
    return loaded


def _classifier(width: int, classes: int) -> nn.Linear:
    with warnings.catch_warnings():  # torch warns about zero classes, which there are before the first clustering
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        return nn.Linear(width, classes)
