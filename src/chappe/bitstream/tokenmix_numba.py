"""The mixed token code's engine compiled: `run` of tokenmix_python, the same source, the same bytes; see `native`."""

from __future__ import annotations

import sys

import numpy as np

from . import tokenmix_python
from .native import compiled

__all__ = ["run"]


def _make():
    import numba
    from numba import carray, int8, int32, int64, uint8

    inner = numba.njit(error_model="numpy", inline="always")(tokenmix_python.run)

    def entry(p, n):
        return inner(
            n[27], n[28], n[29], carray(p[0], (n[0],), uint8), carray(p[1], (n[1],), int32),
            carray(p[2], (n[2],), uint8), carray(p[3], (n[3],), int32), carray(p[4], (n[4],), uint8), n[30], n[31],
            n[32], carray(p[5], (n[5],), int8), n[33], carray(p[6], (n[6],), uint8), carray(p[7], (n[7],), int32),
            carray(p[8], (n[8],), int32), carray(p[9], (n[9],), int32), carray(p[10], (n[10],), int32),
            carray(p[11], (n[11],), int32), carray(p[12], (n[12],), int32), carray(p[13], (n[13],), int32),
            carray(p[14], (n[14],), int32), carray(p[15], (n[15],), uint8), carray(p[16], (n[16],), int64),
            carray(p[17], (n[17],), int64), carray(p[18], (n[18],), int32), (
                carray(p[19], (n[19],), int64), carray(p[20], (n[20],), int64), carray(p[21], (n[21],), int64),
                carray(p[22], (n[22],), int64), carray(p[23], (n[23],), int64), carray(p[24], (n[24],), int64),
                carray(p[25], (n[25],), int64), carray(p[26], (n[26],), int64),
            ),
        )  # fmt: skip

    return entry


_KINDS = ("u1", "i4", "u1", "i4", "u1", "i1", "u1", *["i4"] * 8, "u1", "i8", "i8", "i4", *["i8"] * 8)
_entry = compiled("tokenmix", (tokenmix_python, sys.modules[__name__]), _make)


def run(*arguments) -> int:
    """`tokenmix_python.run`."""
    arrays = [a for a in arguments[:-1] if isinstance(a, np.ndarray)] + list(arguments[-1])
    numbers = [a for a in arguments[:-1] if not isinstance(a, np.ndarray)]
    return _entry([np.ascontiguousarray(a, kind) for a, kind in zip(arrays, _KINDS, strict=True)], *numbers)
