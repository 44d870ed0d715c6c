"""Mutations of real files: of their bytes, and of what JSON, YAML, arrays and checkpoints hold."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


SCALARS: tuple[Any, ...] = (
    *(None, True, -1, 0, 7, 10**30, -(2**63) - 1, 0.5, 1e308, float("nan"), float("inf")),
    *("", " ", "x" * 5000, "\ud800", "a\x00b", "a\nb", "../../escaped", "/", "~", "person", "\u202e", "𝔘"),
    *([], {}, [None], {"a": {}}, [[1, "b"]], _nested(40)),
)
ODD_NUMBERS = (float("nan"), float("inf"), -9, 1e300)
FOREIGN = (b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"PK\x03\x04", b"\x80\x04.", b"\xff\xfe{\x00")
YAML_PIECES = (
    *("!!python/object/apply:os.system [true]", "!!timestamp x", "&a [*a]", "*b", "<<: 7", "? [1]", "- - -"),
    *(
        "9" * 5000,
        "[" * 2000,
        "{a: " * 500,
        "0x",
        "1e999",
        ".nan",
        "~",
        "yes",
        "a: b: c",
        "\t",
        "\x00",
        "---\n...",
        "%",
    ),
    "a: &x [q,q]\nb: &y [*x,*x,*x,*x,*x,*x,*x,*x]\nc: [*y,*y,*y,*y,*y,*y,*y,*y,*y]",
)


def mutate_file(path: Path, chance: random.Random) -> str:
    """Change one file in place, in a way that fits its kind or of its bytes alone; return what was done."""
    change = STRUCTURAL.get(path.suffix)
    if change and chance.random() < 0.6:
        try:
            change(path, chance)
        except Exception:  # an earlier change has already made it unreadable, in one of the ways that are tested here
            pass
        else:
            return f"{path.name}: content"
    kind = mutate_bytes(path, chance)
    return f"{path.name}: {kind}"


def mutate_bytes(path: Path, chance: random.Random) -> str:
    """Change the bytes of a file; return the kind of the change."""
    data = bytearray(path.read_bytes())
    kind = chance.choice(("flip", "cut", "insert", "repeat", "drop", "zero", "empty", "foreign"))
    at = chance.randrange(len(data) + 1)
    size = chance.choice((1, 4, 16, 256))
    if kind == "flip":
        for _ in range(chance.choice((1, 3, 20))):
            if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = chance.randbytes(size)
    elif kind == "repeat":
        data[at:at] = data[at : at + size]
    elif kind == "drop":
        del data[at : at + size]
    elif kind == "zero":
        data[at : at + size] = bytes(len(data[at : at + size]))
    elif kind == "empty":
        data.clear()
    else:
        data[:] = chance.choice(
            (b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"PK\x03\x04", b"\x80\x04.", b"\xff\xfe{\x00")
        )
    path.write_bytes(bytes(data))
    return kind


def mutate_value(value: Any, chance: random.Random) -> Any:
    """Return a JSON value with one part replaced, dropped or doubled."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        kind = chance.choice(("inside", "inside", "drop", "rename", "replace"))
        changed = {key: item for key, item in value.items() if key != name or kind in ("inside", "replace")}
        if kind == "inside":
            changed[name] = mutate_value(value[name], chance)
        elif kind == "replace":
            changed[name] = chance.choice(SCALARS)
        elif kind == "rename":
            changed[chance.choice(("", "captions", "model", "x" * 300))] = value[name]
        return changed
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        part = chance.choice(([], [value[at]] * 2, [mutate_value(value[at], chance)], [chance.choice(SCALARS)]))
        return value[:at] + part + value[at + 1 :]
    return chance.choice(SCALARS)


def _mutate_json(path: Path, chance: random.Random) -> None:
    text = json.dumps(mutate_value(json.loads(path.read_text()), chance))
    if chance.random() < 0.1:  # a key that stands twice
        text = text.replace("{", '{"id": 1, "id": 2, ', 1)
    path.write_text(text)


def _mutate_lines(path: Path, chance: random.Random) -> None:
    lines = path.read_text().splitlines()
    at = chance.randrange(len(lines))
    kind = chance.choice(("drop", "double", "swap", "value"))
    if kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "swap":
        other = chance.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif path.suffix == ".jsonl":
        lines[at] = json.dumps(mutate_value(json.loads(lines[at]), chance))
    else:
        lines[at] = chance.choice(("", "\x85", "a\u2028b", "[UNK]", "x" * 5000))
    path.write_text("\n".join(lines) + "\n")


def _mutate_yaml(path: Path, chance: random.Random) -> None:
    text = path.read_text()
    at = chance.choice([index for index, letter in enumerate(text) if letter in " \n:"] or [0])
    path.write_text(text[: at + 1] + chance.choice(YAML_PIECES) + chance.choice(("", "\n")) + text[at + 1 :])


def _mutate_array(array: np.ndarray[Any, Any], chance: random.Random) -> np.ndarray[Any, Any]:
    """Return an array of another shape, type or content."""
    ways: tuple[Callable[[], Any], ...] = (
        lambda: array[: len(array) // 2] if array.ndim else array[None],
        lambda: array[None],
        lambda: array.ravel()[:0],
        lambda: array.astype(chance.choice(("float16", "int8", "complex64", "U9", "M8[s]", "?"))),
        lambda: np.where(
            np.arange(array.size).reshape(array.shape) % 3, array, chance.choice((np.nan, np.inf, -9, 1e300))
        ),
        lambda: np.array("one string"),
    )
    return np.asarray(chance.choice(ways)())


def _mutate_npy(path: Path, chance: random.Random) -> None:
    if chance.random() < 0.3:  # a header that claims more than the file holds
        data = path.read_bytes()
        path.write_bytes(data.replace(b"'shape': (", b"'shape': (9" + b"9" * chance.choice((3, 12)), 1))
        return
    with path.open("rb") as file:
        array = np.load(file)
    with path.open("wb") as file:
        np.save(file, _mutate_array(array, chance))


def _mutate_npz(path: Path, chance: random.Random) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    name = chance.choice(list(arrays))
    if chance.random() < 0.25:
        arrays["x"] = arrays.pop(name)
    else:
        arrays[name] = _mutate_array(arrays[name], chance)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _odd_tensors(tensor: torch.Tensor, chance: random.Random) -> Any:
    """Return something else in a tensor's place."""
    ways: tuple[Callable[[], Any], ...] = (
        lambda: tensor[None],
        lambda: tensor.flatten()[: tensor.numel() // 2],
        lambda: tensor.to(chance.choice((torch.float16, torch.int64, torch.complex64, torch.float8_e4m3fn))),
        lambda: tensor.float().to_sparse(),
        lambda: tensor.float() * float("nan"),
        lambda: torch.empty(tensor.shape, device="meta"),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: chance.choice(SCALARS),
    )
    return chance.choice(ways)()


def _mutate_state(value: Any, chance: random.Random) -> Any:
    """Return a nested dict of tensors with one part replaced or dropped."""
    if isinstance(value, dict) and value:
        name = chance.choice(list(value))
        kind = chance.choice(("inside",) * 6 + ("drop", "rename"))
        if kind == "inside":
            return value | {name: _mutate_state(value[name], chance)}
        rest = {key: item for key, item in value.items() if key != name}
        return rest if kind == "drop" else rest | {chance.choice((7, "", "module.x")): value[name]}
    return _odd_tensors(value, chance) if isinstance(value, torch.Tensor) else chance.choice(SCALARS)


def _mutate_pth(path: Path, chance: random.Random) -> None:
    changed = _mutate_state(torch.load(path, weights_only=True), chance)
    stream = io.BytesIO()
    torch.save(changed, stream)
    path.write_bytes(stream.getvalue())


def _mutate_safetensors(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(mutate_value(json.loads(data[8 : 8 + size]), chance)).encode()
    claimed = chance.choice((len(header),) * 6 + (2**62, 0))
    path.write_bytes(claimed.to_bytes(8, "little") + header + data[8 + size :])


STRUCTURAL: dict[str, Callable[[Path, random.Random], None]] = {
    ".json": _mutate_json,
    ".jsonl": _mutate_lines,
    ".txt": _mutate_lines,
    ".yaml": _mutate_yaml,
    ".npy": _mutate_npy,
    ".npz": _mutate_npz,
    ".pth": _mutate_pth,
    ".safetensors": _mutate_safetensors,
}
