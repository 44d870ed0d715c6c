"""Arrays from an .npz file, without unpickling, and with one line for whatever is wrong with it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError


def read_npz(path: Path, names: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, NDArray]:
    """The arrays of these names; those that are optional, where the file has them.

    Raises:
        UserError: the file is missing, damaged, of another kind, or lacks one of `names`.
    """
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
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read as .npz without unpickling ({error})") from None
