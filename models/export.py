"""A trained model as a folder that needs nothing else: model.safetensors, config.json and vocab.txt.

python -m models.export output/demo released/demo
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import BertTokenizer

from models.checkpoint import SETTINGS, WEIGHTS, read_checkpoint, read_model
from models.tokenizer import load_tokenizer
from models.tsn import TSN
from utils.errors import UserError, run_script
from utils.files import atomic_write, read_json, write_json, write_text


def export_model(checkpoint: Path, vocab: Path, folder: Path) -> None:
    """Write a checkpoint's model to `folder`, the settings last: a folder that has them is whole.

    Args:
        checkpoint: as `TSN.from_checkpoint` takes it.
        vocab: the vocab.txt that it was trained with.
        folder: made if it is missing; an export that stands there is replaced.

    Raises:
        UserError: a file is missing or broken, or the two do not belong together.
    """
    if not vocab.is_file():
        raise UserError(f"{vocab} is missing: name the vocabulary that {checkpoint} was trained with (--vocab)")
    TSN.from_checkpoint(checkpoint, load_tokenizer(vocab))  # refuses what does not fit
    sizes, weights = read_model(checkpoint)
    trained_with = read_checkpoint(checkpoint).get("config", {})
    padding = bool(trained_with.get("model", {}).get("fuse_padding", True))  # the release keeps no such setting
    (folder / SETTINGS).unlink(missing_ok=True)
    with atomic_write(folder / WEIGHTS) as aside:
        try:
            save_file({name: value.contiguous() for name, value in weights.items()}, aside)
        except SafetensorError as error:
            raise UserError(f"cannot write {folder / WEIGHTS}: {error}") from None
    write_text(folder / "vocab.txt", vocab.read_text(encoding="utf-8"))
    write_json(folder / SETTINGS, {"sizes": sizes.to_dict(), "fuse_padding": padding})


def load_exported(folder: Path) -> tuple[TSN, BertTokenizer]:
    """Load the model and the tokenizer that `export_model` wrote."""
    tokenizer = load_tokenizer(folder / "vocab.txt")
    settings = read_json(folder / SETTINGS)
    return TSN.from_checkpoint(folder / WEIGHTS, tokenizer, fuse_padding=settings["fuse_padding"]), tokenizer


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="run folder (its best.pth and vocab.txt), or checkpoint")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--vocab", type=Path, help="vocab.txt of a checkpoint (default: the one beside it)")
    arguments = parser.parse_args(argv)
    if not arguments.source.exists():
        raise UserError(f"{arguments.source} is not there: name a run folder or a checkpoint")
    checkpoint = arguments.source / "best.pth" if arguments.source.is_dir() else arguments.source
    export_model(checkpoint, arguments.vocab or checkpoint.parent / "vocab.txt", arguments.folder)
    print(f"written: {arguments.folder}: {WEIGHTS}, {SETTINGS}, vocab.txt")


if __name__ == "__main__":
    run_script(main)
