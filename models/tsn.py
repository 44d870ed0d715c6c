"""TSN: a dual encoder, a matching encoder that shares the text's weights, and a fusion encoder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertTokenizer

from models.attention import Layout
from models.checkpoint import load_weights, read_model
from models.fusion import FusionEncoder
from models.losses import Negatives, hard_negatives, id_loss, itc_loss, itm_loss
from models.sizes import Sizes
from models.text import build_text_encoder, match_texts, read_texts
from models.tokenizer import enc_token_id
from models.vision import build_vision_encoder
from utils import distributed
from utils.device import Precision, autocast
from utils.errors import UserError


class TSN(nn.Module):
    """Embeds photographs and texts in one space, matches pairs, fuses pairs, and names its parameters as BLIP does.

    Args:
        sizes: the shape of every weight.
        enc_token: id of `[ENC]`, which replaces a text's first token when it is matched with an image.
        classes: pseudo-identities that the classifier tells apart; it changes from round to round.
        negatives: which pairs the matching head learns to tell from true ones, see `hard_negatives`.
        fuse_padding: attend to the padding of a caption when fusing, as published; a caption's fused feature then
            depends on how far it was padded.
        precision: of the encoders' matrix products; projections, losses and everything that is returned are float32.
        checkpointed_blocks, offload: see `build_vision_encoder`.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        enc_token: int,
        classes: int = 0,
        negatives: Negatives = "hardest",
        fuse_padding: bool = False,
        dropout: float = 0.1,
        precision: Precision = "fp32",
        checkpointed_blocks: int = 0,
        offload: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.enc_token = enc_token
        self.negatives = negatives
        self.fuse_padding = fuse_padding
        self.precision = precision
        self.visual_encoder = build_vision_encoder(
            sizes, precision=precision, checkpointed_blocks=checkpointed_blocks, offload=offload
        )
        self.text_encoder = build_text_encoder(sizes, dropout=dropout)
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
        image: tuple[int, int] | None = None,
        **options: Any,
    ) -> TSN:
        """Build the model that a checkpoint's weights describe, and load them.

        Args:
            path: a released checkpoint, BLIP's model_base.pth or model_large.pth, or one of ours.
            tokenizer: from `load_tokenizer`, with the vocabulary that the weights were trained with.
            image: height and width to use; None keeps the checkpoint's own. The position embedding is resampled.
            options: further keyword arguments of `TSN`.

        Raises:
            UserError: the file cannot be read without unpickling, is of another model or vocabulary, lacks
                parameters or holds unknown ones (they are named).
        """
        trained, weights = read_model(Path(path))
        if trained.vocabulary != len(tokenizer):
            raise UserError(
                f"checkpoint {path} was made with a vocabulary of {trained.vocabulary} ids, the tokenizer has "
                f"{len(tokenizer)} ([DEC] and [ENC] included): set model.vocab to the one that it was trained with"
            )
        sizes = replace(trained, image=image or trained.image)
        classes = len(weights["classifier.weight"]) if "classifier.weight" in weights else 0
        model = cls(sizes, enc_token=enc_token_id(tokenizer), classes=classes, **options)
        load_weights(model, weights, trained=trained, sizes=sizes, source=path)
        return model

    def set_classes(self, classes: int) -> None:
        """Start a new classifier over this many pseudo-identities."""
        self.classifier = _classifier(self.sizes.embed, classes).to(self.cross_proj.weight.device)

    def matching_parameters(self) -> Iterator[nn.Parameter]:
        """What learns from the matching loss alone: its head, and the text encoder's attention to images."""
        for name, parameter in self.named_parameters():
            if name.startswith("itm_head.") or ".crossattention." in name:
                yield parameter

    def compile_encoders(self) -> None:
        """Compile the two encoders, each at its first call; names of parameters stay."""
        self.visual_encoder.compile()
        self.text_encoder.compile()

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode normalised pixels [B, 3, H, W] into tokens [B, P, D] and embeddings [B, 256] of unit length."""
        with autocast(pixels.device, self.precision):
            tokens = self.visual_encoder(pixels)
        return tokens.float(), F.normalize(self.vision_proj(tokens[:, 0].float()), dim=-1)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode token ids [B, L] into tokens [B, L, D] and embeddings [B, 256] of unit length."""
        with autocast(input_ids.device, self.precision):
            tokens = read_texts(self.text_encoder, input_ids, Layout(attention_mask.bool()))
        return tokens.float(), F.normalize(self.text_proj(tokens[:, 0].float()), dim=-1)

    def fuse(self, image_tokens: Tensor, text_tokens: Tensor, text_mask: Tensor | None = None) -> Tensor:
        """Fuse a photograph with its caption into one feature [B, 256], not normalised.

        Without `text_mask` [B, L] the padding is attended to (as published).
        """
        with autocast(image_tokens.device, self.precision):
            fused = self.image_cross_model(image_tokens, text_tokens, text_mask)
        return self.cross_proj(fused.float())

    def match(
        self, image_tokens: Tensor, input_ids: Tensor, attention_mask: Tensor, *, image: Tensor | None = None
    ) -> Tensor:
        """Logit [B] that text i (ids [B, L]) belongs to image i (tokens [B, P, D]), or to image `image[i]` of them."""
        with autocast(input_ids.device, self.precision):
            first = match_texts(
                self.text_encoder, self._marked(input_ids), Layout.of(attention_mask, image=image), image_tokens
            )
        return self.itm_head(first.float())[:, 1]

    def forward(
        self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, *, matching: bool = True
    ) -> dict[str, Tensor]:
        """The losses of a batch of pairs with pseudo-labels [B]: `itc`, `itm` and `id`, scalars in float32.

        Without `matching` there is no `itm`, which takes half of the time.

        In a group of processes, ITC and the negatives of ITM see the pairs of all of them; the mean of the losses over
        the processes, and of their gradients, is that of one process with all the pairs. All texts must then be padded
        to one length.

        One pass of each encoder serves the three; the fusion branch sees detached tokens, so that the ID loss
        trains the fusion encoder, the classifier and the text projection, and, through the text's own logits,
        the text encoder, but never the image encoder (as published).
        """
        layout = Layout.of(attention_mask)
        # Where padding is attended to, it must have been read.
        tower = Layout(attention_mask.bool()) if self.fuse_padding else layout
        with autocast(pixels.device, self.precision):
            image_tokens = self.visual_encoder(pixels)
            text_tokens = read_texts(self.text_encoder, input_ids, tower)
        image_proj = self.vision_proj(image_tokens[:, 0].float())
        text_proj = self.text_proj(tower.first(text_tokens).float())

        text_mask = None if self.fuse_padding else attention_mask
        fused = self.fuse(image_tokens.detach(), tower.unpack(text_tokens.detach()), text_mask)
        images, texts, people = (
            distributed.all_gather_with_grad(image_proj),
            distributed.all_gather_with_grad(text_proj),
            distributed.all_gather_with_grad(labels),
        )
        losses = {"itc": itc_loss(images, texts, people)}
        if matching:
            negatives = hard_negatives(images, texts, people, choice=self.negatives)
            losses["itm"] = self._matching_loss(image_tokens, input_ids, attention_mask, *negatives)
        losses["id"] = id_loss(self.classifier(fused), self.classifier(text_proj), labels)
        return losses

    def _matching_loss(
        self, image_tokens: Tensor, input_ids: Tensor, mask: Tensor, image_index: Tensor, text_index: Tensor
    ) -> Tensor:
        """ITM of own pairs, given the negatives [processes x B] of all texts and all images."""
        own = torch.arange(len(input_ids), device=input_ids.device)
        mine = own + distributed.rank() * len(own)
        image_index, text_index = image_index[mine], text_index[mine]
        if distributed.world_size() > 1:
            # Own images and those of other processes that are negatives here; keys and values of no other are made.
            image_tokens = torch.cat([image_tokens, distributed.all_gather_with_grad(image_tokens)[image_index]])
            image_index = own + len(own)
        ids = torch.cat([input_ids, input_ids, distributed.all_gather_with_grad(input_ids)[text_index]])
        layout = Layout.of(
            torch.cat([mask, mask, distributed.all_gather_with_grad(mask)[text_index]]),
            image=torch.cat([own, image_index, own]),
        )
        return itm_loss(self._match_logits(image_tokens, ids, layout))

    def _match_logits(self, image_tokens: Tensor, input_ids: Tensor, layout: Layout) -> Tensor:
        with autocast(input_ids.device, self.precision):
            joint = read_texts(self.text_encoder, self._marked(input_ids), layout, image_tokens)
        return self.itm_head(layout.first(joint).float())

    def _marked(self, input_ids: Tensor) -> Tensor:
        """Token ids that tell the text encoder to match: `[ENC]` stands first."""
        return torch.cat([torch.full_like(input_ids[:, :1], self.enc_token), input_ids[:, 1:]], dim=1)


def _classifier(width: int, classes: int) -> nn.Linear:
    with warnings.catch_warnings():  # torch warns where there are no weights to draw: before the first clustering
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        return nn.Linear(width, classes)
