"""Reading and writing files: atomic writes, JSON, JSON lines and .npz, with one-line errors."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import UserError
from utils.logs import log

if TYPE_CHECKING:
    from numpy.typing import NDArray


_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")  # as JSON writes it; most are in pairs
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, on Linux


def text_problem(text: str) -> str:
    """Return why a text cannot be written to our files, which are UTF-8; an empty string if it can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return "holds a NUL byte" if "\0" in text else ""


def path_problem(text: str) -> str:
    """Return why no file of ours or of a user may have this path; an empty string if one may.

    Names with line feeds would break the lines that name them, and some libraries (LanceDB).
    """
    if problem := text_problem(text):
        return problem
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        return "holds control characters"
    data = text.encode()
    if len(data) > _LONGEST_PATH or max(map(len, data.split(b"/"))) > _LONGEST_NAME:
        return f"is too long for a file name ({len(text):,} letters)"
    return ""


def as_path(text: str) -> Path:
    """Return the path that an argument names.

    Raises:
        UserError: no file can have it.
    """
    if problem := path_problem(text):
        raise UserError(f"{text[:80]} {problem}: choose or rename a file or folder")
    return Path(text)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system in this context into a `UserError` that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces `path` when the block ends without an error.

    The data is flushed to disk before the rename, so a kill or a power cut leaves the old file or the new one.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)  # of a killed process of this number, and maybe a hard link
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)  # streamed: the text may be large
        file.write("\n")


def read_jsonl(path: Path, *, key: str = "event") -> list[dict[str, Any]]:
    """Read a log: JSON objects, one a line, each with a text under `key`; return [] if there is no file.

    A truncated last line is skipped, and so, with a warning, are damaged ones.
    """
    if not path.is_file():
        return []
    entries, damaged = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = json.loads(line) if line.endswith("}") else None
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict) and isinstance(entry.get(key), str):
            entries.append(entry)
        elif line.endswith("}"):
            damaged += 1
    if damaged:
        log.warning(f"{path}: {damaged} damaged lines are left out")
    return entries


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, unreadable or not JSON, which the message locates, or has a key twice in an
            object, of which Python would drop the first value silently.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise UserError(f"{path} has the key {twice!r} twice in one object: merge them, or remove one")
        return found

    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe would wait for ever
            raise UserError(f"{path} is not a file")
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        value = json.loads(text, object_pairs_hook=unique)
        if _HALF_A_PAIR.search(text):
            _refuse_half_pairs(value, path)
        return value
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{path} is not valid JSON ({error.msg} at {place}): correct it or download it again") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: correct it or download it again") from None
    except (RecursionError, ValueError) as error:  # a number of thousands of digits is a ValueError
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UserError(f"{path} cannot be read as JSON ({reason}): correct it or download it again") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        UserError: as for `read_json`, or it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it should be a JSON object, not {type(content).__name__}")
    return content


def _refuse_half_pairs(value: Any, path: Path, place: str = "") -> None:
    """Refuse halves of surrogate pairs, which are no text: what is made of them could not be written."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{path}{place} holds half a surrogate pair, which is no text: correct {value[:80]}"
            ) from None
    elif isinstance(value, dict):
        for key, content in value.items():
            _refuse_half_pairs(key, path, place)
            _refuse_half_pairs(content, path, f"{place}{':' if place else ','} {key}")
    elif isinstance(value, list):
        for number, content in enumerate(value):
            _refuse_half_pairs(content, path, place or f", entry {number}")


def read_tables(path: Path) -> Any:
    """Read a YAML file that is shipped with the code, such as a word list."""
    import yaml  # not needed by most users of this module

    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def read_npz(path: Path, names: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Read the arrays `names`, and those of `optional` that exist, from an .npz file, without unpickling.

    Raises:
        UserError: the file is missing, damaged, not .npz, or lacks one of `names`.
    """
    import numpy as np  # not needed by the scripts that only read configs

    if not path.is_file():
        raise UserError(f"{path} is missing: it should be an .npz file of {', '.join(names)}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is one array: it should be an .npz file of {', '.join(names)}")
        with loaded as content:
            missing = [name for name in names if name not in content]
            if missing:
                raise UserError(f"{path} has no {' and no '.join(missing)}: it should hold {', '.join(names)}")
            return {name: content[name] for name in [*names, *optional] if name in content}
    except UserError:
        raise
    except Exception as error:  # damaged archives and headers raise errors of any kind
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path} cannot be read as .npz without unpickling ({reason})") from None
