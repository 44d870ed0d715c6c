"""Words to ids: BERT's WordPiece, from a file, a folder or the hub, or trained on the captions at hand."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor
from transformers import BertTokenizer

from utils.errors import UserError
from utils.files import write_text

MAX_WORDS = 72
MAX_TOKENS = 73
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def load_tokenizer(vocab: str | Path) -> BertTokenizer:
    """Load a BERT tokenizer and add `[DEC]` (begin of sentence) and `[ENC]` (marks an image-text pair), in that order.

    Args:
        vocab: a vocab.txt, a folder that holds one (or a saved tokenizer), or a name on the hub.

    Raises:
        UserError: there is no such vocabulary, or it lacks BERT's special tokens.
    """
    path = Path(vocab)
    if path.is_file():
        tokenizer = _from_file(path)
    elif (path / "tokenizer.json").is_file():
        tokenizer = BertTokenizer.from_pretrained(path)
    elif (path / "vocab.txt").is_file():
        tokenizer = _from_file(path / "vocab.txt")
    elif path.is_dir():
        raise UserError(f"model.vocab: {path} holds neither vocab.txt nor tokenizer.json")
    elif path.suffix == ".txt" or path.is_absolute():
        raise UserError(f"model.vocab: {path} is missing")
    else:
        try:
            tokenizer = BertTokenizer.from_pretrained(str(vocab))
        except (OSError, ValueError) as error:
            raise UserError(f"model.vocab: no file, folder or hub model '{vocab}' ({_first_line(error)})") from None
    words = tokenizer.get_vocab()
    if len(words) <= len(_SPECIAL) or not words.keys() >= set(_SPECIAL):
        # transformers makes a tokenizer of special tokens alone where it could fetch nothing.
        raise UserError(
            f"model.vocab: '{vocab}' gives no BERT vocabulary: without a network, name a vocab.txt or its folder"
        )
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return tokenizer


def train_vocabulary(texts: Iterable[str], path: Path, *, size: int = 4000) -> None:
    """Train a WordPiece vocabulary on `texts` (cleaned here) and write it to `path`, one word a line.

    The same texts in the same order give the same file.
    """
    cleaned = sorted(clean_text(text) for text in texts)
    # The trainer numbers the continuing letters in a random order, and settles ties between pairs by those numbers:
    # naming them with the special tokens fixes the order.
    continuing = [f"##{letter}" for letter in sorted(set("".join(cleaned)) - {" "})]
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(
        iter(cleaned),
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[*_SPECIAL, *continuing],
    )
    words = sorted(trainer.get_vocab().items(), key=lambda item: item[1])
    write_text(path, "".join(f"{word}\n" for word, _ in words))


def clean_text(text: str) -> str:
    """Lower-case, turn `. ! " ( ) * # : ; ~` into spaces, squeeze white space, keep 72 words (as published)."""
    words = re.sub(r'[.!"()*#:;~]', " ", text.lower()).split()
    return " ".join(words[:MAX_WORDS])


def tokenize(
    tokenizer: BertTokenizer,
    texts: list[str],
    *,
    pad_to: int | None = None,
    multiple_of: int | None = None,
    max_tokens: int = MAX_TOKENS,
) -> tuple[Tensor, Tensor]:
    """Clean and tokenize captions.

    Args:
        pad_to: pad every text to this many tokens (73 as published); None pads to the longest of `texts`.
        multiple_of: pad the longest, too, to a multiple of this, but to no more than `max_tokens`.
        max_tokens: longer texts are cut to this many tokens.

    Returns:
        input_ids [B, L] int64 and attention_mask [B, L] int64, 1 on real tokens.
    """
    batch = tokenizer(
        [clean_text(text) for text in texts],
        padding="max_length" if pad_to else "longest",
        truncation=True,
        max_length=pad_to or max_tokens,
        return_tensors="pt",
    )
    ids, mask = batch["input_ids"].to(torch.int64), batch["attention_mask"].to(torch.int64)
    missing = min(-ids.shape[1] % (multiple_of or 1), max(0, max_tokens - ids.shape[1]))
    return F.pad(ids, (0, missing), value=tokenizer.pad_token_id), F.pad(mask, (0, missing))


def enc_token_id(tokenizer: BertTokenizer) -> int:
    """Id of `[ENC]`, the token that opens a text when it is matched with an image."""
    return tokenizer.get_vocab()["[ENC]"]


def _from_file(path: Path) -> BertTokenizer:
    try:
        words = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"model.vocab: cannot read {path} ({error})") from None
    missing = [token for token in _SPECIAL if token not in words]
    if missing:
        raise UserError(f"model.vocab: {path} lacks {', '.join(missing)}: it is not a BERT vocabulary")
    # transformers 5 takes `BertTokenizerFast(vocab_file=...)` without a word and maps everything to one unknown id;
    # a folder is read rightly.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        return BertTokenizer.from_pretrained(folder, do_lower_case=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
