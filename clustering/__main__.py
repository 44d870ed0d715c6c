"""Cluster the features of a file: k-reciprocal Jaccard distance, DBSCAN, labels.

python -m clustering features.npy --eps 0.5 --out labels.npy
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - handles Ctrl-C while the slow imports run

# isort: split
import argparse
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError, run_script
from utils.files import as_path, atomic_write
from utils.logs import show

if TYPE_CHECKING:  # torch, and all that uses it, is imported where it is needed, so that --help is quick
    import torch

_TORCH_SUFFIXES = (".pt", ".pth")
_SUFFIXES = (".npy", ".npz", *_TORCH_SUFFIXES)
_FEATURE_NAMES = ("features", "feats", "embeddings")
_ID_NAMES = ("ids", "pids", "person_ids", "labels")
_UNNAMED = "arr_0"  # np.savez's name for an array without one


def main(argv: Sequence[str] | None = None) -> None:
    arguments = build_parser().parse_args(argv)
    if arguments.out and arguments.out.suffix not in (".npy", ".txt"):
        raise UserError(f"--out {arguments.out}: labels are written as .npy or .txt")
    if arguments.out and arguments.out.resolve() == arguments.features.resolve():
        raise UserError(f"--out {arguments.out} is the file of the features: choose another one")
    features = read_features(arguments.features)
    ids = read_ids(arguments.ids) if arguments.ids else None
    if ids is not None and len(ids) != len(features):
        raise UserError(
            f"{arguments.ids} has {len(ids)} ids, but {arguments.features} has {len(features)} rows: they must agree"
        )
    from clustering.options import ClusterOptions
    from clustering.pseudo_labels import cluster_features
    from clustering.quality import label_quality
    from utils import distributed
    from utils.options import build

    names = ("whiten", "k1", "k2", "min_samples", "metric", "knn")
    values = {name: getattr(arguments, name) for name in names} | {"eps": parse_eps(arguments.eps)}
    options = build(ClusterOptions, values | {"source_weight": 0.0}, prefix="--")
    start = time.monotonic()
    device = parse_device(arguments.device)
    with distributed.process_group(device):
        try:
            found = cluster_features(features, options, device=device)
        except MemoryError as error:
            raise UserError(f"the features of {arguments.features} are too many for this memory: {error}") from None
        if not distributed.is_main_process():
            return
    seconds = time.monotonic() - start
    # The report is the result of this command, so it is printed rather than logged.
    show(f"{len(features)} x {features.shape[1]} {features.dtype} features, eps {found.eps:.4f}, {seconds:.1f} s")
    for name, value in label_quality(found.labels, ids, silhouette=found.silhouette).items():
        show(f"{name:12} {value:.4f}" if isinstance(value, float) else f"{name:12} {value}")
    if arguments.out:
        write_labels(arguments.out, found.labels)
        show(f"written: {arguments.out}")


def build_parser() -> argparse.ArgumentParser:
    """Define the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m clustering", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("features", type=as_path, help="a matrix [N, D]: .npy, .npz, or .pt (only tensors and numbers)")
    add("--whiten", type=float, default=0.0, help="how far to whiten the features, 0 to 1 (default: %(default)s)")
    add("--k1", type=int, default=20, help="neighbors that may be reciprocal (default: %(default)s)")
    add("--k2", type=int, default=6, help="neighborhoods averaged (default: %(default)s)")
    add(
        "--eps",
        default="silhouette",
        help="radius: a number, auto (as published), or silhouette (default: %(default)s)",
    )
    add("--min-samples", type=int, default=4, help="points within eps that make a core point (default: %(default)s)")
    add("--metric", default="precomputed", help="precomputed or rows (default: %(default)s)")
    add("--knn", default="exact", help="exact, or ivf from 200,000 rows on (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--ids", type=as_path, help="person ids of the rows, a file as above, to report the quality of the labels")
    add("--out", type=as_path, help="file for the labels: .npy, or .txt with one per line; -1 is noise")
    return parser


def parse_eps(text: str) -> float | str:
    """Return a number, or the name of a rule."""
    try:
        return float(text)
    except ValueError:
        return "silhouette" if text == "clearest" else text  # its name in version 0.1


def parse_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        UserError: there is no such device.
    """
    from utils.device import pick_device

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"--device {name}: it should be auto, cpu, cuda or cuda:N")
    try:
        return pick_device(name)
    except UserError as error:
        raise UserError(str(error).replace("run.device=", "--device ")) from None


def read_features(path: Path) -> NDArray[Any]:
    """Read the features [N, D] of a file: its only array, or the one called features, feats or embeddings.

    Raises:
        UserError: the file is missing, damaged, or holds no such array.
    """
    features = _read_array(path, _FEATURE_NAMES)
    if not features.size:
        raise UserError(f"{path} holds no features: its shape is {features.shape}")
    return features


def read_ids(path: Path) -> NDArray[np.int64]:
    """Read the person ids [N] of a file, numbered from 0: its only array, or the one called as in `_ID_NAMES`.

    Raises:
        UserError: the file is missing, damaged, or holds no such array of integers or names.
    """
    ids = _read_array(path, _ID_NAMES)
    if ids.ndim != 1 or ids.dtype.kind not in "iuUS":
        raise UserError(f"{path}: ids must be a list of whole numbers or names, not {ids.dtype} of shape {ids.shape}")
    return np.unique(ids, return_inverse=True)[1].astype(np.int64)


def _read_array(path: Path, names: Sequence[str]) -> NDArray[Any]:
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path}: give a file of numpy or torch ({', '.join(_SUFFIXES)})")
    try:
        content = _load(path, names)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory, or its header is wrong: {error}") from None
    except Exception as error:  # readers of damaged files raise errors of any kind
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read {path}: {reason[:120]}") from None
    if not isinstance(content, np.ndarray):
        raise UserError(f"{path} holds {type(content).__name__}, not an array")
    return content


def _load(path: Path, names: Sequence[str]) -> Any:
    """Load the array of a file, or the one of its arrays that has one of the names; nothing is unpickled."""
    if path.suffix in _TORCH_SUFFIXES:
        import torch

        with warnings.catch_warnings(action="ignore"):  # about the ways in which some tensors are stored
            content = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict):
            content = content[_choose(path, list(content), names)]
        return _as_array(path, content) if isinstance(content, torch.Tensor) else content
    content = np.load(path, allow_pickle=False)
    return content if path.suffix == ".npy" else content[_choose(path, content.files, names)]


def _as_array(path: Path, tensor: torch.Tensor) -> NDArray[Any]:
    """Return a dense tensor as an array; numpy has none of the smaller floats.

    Raises:
        UserError: the tensor has no value of its own for each element.
    """
    import torch

    kinds = {
        "a sparse tensor": tensor.layout not in (torch.strided, torch.jagged),
        "a nested tensor": tensor.is_nested,
        "a quantized tensor": tensor.is_quantized,
        "a meta tensor, which has no values": tensor.is_meta,
    }
    if kind := next((kind for kind, is_so in kinds.items() if is_so), None):
        raise UserError(f"{path} holds {kind}: save a dense one, as of tensor.to_dense() or tensor.dequantize()")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise UserError(f"{path} holds an expanded tensor {list(tensor.shape)}, which repeats its values: save a clone")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    known = (torch.float16, torch.float32, torch.float64)
    return (tensor.float() if tensor.is_floating_point() and tensor.dtype not in known else tensor).numpy()


def _choose(path: Path, found: list[str], names: Sequence[str]) -> str:
    """Return the first of the names that a file has, or its only one."""
    for name in (*names, _UNNAMED):
        if name in found:
            return name
    if len(found) != 1:
        raise UserError(f"{path} has no array called {', '.join(names)}")
    return found[0]


def write_labels(path: Path, labels: NDArray[np.int64]) -> None:
    """Write labels [N] atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".txt":
            np.savetxt(file, labels, fmt="%d")
        else:
            np.save(file, labels)


if __name__ == "__main__":
    run_script(main)
