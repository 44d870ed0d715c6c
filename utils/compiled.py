"""Loops over single numbers, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[_Kernel], _Kernel]:
    """Compile a function on first use and keep that on disk, where there is a place; run it without Python's lock.

    Args:
        options: of `numba.njit`.
    """

    def compile_later(kernel: _Kernel) -> Any:
        try:
            return numba.njit(kernel, cache=True, nogil=True, **options)
        except RuntimeError:  # neither the folder of the source nor that of the user can be written to
            return numba.njit(kernel, nogil=True, **options)

    return compile_later
