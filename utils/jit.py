"""Numeric loops compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def cached_njit(**options: Any) -> Callable[[_Kernel], _Kernel]:
    """`numba.njit` that releases the GIL and caches on disk, or without the cache if no folder is writable.

    Args:
        options: further options of `numba.njit`.
    """

    def compile_lazily(kernel: _Kernel) -> Any:
        try:
            return numba.njit(kernel, cache=True, nogil=True, **options)
        except RuntimeError:  # neither the source's folder nor the user's cache can be written to
            return numba.njit(kernel, nogil=True, **options)

    return compile_lazily
