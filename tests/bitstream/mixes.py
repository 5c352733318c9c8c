"""Token grids with everything the mixed code knows of them, and a prior by formula (docs/format.md, chapter 8)."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from chappe.bitstream.tokenmix_prior import Net, TokenPrior
from chappe.bitstream.tokenmix_python import inputs


def formula_prior(levels: int = 11, classes: int = 3, size: int = 2, clusters: int = 3, units=(3, 4), most: int = 12):
    """Number i of each table is (40503 i // 16) mod (2 most + 1) - most; vectors the same with most = 20."""

    def numbers(count: int, limit: int) -> np.ndarray:
        return (np.arange(count) * 40503 // 16 % (2 * limit + 1) - limit).astype(np.int32)

    width = inputs(size, classes)
    nets = [
        Net(count, numbers((width + 1) * count + outputs * (count + 1), most))
        for count, outputs in ((units[0], 1), (units[1], 8 + clusters + levels))
    ]
    vectors = numbers(levels * size, 20).reshape(levels, size).astype(np.int8)
    cluster = (np.arange(levels) % clusters).astype(np.uint8)
    return TokenPrior(levels, classes, vectors, cluster, *nets, (4, 7, 4, 5), (0, 0, 0, 0))


@st.composite
def mixes(draw, side: int = 7):
    """(mask, indices, levels, context): context holds classes, candidates and known, each sometimes None."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, side)), draw(st.integers(1, side))
    levels = draw(st.sampled_from([2, 11, 64]))
    known = candidates = None
    if draw(st.booleans()):
        known = np.where(rng.random(shape) < rng.random(), rng.integers(0, levels, shape), -1)
    free = np.ones(shape, np.bool_) if known is None else known < 0
    if draw(st.booleans()) or known is not None:
        candidates = free & (rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0])))
        free = candidates
    mask = free & (rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])))
    indices = rng.integers(0, draw(st.sampled_from([1, levels])), int(mask.sum()))
    kind = draw(st.sampled_from(["none", "one", "samples"]))
    classes = None
    if kind != "none":
        classes = rng.choice([0, 1, 2, 3, 255], shape if kind == "one" else (*shape, 16)).astype(np.uint8)
    return mask, indices, levels, {"classes": classes, "candidates": candidates, "known": known}
