"""A model for a run: from its preset, or from the weights that it starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import BertTokenizer

from models.sizes import PRESETS
from models.tokenizer import enc_token_id, load_tokenizer, train_vocabulary
from models.tsn import TSN
from utils.errors import UserError
from utils.files import write_text


def build_model(
    tokenizer: BertTokenizer,
    *,
    preset: str,
    init: Path | None,
    image: tuple[int, int] | None,
    seed: int,
    **options: Any,
) -> TSN:
    """Build a TSN of a preset's sizes with seeded random weights, or load the weights at `init`.

    Args:
        image: height and width in pixels; None takes the preset's.
        options: further keyword arguments of `TSN`.

    Raises:
        UserError: `init` is missing or does not fit the preset, or the image is no whole number of patches.
    """
    sizes = PRESETS[preset]
    sizes = replace(sizes, vocabulary=len(tokenizer), image=image or sizes.image)
    torch.manual_seed(seed)
    if init is None:
        return TSN(sizes, enc_token=enc_token_id(tokenizer), **options)
    if not init.is_file():
        raise UserError(
            f"model.init: {init} is missing: download BLIP's weights there (see README), or train a small model from "
            "nothing with --set model.preset=tiny"
        )
    model = TSN.from_checkpoint(init, tokenizer, image=sizes.image, **options)
    if replace(model.sizes, positions=sizes.positions) != sizes:
        raise UserError(f"model.init: {init} is not of model.preset={preset}: it has {model.sizes}")
    return model


def build_tokenizer(vocab: str | None, texts: list[str], path: Path) -> BertTokenizer:
    """Load the configured vocabulary, or train one on `texts`; a copy is kept at `path` and used from then on."""
    if not path.exists():
        if vocab is None:
            train_vocabulary(texts, path)
        elif (file := _vocabulary_file(Path(vocab))) is not None:
            load_tokenizer(vocab)  # refuses what is no vocabulary
            write_text(path, file.read_text(encoding="utf-8"))
        else:
            words = load_tokenizer(vocab).get_vocab()
            own = sorted((number, word) for word, number in words.items() if word not in ("[DEC]", "[ENC]"))
            write_text(path, "".join(f"{word}\n" for _, word in own))
    return load_tokenizer(path)


def _vocabulary_file(vocab: Path) -> Path | None:
    return next((file for file in (vocab, vocab / "vocab.txt") if file.is_file()), None)
