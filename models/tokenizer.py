"""BERT's WordPiece tokenizer, from a file, a folder or the hub, or trained on the captions."""

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
TEXT_MULTIPLE = 8  # lengths are rounded up to a multiple of this: fewer shapes to compile, and full tiles on a GPU
_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def load_tokenizer(vocab: str | Path) -> BertTokenizer:
    """Load a BERT tokenizer and add `[DEC]` (begin of sentence) and `[ENC]` (marks an image-text pair), in this order.

    Args:
        vocab: a vocab.txt, a folder with one (or with a saved tokenizer), or a name on the hub.

    Raises:
        UserError: the vocabulary cannot be found, or it lacks BERT's special tokens.
    """
    path = Path(vocab)
    file = _vocabulary_file(vocab)
    if (path / "tokenizer.json").is_file():
        tokenizer = BertTokenizer.from_pretrained(path)
    elif file.is_file():
        tokenizer = _from_file(file)
    elif file.suffix == ".txt" or file.is_absolute():
        raise UserError(f"model.vocab: {file} is missing")
    else:
        try:
            tokenizer = BertTokenizer.from_pretrained(str(vocab))
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"model.vocab: no file, folder or hub model '{vocab}' ({reason})") from None
    words = tokenizer.get_vocab()
    if len(words) <= len(_SPECIAL_TOKENS) or not words.keys() >= set(_SPECIAL_TOKENS):
        # Without a network, transformers returns a tokenizer that has only special tokens.
        raise UserError(
            f"model.vocab: '{vocab}' has no BERT vocabulary: without a network, set a vocab.txt or its folder"
        )
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return tokenizer


def train_vocabulary(texts: Iterable[str], path: Path, *, size: int = 4000) -> None:
    """Train a WordPiece vocabulary on `texts` (cleaned here) and write it to `path`, one word per line.

    The result depends neither on the order of the texts nor on the process.
    """
    cleaned = sorted(clean_text(text) for text in texts)
    # The trainer numbers the continuation letters in random order and breaks ties between pairs by these numbers:
    # listing the letters as special tokens fixes the order.
    continuation = [f"##{letter}" for letter in sorted(set("".join(cleaned)) - {" "})]
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(
        iter(cleaned),
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[*_SPECIAL_TOKENS, *continuation],
    )
    _write_words(path, trainer.get_vocab())


def build_tokenizer(vocab: str | None, texts: list[str], path: Path) -> BertTokenizer:
    """Load the vocabulary at `path`; if missing, first copy it from `vocab`, or train it on `texts` without one."""
    if not path.exists():
        if vocab is None:
            train_vocabulary(texts, path)
        else:
            ids = load_tokenizer(vocab).get_vocab()  # raises an error for an invalid vocabulary
            file = _vocabulary_file(vocab)
            if file.is_file():  # copied as it is, since the position of a repeated word counts
                write_text(path, file.read_text(encoding="utf-8"))
            else:
                _write_words(path, {word: ids[word] for word in ids.keys() - {"[DEC]", "[ENC]"}})
    return load_tokenizer(path)


def clean_text(text: str) -> str:
    """Lower-case, turn `. ! " ( ) * # : ; ~` into spaces, collapse whitespace, keep 72 words (as published)."""
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
        multiple_of: round the padded length up to a multiple of this, but to `max_tokens` at most.
        max_tokens: truncate longer texts to this many tokens.

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
    ids, mask = batch["input_ids"], batch["attention_mask"]
    missing = min(-ids.shape[1] % (multiple_of or 1), max(0, max_tokens - ids.shape[1]))
    return F.pad(ids, (0, missing), value=tokenizer.pad_token_id), F.pad(mask, (0, missing))


def length_step(device: torch.device) -> int:
    """Return the multiple to which lengths are rounded up outside training: a GPU chooses kernels for each length."""
    return TEXT_MULTIPLE if device.type == "cuda" else 1


def enc_token_id(tokenizer: BertTokenizer) -> int:
    """Return the id of `[ENC]`, the first token of a text that is matched with an image."""
    return tokenizer.get_vocab()["[ENC]"]


def _vocabulary_file(vocab: str | Path) -> Path:
    return Path(vocab, "vocab.txt") if Path(vocab).is_dir() else Path(vocab)


def _write_words(path: Path, ids: dict[str, int]) -> None:
    write_text(path, "".join(f"{word}\n" for word in sorted(ids, key=ids.__getitem__)))


def _from_file(path: Path) -> BertTokenizer:
    try:
        # Not splitlines(), which also splits at Unicode separators: the ids of all later words would shift.
        words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"model.vocab: cannot read {path} ({error})") from None
    missing = [token for token in _SPECIAL_TOKENS if token not in words]
    if missing:
        raise UserError(f"model.vocab: {path} lacks {', '.join(missing)}: it is not a BERT vocabulary")
    # transformers 5 silently ignores the file in `BertTokenizerFast(vocab_file=...)`, so that every word is unknown; a
    # folder is loaded correctly.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        return BertTokenizer.from_pretrained(folder, do_lower_case=True)
