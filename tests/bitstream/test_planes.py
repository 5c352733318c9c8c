"""Weights packed without loss: the same bytes back for any input, and a sentence for bytes that no packer wrote."""

from __future__ import annotations

import lzma
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from chappe.bitstream.planes import METHODS, pack, unpack
from chappe.errors import ChappeError, StreamError, UsageError

WEIGHTS = save({"a.weight": np.random.default_rng(0).normal(0, 0.05, (64, 500)).astype(np.float16),
                "table": np.arange(3, dtype=np.int32)})  # fmt: skip
HEADS = st.integers(0, 40).map(lambda n: n.to_bytes(8, "little"))  # what a safetensors file begins with


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(head=st.one_of(st.just(b""), HEADS), rest=st.binary(max_size=80))
def test_any_bytes_come_back(method, head, rest):
    assert unpack(pack(head + rest, method)) == head + rest


@pytest.mark.parametrize("method", METHODS)
def test_weights_lose_a_seventh_at_least(method):
    packed = pack(WEIGHTS, method)
    assert unpack(packed) == WEIGHTS and len(packed) < 6 / 7 * len(WEIGHTS)


def test_the_form_as_documented():
    data = (3).to_bytes(8, "little") + b"{} " + bytes(range(101))
    fields = struct.pack(">4sBBQII", b"chpw", 1, 1, len(data), 11, zlib.crc32(data))
    side = zlib.compress(data[:11] + bytes(range(1, 101, 2)))
    assert unpack(fields + bytes(range(0, 101, 2)) + side) == data
    assert pack(data)[: len(fields)] == fields


@settings(max_examples=150, deadline=None)
@given(data=st.data(), method=st.sampled_from(sorted(METHODS)))
def test_damage_is_refused(data, method):
    packed = bytearray(pack(WEIGHTS[:2000], method))
    at = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        del packed[at:]
    else:
        packed[at] ^= data.draw(st.integers(1, 255))
    try:
        assert unpack(bytes(packed)) == WEIGHTS[:2000]  # bits that a decompressor does not look at
    except StreamError:
        pass


@settings(max_examples=150, deadline=None)
@given(
    rest=st.binary(max_size=40), version=st.integers(0, 2), method=st.integers(0, 3),
    length=st.one_of(st.integers(0, 60), st.integers(0, 2**64 - 1)),
    head=st.one_of(st.integers(0, 60), st.integers(0, 2**32 - 1)), marked=st.booleans(),
)  # fmt: skip
def test_bytes_that_nobody_packed(rest, version, method, length, head, marked):
    made = struct.pack(">4sBBQII", b"chpw" if marked else b"chpx", version, method, length, head, zlib.crc32(rest))
    with pytest.raises(ChappeError):
        unpack(made + rest)


@pytest.mark.parametrize("bomb", [zlib.compress(bytes(30_000_000)), lzma.compress(bytes(30_000_000))])
def test_a_bomb_is_stopped_early(bomb):
    made = struct.pack(">4sBBQII", b"chpw", 1, 1 if bomb[0] == 0x78 else 2, 2000, 0, 0) + bytes(1000) + bomb
    tracemalloc.start()
    with pytest.raises(StreamError, match="do not hold the 1000 bytes"):
        unpack(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12_000_000  # xz has a window of 8 MiB


def test_what_follows_the_end_is_refused():
    with pytest.raises(StreamError, match="cut or damaged"):
        unpack(pack(WEIGHTS) + b"x")


def test_other_methods_are_refused():
    with pytest.raises(UsageError, match="zlib, xz"):
        pack(b"", "zip")
