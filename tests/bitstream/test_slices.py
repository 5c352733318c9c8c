"""Slices: which cells and rows each holds, their payload, and what is put where a slice was."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chappe.bitstream import slices
from chappe.bitstream.slices import COUNTS, Slice, fill_rows, owners, pack_slice, parse_slice, strip
from chappe.errors import StreamError


def _nearest(count: int, step: int) -> int:
    """Least squared distance between two cells of one slice, by brute force."""
    reach = range(-count, count + 1)
    return min(x * x + y * y for x, y in product(reach, reach) if (x or y) and (x + step * y) % count == 0)


@pytest.mark.parametrize("count", COUNTS)
def test_no_other_step_keeps_cells_of_a_slice_farther_apart(count):
    pattern = owners(2 * count, 3 * count, count)
    step = int(pattern[1, 0])
    assert _nearest(count, step) == max(_nearest(count, other) for other in range(count))
    assert all(_nearest(count, other) < _nearest(count, step) for other in range(step))
    assert (np.bincount(pattern.ravel()) == 6 * count).all()
    assert np.array_equal(pattern, np.fromfunction(lambda y, x: (x + step * y) % count, pattern.shape))


@given(st.integers(2, 16), st.integers(1, 300))
def test_strips_share_every_row_once(count, rows):
    held = [row for k in range(count) for row in range(rows)[strip(k, count, rows)]]
    assert held == list(range(rows))


@given(st.integers(2, 16), st.data(), st.integers(1, 31), st.binary(max_size=300), st.binary(max_size=20))
def test_a_payload_comes_back(count, data, scale, strip_code, token_code):
    part = Slice(
        data.draw(st.integers(0, count - 1)), count, scale, strip_code, token_code, data.draw(st.integers(0, 7))
    )
    assert parse_slice(pack_slice(part)) == part


def test_the_example_of_the_format_page():
    assert pack_slice(Slice(2, 8, 3, b"\xab\xcd", b"\x01")).hex() == "720302abcd01"
    steps = [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 5, 4, 4, 4]
    assert [int(owners(2, 16, count)[1, 0]) for count in COUNTS] == steps


@given(st.binary(max_size=40))
def test_any_payload_is_a_slice_or_a_stream_error(payload):
    try:
        part = parse_slice(payload)
    except StreamError:
        return
    assert part.number < part.count and part.count in COUNTS and 1 <= part.scale <= 31
    assert pack_slice(part) == payload


def test_slices_of_two_pictures_do_not_mix():
    own = [Slice(k, 4, 3, b"", bytes([k])) for k in (2, 0, 2)]
    others = [Slice(1, 4, 5, b"", b"x"), Slice(1, 3, 3, b"", b"y")]
    chosen = slices.newest([others[0], own[0], others[1], own[1], Slice(2, 4, 3, b"", b"late")])
    assert {k: part.token_code for k, part in chosen.items()} == {2: b"\2", 0: b"\0"}
    assert slices.newest([]) == {}


# Filling rows in


def test_a_border_runs_straight_between_the_rows_around_a_gap():
    cells = np.full((6, 24), 9, np.uint8)
    cells[0], cells[5] = np.arange(24) >= 4, np.arange(24) >= 14
    filled = fill_rows(cells, np.array([1, 0, 0, 0, 0, 1], bool))
    assert [int((row == 0).sum()) for row in filled] == [4, 6, 8, 10, 12, 14]
    assert (np.diff(filled.astype(int), axis=1) >= 0).all()


def test_outer_rows_are_repeated_and_known_rows_kept():
    cells = np.arange(5, dtype=np.uint8)[:, None].repeat(7, 1)
    filled = fill_rows(cells, np.array([0, 1, 1, 0, 0], bool))
    assert filled[:, 0].tolist() == [1, 1, 2, 2, 2]
    assert (filled == filled[:, :1]).all()


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_filling_keeps_what_is_known_and_invents_no_class(height, width, seed):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 12, (height, width), dtype=np.uint8)
    have = rng.random(height) < 0.5
    have[rng.integers(height)] = True
    filled = fill_rows(cells, have)
    assert np.array_equal(filled[have], cells[have])
    assert set(np.unique(filled)) <= set(np.unique(cells[have]))


def test_what_is_missing_is_counted():
    parts = {k: Slice(k, 4, 8, b"", b"") for k in (0, 1, 3)}
    note = slices.missing_slices(parts, (256, 512))
    assert note == "1 of 4 slices missing: 25 % of the token cells and 64 of 256 rows of the map inferred"
    assert slices.missing_slices(parts | {2: Slice(2, 4, 8, b"", b"")}, (256, 512)) is None
