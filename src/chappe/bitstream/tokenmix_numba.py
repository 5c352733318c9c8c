"""The mixed token code's engine compiled: `run` of tokenmix_python, the same source, so the same bytes.

The compiled code is kept on disk by numba beside the module, or in the user's cache folder where that is read-only.
"""

from __future__ import annotations

import numba

from . import tokenmix_python

__all__ = ["run"]


def _compiled():
    try:
        return numba.njit(cache=True)(tokenmix_python.run)
    except RuntimeError:  # no folder numba may write to: compile anew in every process
        return numba.njit(tokenmix_python.run)


run = _compiled()
