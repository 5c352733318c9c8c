"""Streams of frames: there and back, the example of docs/format.md, and hostile bytes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.errors import StreamError, UsageError, VersionError
from chappe.video.frames import END, MAX_FRAME, frame_bytes, header_bytes, read_frames, read_header


def stream(*blobs: bytes, rate=None) -> bytes:
    return header_bytes(rate) + b"".join(map(frame_bytes, blobs)) + END


def read(data: bytes):
    file = io.BytesIO(data)
    return read_header(file), list(read_frames(file))


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.none() | st.tuples(*[st.integers(1, 1 << 27)] * 2))
@settings(deadline=None)
def test_there_and_back(blobs, rate):
    assert read(stream(*blobs, rate=rate)) == (rate, blobs)


def test_the_example_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    assert stream(b"ab", b"c", rate=(25, 1)).hex() in text


def test_every_cut_is_found():
    data = stream(b"abc", b"d" * 200, rate=(30000, 1001))
    for length in range(len(data)):
        with pytest.raises(StreamError):
            read(data[:length])


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: header_bytes((25, 1)) + tail))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_frames_or_an_error(data):
    try:
        assert sum(map(len, read(data)[1])) < len(data)
    except StreamError as error:
        assert len(str(error)) < 200


def test_what_is_refused():
    with pytest.raises(StreamError, match="does not begin with c3 73"):
        read(b"\xc3\x68\x20")
    with pytest.raises(VersionError, match="version 2"):
        read(b"\xc3\x73\x40")
    with pytest.raises(StreamError, match="damaged"):
        read(header_bytes((25, 1))[:-1] + b"\0")
    with pytest.raises(StreamError, match="more than"):
        read(header_bytes() + b"\xff\xff\xff\x7f")
    for size in (0, MAX_FRAME + 1):
        with pytest.raises(UsageError, match="1 to"):
            frame_bytes(bytes(size))
