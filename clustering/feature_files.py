"""Features from files that anybody may have written: .npy, .npz, .pt; nothing is unpickled."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from utils.errors import UserError

_NAMES = ("features", "feats", "embeddings", "arr_0")
_ID_NAMES = ("ids", "pids", "person_ids", "labels", "arr_0")
READABLE = (".npy", ".npz", ".pt", ".pth")


def read_features(path: Path) -> NDArray:
    """The features [N, D] of a file: its only array, or the one that is called features, feats or embeddings.

    Raises:
        UserError: the file is missing, broken, or holds no such array.
    """
    return _read(path, _NAMES)


def read_ids(path: Path) -> NDArray[np.int64]:
    """Who is on each image, [N]: the only array of a file, or the one called ids, pids, person_ids or labels.

    Raises:
        UserError: the file is missing, broken, or holds no such array of whole numbers or names.
    """
    ids = _read(path, _ID_NAMES)
    if ids.ndim != 1 or ids.dtype.kind not in "iuUS":
        raise UserError(f"{path}: ids must be a list of whole numbers or names, not {ids.dtype} of shape {ids.shape}")
    return np.unique(ids, return_inverse=True)[1].astype(np.int64)


def _read(path: Path, names: tuple[str, ...]) -> NDArray:
    if path.suffix not in READABLE:
        raise UserError(f"{path}: give a file of numpy or torch ({', '.join(READABLE)})")
    try:
        content = _load(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read {path}: {reason[:120]}") from None
    if isinstance(content, dict):
        content = _chosen(path, content, names)
    if isinstance(content, torch.Tensor):
        content = content.detach().cpu()
        content = (content.float() if content.dtype == torch.bfloat16 else content).numpy()
    if not isinstance(content, np.ndarray):
        raise UserError(f"{path} holds {type(content).__name__}, not an array")
    return content


def _load(path: Path) -> Any:
    if path.suffix in (".pt", ".pth"):
        return torch.load(path, map_location="cpu", weights_only=True)
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    with np.load(path, allow_pickle=False) as file:
        # What cannot be read, such as pickled objects, may stand beside what is asked for.
        return {name: file[name] for name in file.files if name in {*_NAMES, *_ID_NAMES} or len(file.files) == 1}


def _chosen(path: Path, content: dict[str, Any], names: tuple[str, ...]) -> Any:
    found = [name for name in names if name in content]
    if not found and len(content) == 1:
        found = list(content)
    if not found:
        raise UserError(f"{path} has no array called {', '.join(names[:-1])}")
    return content[found[0]]
