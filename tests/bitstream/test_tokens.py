from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream.grids import grids
from chappe.bitstream import tokens
from chappe.bitstream.rangecoder import Encoder
from chappe.bitstream.token_models import IndexModel, start_weights
from chappe.bitstream.tokens import bound_bits, decode_grid, encode_grid
from chappe.errors import ChappeError, StreamError, UsageError


def check(mask: np.ndarray, indices: np.ndarray, levels: int, prior: np.ndarray | None = None) -> bytes:
    data = encode_grid(mask, indices, levels, prior)
    found_mask, found = decode_grid(data, mask.shape, levels, prior)
    assert found_mask.dtype == np.bool_
    assert np.array_equal(found_mask, mask)
    assert np.array_equal(found, indices)
    # The bound in full, rather than by the function under test.
    cells, selected = mask.size, int(mask.sum())
    m = selected / cells
    h2 = 0.0 if m in (0, 1) else -m * math.log2(m) - (1 - m) * math.log2(1 - m)
    assert len(data) * 8 <= math.ceil(cells * (h2 + m * math.log2(levels))) + 16
    return data


@settings(max_examples=150, deadline=None)
@given(grids())
def test_round_trip_within_the_bound(grid) -> None:
    check(*grid)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (16, 32), (33, 31), (32, 33)])
@pytest.mark.parametrize("levels", [2, 3, 1000, 1024, 65535, 65536])
def test_bound_for_every_count(shape: tuple[int, int], levels: int) -> None:
    """Scattered cells and evenly spread indices leave nothing to gain: the plain code alone has to keep the bound."""
    rng = np.random.default_rng(1)
    cells = shape[0] * shape[1]
    order = rng.permutation(cells)
    for selected in sorted({0, 1, 2, 3, cells // 2, cells - 2, cells - 1, cells, *range(0, cells + 1, 111)}):
        if 0 <= selected <= cells:
            mask = np.zeros(cells, np.bool_)
            mask[order[:selected]] = True
            check(mask.reshape(shape), rng.permutation(np.arange(selected) * levels // max(selected, 1)), levels)


@pytest.mark.parametrize(
    ("selected", "levels"),
    [(0, 2), (1, 65536), (32768, 2), (43690, 2), (32768, 60_001), (65535, 3), (65536, 2), (65536, 60_001)],
)
def test_bound_on_the_largest_grid(selected: int, levels: int) -> None:
    rng = np.random.default_rng(2)
    mask = np.zeros(65536, np.bool_)
    mask[rng.permutation(65536)[:selected]] = True
    check(mask.reshape(256, 256), rng.integers(0, levels, selected), levels)


@pytest.mark.parametrize("cells", [1024, 1025, 65536])
def test_bound_has_room_for_every_count(cells: int) -> None:
    """The plain code's exact cost for each number of selected cells is less than 9 bits above K h2(m)."""
    half = np.concatenate([[0.0], np.cumsum(np.log2(2 * np.arange(cells) + 1))])
    total = float(np.log2(2 * np.arange(cells) + 2).sum())
    count = np.arange(1, cells)
    plain = total - half[count] - half[cells - count]
    entropy = -count * np.log2(count / cells) - (cells - count) * np.log2(1 - count / cells)
    choices = tokens._choices(cells)
    opening = sum(
        math.log2(sum(freqs) / freqs[at])
        for freqs, at in ((choices.positions, tokens._PLAIN), (choices.model, 0), (choices.copy, 0))
    )
    rounding = 1.5 * cells * (2**17 + 2**16) / 2**40
    assert float((plain - entropy).max()) + opening + rounding < 9
    # 9 bits are enough: whole bytes cost less than 8 more, and ceil(T) + 16 holds ceil(T) + 9 rounded up to bytes.
    for bits in range(64):
        assert 8 * math.ceil((bits + 9) / 8) <= bits + 16


def test_empty_and_full_grids_cost_no_positions() -> None:
    assert check(np.zeros((16, 32), np.bool_), np.zeros(0, np.int64), 1024) == b""
    full = check(np.ones((16, 32), np.bool_), np.random.default_rng(0).integers(0, 1024, 512), 1024)
    assert len(full) <= 641


def test_patches_cost_less_than_scattered_cells() -> None:
    patch = np.zeros((16, 32), np.bool_)
    patch[6:14, 4:22] = True
    indices = np.random.default_rng(0).integers(0, 1024, int(patch.sum()))
    assert 8 * len(check(patch, indices, 1024)) < bound_bits(512, len(indices), 1024) - 16 - 280


def test_repeats_and_skew_cost_less() -> None:
    rng = np.random.default_rng(0)
    full = np.ones((16, 32), np.bool_)
    areas = np.repeat(np.repeat(rng.integers(0, 1024, (4, 4)), 4, 0), 8, 1)
    assert len(check(full, areas.ravel(), 1024)) < 110
    skewed = np.minimum(rng.geometric(0.1, 512), 1024) - 1
    information = float(-np.log2(0.1 * 0.9**skewed).sum()) / 8
    assert len(check(full, skewed, 1024)) < information + 50  # some 30 indices in use, each to be learnt
    prior = np.maximum(1, (1e6 * 0.9 ** np.arange(1024)).astype(np.int64))
    assert len(check(full, skewed, 1024, prior)) <= information + 2


def test_a_prior_that_rules_out_an_index_still_codes_it() -> None:
    prior = np.zeros(1024, np.int64)
    prior[5] = 2**32 - 1
    check(np.ones((2, 2), np.bool_), np.array([5, 5, 6, 1023]), 1024, prior)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_estimated_cost_is_the_coded_length(number: int) -> None:
    rng = np.random.default_rng(number)
    symbols = np.minimum(rng.geometric(0.05, 3000), 300) - 1
    weights = start_weights(300, rng.integers(0, 1000, 300))
    increment = {1: 0, 2: 1 << 9, 5: 1 << 15}[number]  # 5 stops learning after some 2,000 symbols
    model, coder = IndexModel(weights, increment), Encoder()
    for symbol in symbols.tolist():
        model.encode(coder, symbol)
    cost = IndexModel.cost(weights, increment, symbols)
    assert cost - 16 < 8 * len(coder.finish()) < cost + 8


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 20), st.integers(1, 20), st.integers(2, 65536), st.booleans())
def test_any_bytes_give_a_grid_or_a_chappe_error(data: bytes, h: int, w: int, levels: int, primed: bool) -> None:
    prior = np.arange(levels) if primed else None
    try:
        mask, indices = decode_grid(data, (h, w), levels, prior)
    except StreamError:
        return
    assert mask.shape == (h, w)
    assert indices.shape == (mask.sum(),)
    assert ((indices >= 0) & (indices < levels)).all()


def test_trailing_bytes_are_found_and_cuts_never_pass_for_the_whole() -> None:
    rng = np.random.default_rng(4)
    mask = rng.random((16, 32)) < 0.3
    indices = rng.integers(0, 1024, int(mask.sum()))
    data = encode_grid(mask, indices, 1024)
    for extra in (b"\0", b"\1", b"\xff" * 7, bytes(9) + b"\1"):
        with pytest.raises(StreamError):
            decode_grid(data + extra, mask.shape, 1024)
    # A cut stream is mostly the exact code of another grid (the section's CRC is what finds cuts), never of this one.
    for size in range(len(data)):
        try:
            other, found = decode_grid(data[:size], mask.shape, 1024)
        except StreamError:
            continue
        assert found.shape == (other.sum(),)
        assert not (np.array_equal(other, mask) and np.array_equal(found, indices))


def test_a_table_the_model_lacks_is_a_stream_error() -> None:
    coder = Encoder()
    coder.encode(1, 1, 16)  # positions: full
    coder.encode(6, 4, 16)  # index model 1: the frequency table
    with pytest.raises(StreamError, match="table of index frequencies"):
        decode_grid(coder.finish(), (2, 2), 16)


def test_spelling_out_an_empty_mask_is_refused() -> None:
    coder = Encoder()
    coder.encode(2, 6, 16)  # positions: plain
    for seen in range(4):
        coder.encode(1, 2 * seen + 1, 2 * seen + 2)
    with pytest.raises(StreamError, match="all empty or all full"):
        decode_grid(coder.finish(), (2, 2), 16)


MASK = np.array([[True, False]])


@pytest.mark.parametrize(
    "arguments",
    [
        (MASK.astype(np.uint8), np.array([0]), 4),
        (MASK[0], np.array([0]), 4),
        (np.zeros((257, 256), np.bool_), np.zeros(0, int), 4),
        (np.zeros((0, 4), np.bool_), np.zeros(0, int), 4),
        (MASK, np.array([0, 1]), 4),
        (MASK, np.array([0.0]), 4),
        (MASK, np.array([4]), 4),
        (MASK, np.array([-1]), 4),
        (MASK, np.array([0]), 1),
        (MASK, np.array([0]), 65537),
        (MASK, np.array([0]), 4, np.array([1, 2, 3])),
        (MASK, np.array([0]), 4, np.array([1.0, 2, 3, 4])),
        (MASK, np.array([0]), 4, np.zeros(4, int)),
        (MASK, np.array([0]), 4, np.array([1, -1, 1, 1])),
        (MASK, np.array([0]), 4, np.array([1, 2**32, 1, 1])),
    ],
)
def test_encode_refuses(arguments: tuple) -> None:
    with pytest.raises(UsageError):
        encode_grid(*arguments)


def test_decode_refuses_a_grid_beyond_its_bounds() -> None:
    for shape in ((4096, 4096), (0, 1), (4,)):
        with pytest.raises(ChappeError):
            decode_grid(b"", shape, 1024)


def test_512_tokens_take_milliseconds() -> None:
    rng = np.random.default_rng(6)
    mask = np.ones((16, 32), np.bool_)
    indices = rng.integers(0, 1024, 512)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        decode_grid(encode_grid(mask, indices, 1024), mask.shape, 1024)
        best = min(best, time.process_time() - start)
    assert best < 0.05  # 3 ms on an idle 2020s core
