"""The label-map engine compiled: `run` of labelmap_python, the same source, so the same bytes; see `native`."""

from __future__ import annotations

import sys

import numpy as np

from . import labelmap_python
from .labelmap_python import WORK
from .native import compiled

__all__ = ["run"]


def _make():
    import numba
    from numba import carray, int16, int32, int64, uint8

    inner = numba.njit(error_model="numpy", inline="always")(labelmap_python.run)

    def entry(p, n):
        return inner(
            n[14], carray(p[0], (n[0],), int16), n[15], n[16], n[17],
            carray(p[1], (n[1],), int32), carray(p[2], (n[2],), int32), carray(p[3], (n[3],), int32),
            carray(p[4], (n[4],), uint8), n[18], carray(p[5], (n[5],), int32), carray(p[6], (n[6],), int32),
            carray(p[7], (n[7],), int32), carray(p[8], (n[8],), int32), n[19], n[20],
            carray(p[9], (n[9],), int64), carray(p[10], (n[10],), int64), carray(p[11], (n[11],), int64),
            carray(p[12], (n[12],), int64), carray(p[13], (n[13],), int64),
        )  # fmt: skip

    return entry


_entry = compiled("labelmap", (labelmap_python, sys.modules[__name__]), _make)


def run(decode, px, height, width, classes, slots, weights, seen, buf, cap, squash, stretch, rate, trust, lr, lr_first):
    """`labelmap_python.run` on int16 `px`, uint8 `buf` and int32 tables; it brings its own scratch."""
    scratch = [np.zeros(size, np.int64) for size in (WORK, 6 * width, 6 * width, width, width)]
    arrays = (px, slots, weights, seen, buf, squash, stretch, rate, trust, *scratch)
    return _entry(arrays, decode, height, width, classes, cap, lr, lr_first)
