from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chappe.bitstream.rangecoder import MAX_TOTAL, Decoder, Encoder
from chappe.errors import StreamError, UsageError


@st.composite
def symbols(draw) -> list[tuple]:
    """Frequency-coded symbols (cum, freq, total) and binary decisions (bit, p1), the extreme ones often."""
    out: list[tuple] = []
    for _ in range(draw(st.integers(0, 60))):
        if draw(st.booleans()):
            p1 = draw(st.sampled_from([1, 2, 32768, 65534, 65535]) | st.integers(1, 65535))
            out.append((draw(st.integers(0, 1)), p1))
        else:
            total = draw(st.sampled_from([1, 2, 3, 65536, MAX_TOTAL]) | st.integers(1, MAX_TOTAL))
            cum = draw(st.sampled_from([0, total - 1]) | st.integers(0, total - 1))
            out.append((cum, draw(st.sampled_from([1, total - cum]) | st.integers(1, total - cum)), total))
    return out


def encode(stream: list[tuple]) -> bytes:
    coder = Encoder()
    for symbol in stream:
        coder.encode(*symbol) if len(symbol) == 3 else coder.encode_bit(*symbol)
    return coder.finish()


def decode(data: bytes, stream: list[tuple]) -> Decoder:
    """Decode, checking every symbol against `stream`."""
    coder = Decoder(data)
    for symbol in stream:
        if len(symbol) == 3:
            cum, freq, total = symbol
            assert cum <= coder.decode_target(total) < cum + freq
            coder.advance(cum, freq, total)
        else:
            assert coder.decode_bit(symbol[1]) == symbol[0]
    return coder


def exact_interval(stream: list[tuple]) -> tuple[Fraction, Fraction]:
    """[low, low + width) in exact fractions, from the rules in docs/format.md, without bytes, windows or carries."""
    low, width, scale = Fraction(0), 1 << 48, Fraction(1, 1 << 48)
    for symbol in stream:
        if len(symbol) == 3:
            cum, freq, total = symbol
            step = width // total
            low += step * cum * scale
            width = step * freq if cum + freq < total else width - step * cum
        else:
            bit, p1 = symbol
            split = (width >> 16) * p1
            low += 0 if bit else split * scale
            width = split if bit else width - split
        while width < 1 << 40:
            width <<= 8
            scale /= 256
    return low, width * scale


@given(symbols())
def test_round_trip_and_canonical_end(stream: list[tuple]) -> None:
    decode(encode(stream), stream).finish()


@given(symbols())
def test_bytes_are_the_shortest_in_the_exact_interval(stream: list[tuple]) -> None:
    data = encode(stream)
    low, width = exact_interval(stream)
    value = Fraction(int.from_bytes(data, "big"), 256 ** len(data))
    assert low <= value < low + width
    if data:
        unit = 256 ** (len(data) - 1)
        assert Fraction(math.ceil(low * unit), unit) >= low + width  # nothing shorter lies inside
        assert data[-1] != 0


@given(symbols(), st.binary(min_size=1, max_size=8))
def test_trailing_bytes_are_refused_or_change_a_symbol(stream: list[tuple], extra: bytes) -> None:
    data = encode(stream) + extra
    with pytest.raises((StreamError, AssertionError)):
        decode(data, stream).finish()


@given(symbols(), st.integers(0, 10_000))
def test_every_other_string_is_refused_or_changes_a_symbol(stream: list[tuple], seed: int) -> None:
    data = bytearray(encode(stream))
    if not data:
        return
    bit = seed % (8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((StreamError, AssertionError)):
        decode(bytes(data), stream).finish()


@given(st.binary(max_size=40), st.lists(st.integers(1, MAX_TOTAL), max_size=40))
def test_any_bytes_decode_and_encode_back_if_canonical(data: bytes, totals: list[int]) -> None:
    coder, twin = Decoder(data), Encoder()
    for total in totals:
        value = coder.decode_uniform(total)
        assert 0 <= value < total
        twin.encode_uniform(value, total)
    canonical = twin.finish()
    if canonical == data:
        coder.finish()
    else:
        with pytest.raises(StreamError):
            coder.finish()


def test_carry_runs_through_many_bytes() -> None:
    # Keep the interval astride one half, where low is 0.7fffff..., then step above it: every byte out has to change.
    stream: list[tuple] = []
    for _ in range(40):
        low, width = exact_interval(stream)
        position = (Fraction(1, 2) - low) / width
        stream.append((min(int(position * 251), 250), 1, 251))
    low, width = exact_interval(stream)
    assert low < Fraction(1, 2) < low + width
    coder = Encoder()
    for symbol in stream:
        coder.encode(*symbol)
    assert coder._out[:30] == b"\x7f" + b"\xff" * 29
    above = (250, 1, 251)
    coder.encode(*above)
    data = coder.finish()
    assert data[:30] == b"\x80" + bytes(29)
    assert len(data) > 38
    decode(data, [*stream, above]).finish()


def test_cost_is_the_information_content() -> None:
    rng = np.random.default_rng(5)
    coder, bits = Encoder(), 0.0
    for p1 in rng.integers(1, 65536, 20_000).tolist():
        bit = int(rng.integers(0, 65536) < p1)
        coder.encode_bit(bit, p1)
        bits -= math.log2((p1 if bit else 65536 - p1) / 65536)
    for value in rng.integers(0, 60_001, 5_000).tolist():
        coder.encode_uniform(value, 60_001)
        bits += math.log2(60_001)
    # The ending may by luck find a string shorter than the interval is wide; it never needs a whole byte more.
    assert bits - 16 < 8 * len(coder.finish()) < bits + 8.1


def test_nothing_costs_nothing() -> None:
    assert Encoder().finish() == b""
    Decoder(b"").finish()
    coder = Encoder()
    for _ in range(1000):
        coder.encode(0, 1, 2)
    assert coder.finish() == b""


def test_the_arithmetic_fits_int64() -> None:
    # The greatest products of the specification stay below 2**49: low + range, and (range >> 16) * p1.
    assert (1 << 48) + (1 << 48) < 1 << 63
    coder = Encoder()
    for symbol in [(MAX_TOTAL - 1, 1, MAX_TOTAL), (0, 65535), (1, 65535), (0, 1)] * 50:
        coder.encode(*symbol) if len(symbol) == 3 else coder.encode_bit(*symbol)
        assert 0 <= coder._low < 1 << 48
        assert 1 << 40 <= coder._range <= 1 << 48


@pytest.mark.parametrize(
    "symbol", [(0, 0, 4), (-1, 1, 4), (4, 1, 4), (3, 2, 4), (0, 1, MAX_TOTAL + 1), (0, 0), (1, 65536), (1, -1)]
)
def test_impossible_symbols_are_refused(symbol: tuple) -> None:
    coder = Encoder()
    with pytest.raises(UsageError):
        coder.encode(*symbol) if len(symbol) == 3 else coder.encode_bit(*symbol)


@pytest.mark.parametrize("total", [0, -3, MAX_TOTAL + 1])
def test_decoder_refuses_impossible_totals(total: int) -> None:
    with pytest.raises(UsageError):
        Decoder(b"abc").decode_target(total)
    with pytest.raises(UsageError):
        Decoder(b"abc").decode_bit(0)
