"""The label-map engine compiled: `run` of labelmap_python, the same source, so the same bytes.

The compiled code is kept on disk by numba beside the module, or in the user's cache folder where that is read-only.
Import this module only where numba is wanted: it costs about half a second.
"""

from __future__ import annotations

import numba

from . import labelmap_python

__all__ = ["run"]


def _compiled():
    try:
        return numba.njit(cache=True)(labelmap_python.run)
    except RuntimeError:  # no folder numba may write to: compile anew in every process
        return numba.njit(labelmap_python.run)


run = _compiled()
