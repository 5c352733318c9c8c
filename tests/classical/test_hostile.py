"""Whatever the bytes, a decoder gives a picture or one sentence."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chappe.classical import NAMES, load
from chappe.classical.still import Jxl
from chappe.data.scenes import render_scene
from chappe.errors import ChappeError, StreamError

SCENE = render_scene(8, size=(64, 64)).image
BOUNDED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def _codec(name):
    return load(name)


@cache
def _blob(name):
    return _codec(name).encode(SCENE)


def _survives(name: str, data: bytes) -> None:
    try:
        decoded = _codec(name).decode(data)
    except ChappeError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert decoded.image.ndim == 3 and decoded.image.dtype == np.uint8
        assert decoded.report.total == len(data)


@pytest.mark.parametrize("name", NAMES)
@BOUNDED
@given(data=st.data())
def test_changed_and_cut_files(name, data):
    blob = bytearray(_blob(name))
    for _ in range(data.draw(st.integers(0, 4))):
        # The first bytes decide most; a size of its own costs an encoder run, so AV1's and HEVC's are left to the next.
        least = 5 if name.startswith(("hevc", "av1")) else 0
        blob[data.draw(st.integers(least, len(blob) - 1))] = data.draw(st.integers(0, 255))
    _survives(name, bytes(blob[: data.draw(st.integers(0, len(blob)))]))


@pytest.mark.parametrize("name", NAMES)
@BOUNDED
@given(junk=st.binary(max_size=60), keep=st.integers(0, 20))
def test_junk_behind_a_true_start(name, junk, keep):
    _survives(name, _blob(name)[:keep] + junk)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_file_is_no_other_exception(name):
    blob = _blob(name)
    for length in range(1, 12):
        _survives(name, blob[:length])


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (300, 200), (256, 512), (24, 32), (90, 160), (720, 1280)])
def test_jxl_header_is_read_as_written(size):
    image = np.full((*size, 3), 90, np.uint8)
    assert Jxl().check_header(_codec("jxl").encode(image)) == size[::-1]


def test_claims_of_endless_pictures_are_refused_at_once():
    start = time.perf_counter()
    bits = 3 << 1 | ((1 << 30) - 1) << 3 | 1 << 33 | 1 << 36  # not small, 30-bit height, ratio 1:1, default metadata
    with pytest.raises(StreamError, match="1073741824x1073741824"):
        _codec("jxl").decode(b"\xff\x0a" + bits.to_bytes(8, "little"))
    with pytest.raises(StreamError, match="4097"):
        _codec("hevc").decode(bytes([0, 0x81, 0x20, 0x81, 0x20]) + b"\x26\x01" * 9)
    with pytest.raises(StreamError, match="4097"):
        _codec("av1").decode(bytes([0, 0x81, 0x20, 0x81, 0x20]) + b"\x26\x01" * 9)
    jpeg = bytearray(_blob("jpeg"))
    at = jpeg.index(b"\xff\xc0") if b"\xff\xc0" in jpeg else jpeg.index(b"\xff\xc2")
    jpeg[at + 5 : at + 9] = b"\x20\x00\x13\x88"
    with pytest.raises(StreamError, match="5000x8192"):
        _codec("jpeg").decode(bytes(jpeg))
    assert time.perf_counter() - start < 5
