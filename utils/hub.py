"""Weights that are named as on the Hugging Face hub, "organization/name", rather than by a path."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError

_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_WEIGHTS = (".safetensors", ".pth")
_BESIDE = ("config.json", "vocab.txt")  # what an exported model has next to its weights


def find_weights(name: str | Path) -> Path:
    """Return the file of a checkpoint: the path itself, or that of a model on the hub, which is downloaded once.

    A name on the hub is "organization/name", without a suffix of weights, and neither a path nor in a folder that
    exists. The repository must have one file of weights, or model.safetensors.

    Raises:
        UserError: the hub has no such model or cannot be reached, and no copy is here; or it is not clear which file
            to take.
    """
    path = Path(name)
    if path.exists() or path.parent.is_dir() or path.suffix in _WEIGHTS or not _NAME.fullmatch(str(name)):
        return path
    from huggingface_hub import HfApi, snapshot_download

    repository, endpoint = str(name), os.environ.get("HF_ENDPOINT")
    try:
        files = [file.rfilename for file in HfApi(endpoint=endpoint).model_info(repository).siblings or ()]
        chosen = _choose(files, repository)
        folder = snapshot_download(repository, allow_patterns=[chosen, *_BESIDE], endpoint=endpoint)
    except UserError:
        raise
    except Exception as error:  # the hub's client and the network raise many types
        try:
            folder = snapshot_download(repository, allow_patterns=[*_BESIDE], local_files_only=True)
            chosen = _choose([file.name for file in Path(folder).iterdir()], repository)
        except Exception:  # there is no copy, either
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"{repository} is no file or folder here, and as a model on the hub, it cannot be loaded: {reason}"
            ) from None
    return Path(folder, chosen)


def _choose(files: Sequence[str], repository: str) -> str:
    weights = [name for name in files if name.endswith(_WEIGHTS)]
    if "model.safetensors" in weights:
        return "model.safetensors"
    if len(weights) == 1:
        return weights[0]
    found = f"has several files of weights ({', '.join(weights[:8])})" if weights else "has no .safetensors or .pth"
    raise UserError(f"{repository} on the hub {found}: download the right one, and set its path")
