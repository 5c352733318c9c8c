"""The canonical Huffman code: optimal, self-delimiting, and closed under any bytes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import huffman
from chappe.errors import StreamError, UsageError

RUNS = st.integers(2, 16).flatmap(
    lambda kinds: st.tuples(st.just(kinds), st.lists(st.integers(0, kinds - 1), min_size=1, max_size=200))
)


@given(RUNS)
def test_runs_come_back_and_sizes_are_foretold(run):
    kinds, symbols = run[0], np.array(run[1])
    data = huffman.encode(symbols, kinds)
    assert len(data) == huffman.size(symbols, kinds)
    np.testing.assert_array_equal(huffman.decode(data, len(symbols), kinds), symbols)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(lambda c: sum(v > 0 for v in c) > 1))
def test_no_prefix_code_is_shorter(counts):
    lengths = huffman.code_lengths(np.array(counts))
    used = [c for c in counts if c]
    fitting = (
        sum(c * length for c, length in zip(used, tried, strict=True))
        for tried in product(range(1, 5), repeat=len(used))
        if sum(2.0**-length for length in tried) <= 1
    )
    assert sum(c * length for c, length in zip(counts, lengths, strict=True)) == min(fitting)


def test_codes_are_the_canonical_ones():
    # b occurs most, then a, then c and d: lengths 2, 1, 3, 3, and with them the codes 10, 0, 110, 111.
    symbols = np.array([1, 0, 1, 2, 1, 3, 0, 1])
    assert huffman.encode(symbols, 4).hex() == f"2133{0b01001100:02x}{0b11110000:02x}"


def test_a_longest_code_fits_its_four_bits():
    counts = np.array([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987])  # Fibonacci: the worst there is
    assert max(huffman.code_lengths(counts)) == 15


@settings(max_examples=200)
@given(st.binary(max_size=40), st.integers(1, 60), st.sampled_from([3, 5, 11]))
def test_any_bytes_are_one_run_or_refused(data, count, kinds):
    try:
        symbols = huffman.decode(data, count, kinds)
    except StreamError:
        return
    assert huffman.encode(symbols, kinds) == data


@pytest.mark.parametrize(("symbols", "kinds"), [([], 3), ([3], 3), ([-1], 3), ([0], 17), ([0.5], 3)])
def test_what_is_no_run_of_symbols_is_refused(symbols, kinds):
    with pytest.raises(UsageError):
        huffman.encode(np.array(symbols), kinds)
