"""Compiling a loop with numba, in one place. Importing this module costs about half a second."""

from __future__ import annotations

from collections.abc import Callable

import numba

__all__ = ["compiled"]


def compiled(function: Callable) -> Callable:
    """`function` as machine code, kept on disk by numba where it may write, else compiled anew in every process.

    Without fastmath, so that sums keep their order.
    """
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no folder numba may write to
        return numba.njit(function)
