"""A stream of frames: chappe files one after another, each behind its length (docs/format.md, chapter 10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from chappe.bitstream.crc import crc8
from chappe.bitstream.varint import MAX_BYTES, read_varint, write_varint
from chappe.errors import StreamError, UsageError, VersionError

__all__ = ["END", "MAGIC", "MAX_FRAME", "frame_bytes", "header_bytes", "read_frames", "read_header"]

MAGIC = b"\xc3\x73"
VERSION = 1
MAX_FRAME = 1 << 26  # bytes of one file that are read
END = b"\0"


def header_bytes(rate: tuple[int, int] | None = None) -> bytes:
    """The beginning of a stream of `rate` = numerator / denominator frames a second, None where it has none."""
    data = MAGIC + bytes([VERSION << 5]) + b"".join(map(write_varint, rate or (0, 1)))
    return data + bytes([crc8(data)])


def frame_bytes(blob: bytes) -> bytes:
    """One chappe file as part of a stream. Raises UsageError above `MAX_FRAME` bytes or for an empty one."""
    if not 0 < len(blob) <= MAX_FRAME:
        raise UsageError(f"a frame of a stream has 1 to {MAX_FRAME} bytes, not {len(blob)}.")
    return write_varint(len(blob)) + blob


def read_header(file: BinaryIO) -> tuple[int, int] | None:
    """The frame rate at the beginning of a stream. Raises StreamError, VersionError for a later version."""
    data = file.read(3)
    if len(data) < 3 or data[:2] != MAGIC:
        raise StreamError("this is no stream of chappe frames: it does not begin with c3 73.")
    if data[2] >> 5 != VERSION:
        raise VersionError(f"the stream has version {data[2] >> 5}, this chappe reads {VERSION}: install a newer one.")
    values = []
    for _ in range(2):
        value, raw = _varint(file, "the header")
        values.append(value)
        data += raw
    if file.read(1) != bytes([crc8(data)]) or data[2] & 31 or not values[1]:
        raise StreamError("the header of the stream is damaged: get it again.")
    return (values[0], values[1]) if values[0] else None


def read_frames(file: BinaryIO) -> Iterator[bytes]:
    """The chappe files behind the header, one at a time. Raises StreamError where the stream is cut or damaged."""
    number = 0
    while True:
        number += 1
        size, _ = _varint(file, f"frame {number}")
        if size == 0:
            return
        if size > MAX_FRAME:
            raise StreamError(f"frame {number} says it has {size} bytes, more than {MAX_FRAME}: the stream is damaged.")
        blob = bytearray()
        while len(blob) < size:  # in parts, so that a false length costs no memory
            part = file.read(min(size - len(blob), 1 << 20))
            if not part:
                raise StreamError(f"the stream is cut inside frame {number}, after {len(blob)} of {size} bytes.")
            blob += part
        yield bytes(blob)


def _varint(file: BinaryIO, where: str) -> tuple[int, bytes]:
    raw = b""
    while len(raw) < MAX_BYTES and (byte := file.read(1)):
        raw += byte
        if byte[0] < 0x80:
            return read_varint(raw)[0], raw
    if len(raw) == MAX_BYTES:
        raise StreamError(f"the length of {where} is no number: the stream is damaged.")
    raise StreamError(f"the stream ends before {where} does: it is cut.")
