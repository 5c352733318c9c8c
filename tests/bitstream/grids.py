"""Token grids for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def grids(draw, side: int = 24, top: int = 65536):
    """(mask, indices, levels, prior or None): scattered or in a patch, all index statistics, extremes often."""
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    cells = height * width
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    selected = draw(st.sampled_from([0, 1, cells - 1, cells]) | st.integers(0, cells))
    score = rng.normal(size=(height, width))
    if draw(st.booleans()):  # one patch rather than scattered cells
        score -= np.hypot(np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2) * 3
    mask = np.zeros(cells, np.bool_)
    mask[np.argsort(-score.ravel(), kind="stable")[:selected]] = True
    levels = min(top, draw(st.sampled_from([2, 3, 16, 1023, 1024, 65535, 65536]) | st.integers(2, 65536)))
    spread = draw(st.sampled_from(["uniform", "skewed", "constant", "runs"]))
    if spread == "uniform":
        indices = rng.integers(0, levels, selected)
    elif spread == "skewed":
        indices = np.minimum(rng.geometric(0.2, selected), levels) - 1
    elif spread == "constant":
        indices = np.full(selected, levels - 1)
    else:
        indices = (np.arange(selected) // 7 * 40503) % levels
    prior = None
    if draw(st.booleans()):
        prior = rng.integers(0, draw(st.sampled_from([2, 100, 2**32])), levels)
        prior[0] = 1
    return mask.reshape(height, width), indices, levels, prior
