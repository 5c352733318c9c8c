"""Compiled code that is kept: found again, checked, made anew when damaged; and the same as numpy or Python."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from bitstream import maps
from chappe.bitstream import labelmap_simplify, labelmap_simplify_numba, native


def _summing():
    from numba import carray, int64

    def entry(p, n):
        total = 0
        for v in carray(p[0], (n[0],), int64):
            total += v
        return total * n[1]

    return entry


@st.composite
def simplifications(draw):
    """Labels, classes, scale, slope and weights: noise, blocks, or blocks with specks."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    height, width, classes = draw(st.integers(1, 60)), draw(st.integers(1, 60)), draw(st.integers(2, 14))
    labels = rng.integers(0, classes, (height, width), dtype=np.uint8)
    if draw(st.booleans()):
        specks = rng.random((height, width)) < draw(st.sampled_from((0.0, 0.1)))
        blocks = np.repeat(np.repeat(labels[: height // 6 + 1, : width // 5 + 1], 6, 0), 5, 1)[:height, :width]
        labels = np.where(specks, labels, np.pad(blocks, ((0, height - len(blocks)), (0, width - blocks.shape[1]))))
    weights = np.ones(classes) if draw(st.booleans()) else rng.random(classes) * rng.integers(0, 4, classes)
    if draw(st.booleans()):  # a matrix, of numbers whose sums are exact
        weights = np.round(64 * rng.random((classes, classes))) / 64 * (1 - np.eye(classes))
    scale = draw(st.sampled_from((1, 2, 3, 5, 8, 31)))
    return labels, classes, scale, draw(st.sampled_from((0.0, 0.25, 0.5, 1.5, 3.3, 10.0, 1e6))), weights


@settings(max_examples=150, deadline=None)
@given(simplifications())
def test_the_compiled_ladder_is_the_one_in_numpy(case):
    expected = labelmap_simplify._simplify(*case)
    np.testing.assert_array_equal(labelmap_simplify_numba.simplify(*case), expected)


@pytest.mark.parametrize("scale", (1, 4))
def test_a_street_map_is_simplified_alike(scale):
    rng = np.random.default_rng(1)
    labels = np.stack([np.roll(row, rng.integers(-2, 3)) for row in maps.street(120, 200)])
    weights = np.linspace(0.5, 3, 12)
    expected = labelmap_simplify._simplify(labels, 12, scale, 0.75, weights)
    assert (expected != labelmap_simplify._simplify(labels, 12, scale, 0.0, weights)).any()
    np.testing.assert_array_equal(labelmap_simplify.simplify(labels, 12, scale, 0.75, weights), expected)


def test_code_is_kept_and_a_damaged_file_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    made = []

    def make():
        made.append(1)
        return _summing()

    values = np.arange(5)
    assert native.compiled("sum", (native,), make)((values,), 7) == 70
    (file,) = tmp_path.iterdir()
    assert native.compiled("sum", (native,), make)((values,), -1) == -10 and len(made) == 1
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert native.compiled("sum", (native,), make)((values,), 1) == 10 and len(made) == 2
    assert native.compiled("sum", (labelmap_simplify,), make)((values,), 1) == 10 and len(made) == 3  # another source


def test_code_that_can_fail_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))

    def make():
        def entry(p, n):
            if n[0] > 3:
                raise ValueError("too long")
            return n[0]

        return entry

    assert native.compiled("raising", (native,), make)((np.zeros(2),)) == 2
    assert not list(tmp_path.iterdir())


def test_kept_code_runs_without_numba():
    """The engines' code was kept by the tests before, or is now."""
    code = (
        "import sys, numpy as np\n"
        "from chappe.bitstream.labelmap_near import decode_near, encode_near\n"
        "data = encode_near(np.eye(16, dtype=np.uint8), 2, level=0)\n"
        "assert decode_near(data, (16, 16), 2).shape == (16, 16)\n"
        "sys.exit('numba' in sys.modules)\n"
    )
    labelmap_simplify.simplify(np.eye(9, dtype=np.uint8), 2, 2, 0.5, np.ones(2))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
