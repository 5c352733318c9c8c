"""The concept code's engine compiled: `run` of concepts_python, the same source, so the same bytes.

The compiled code is kept on disk by numba beside the module, or in the user's cache folder where that is read-only.
"""

from __future__ import annotations

import numba

from . import concepts_python

__all__ = ["run"]


def _compiled():
    try:
        return numba.njit(cache=True)(concepts_python.run)
    except RuntimeError:  # no folder numba may write to: compile anew in every process
        return numba.njit(concepts_python.run)


run = _compiled()
