"""Export a trained model as a self-contained folder: model.safetensors, config.json and vocab.txt.

python -m models.export output/demo released/demo --onnx
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before slow imports

# isort: split
import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import BertTokenizer

from models.checkpoint import SETTINGS, WEIGHTS, read_checkpoint, read_model
from models.tokenizer import load_tokenizer
from models.tsn import TSN, TSNOptions
from utils.errors import UserError, run_script
from utils.files import as_path, atomic_write, read_json, read_object, write_errors, write_json, write_text
from utils.logs import log

_OURS = {"model": "TSN"}  # metadata of the weights


def export_model(checkpoint: Path, vocab: Path, folder: Path, *, half: bool = False) -> None:
    """Write a checkpoint's model to `folder`; config.json is written last, so a folder that has it is complete.

    Args:
        checkpoint: any checkpoint that `TSN.from_checkpoint` accepts.
        vocab: the vocab.txt that it was trained with.
        folder: created if missing; an existing export is replaced.
        half: write float16, and no classifier: half the size, to start other trainings from.

    Raises:
        UserError: a file is missing or broken, or checkpoint and vocabulary do not match.
    """
    if not vocab.is_file():
        raise UserError(f"{vocab} is missing: set --vocab to the vocabulary that {checkpoint} was trained with")
    TSN.from_checkpoint(checkpoint, load_tokenizer(vocab))  # checks that they match
    sizes, weights = read_model(checkpoint)
    if half:
        weights = {name: value.half() for name, value in weights.items() if not name.startswith("classifier.")}
    config = read_checkpoint(checkpoint).get("config")
    options = config.get("model") if isinstance(config, dict) else None
    # The release does not store it.
    fuse_padding = bool(options.get("fuse_padding", True)) if isinstance(options, dict) else True
    _refuse_other_models(folder)
    with write_errors(folder / SETTINGS):
        (folder / SETTINGS).unlink(missing_ok=True)
    with atomic_write(folder / WEIGHTS) as temporary:
        try:
            save_file({name: value.contiguous() for name, value in weights.items()}, temporary, metadata=_OURS)
        except SafetensorError as error:
            raise UserError(f"cannot write {folder / WEIGHTS}: {error}") from None
    write_text(folder / "vocab.txt", vocab.read_text(encoding="utf-8"))
    write_json(folder / SETTINGS, {"sizes": sizes.to_dict(), "fuse_padding": fuse_padding})


def _refuse_other_models(folder: Path) -> None:
    """Raise a `UserError` if the folder holds a model that was not exported by this script."""
    present = [name for name in (WEIGHTS, SETTINGS, "vocab.txt") if (folder / name).exists()]
    settings = read_json(folder / SETTINGS) if SETTINGS in present else None
    is_ours = isinstance(settings, dict) and settings.keys() == {"sizes", "fuse_padding"}
    if not settings and WEIGHTS in present:  # an export that was killed
        with suppress(SafetensorError, OSError), safe_open(folder / WEIGHTS, "pt") as file:
            is_ours = file.metadata() == _OURS
    if present and not is_ours:
        raise UserError(f"{folder} holds another model ({', '.join(present)}): choose an empty folder")


def load_exported(folder: Path) -> tuple[TSN, BertTokenizer]:
    """Load the model and the tokenizer that `export_model` wrote.

    Raises:
        UserError: a file is missing or damaged.
    """
    tokenizer = load_tokenizer(folder / "vocab.txt")
    fuse_padding = read_object(folder / SETTINGS).get("fuse_padding")
    if not isinstance(fuse_padding, bool):
        raise UserError(f"{folder / SETTINGS} is damaged: fuse_padding should be true or false")
    options = TSNOptions(fuse_padding=fuse_padding)
    return TSN.from_checkpoint(folder / WEIGHTS, tokenizer, options=options), tokenizer


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=as_path, help="run folder (exports its best.pth) or checkpoint")
    parser.add_argument("folder", type=as_path, help="output folder")
    parser.add_argument("--vocab", type=as_path, help="vocab.txt of the checkpoint (default: the one next to it)")
    parser.add_argument("--half", action="store_true", help="float16 without the classifier, as initial weights")
    parser.add_argument("--onnx", action="store_true", help="also write both encoders as ONNX")
    arguments = parser.parse_args(argv)
    if not arguments.source.exists():
        raise UserError(f"{arguments.source} is missing: expected a run folder or a checkpoint")
    checkpoint = arguments.source / "best.pth" if arguments.source.is_dir() else arguments.source
    export_model(checkpoint, arguments.vocab or checkpoint.parent / "vocab.txt", arguments.folder, half=arguments.half)
    files = [WEIGHTS, SETTINGS, "vocab.txt"]
    if arguments.onnx:
        from models.onnx import FILES, export_onnx

        export_onnx(load_exported(arguments.folder)[0], arguments.folder)
        files += FILES
    log.info(f"written: {arguments.folder}: {', '.join(files)}")


if __name__ == "__main__":
    run_script(main)
