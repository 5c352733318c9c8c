"""Numba's compiler as the link uses it: the result kept on disk, or compiled anew where no folder can be written."""

from __future__ import annotations

from collections.abc import Callable

import numba

__all__ = ["njit"]


def njit(function: Callable) -> Callable:
    """The function compiled at its first call. Float arithmetic keeps its order: results do not depend on the CPU."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no folder numba may write to
        return numba.njit(function)
