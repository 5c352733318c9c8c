"""Bytes of float16 arrays packed without loss: the low byte of each value as it is, the high bytes compressed.

The high bytes of trained float16 weights (sign, exponent, two bits of the fraction) have about 5.5 bits of entropy, the
low ones all 8: a sixth of a model is saved, and half of the file needs no work at all. Big-endian, 22 bytes first:

    4   magic "chpw"
    1   version, 1
    1   method: 1 zlib, 2 xz
    8   length of the packed bytes
    4   length of their head, which has no planes: of a safetensors file its length field and JSON
    4   CRC-32 of the packed bytes
    .   low plane: bytes 0, 2, 4, ... behind the head
    .   to the end, compressed: the head, then the high plane, bytes 1, 3, 5, ... behind it
"""

from __future__ import annotations

import lzma
import struct
import zlib

from chappe.errors import StreamError, UsageError

__all__ = ["METHODS", "pack", "unpack"]

METHODS = {"zlib": 1, "xz": 2}
"""zlib unpacks ten times as fast; xz finds arrays that repeat."""
_FIELDS = struct.Struct(">4sBBQII")
_MAGIC, _VERSION = b"chpw", 1
_MAX_BYTES = 1 << 32
_MAX_HEAD = 100_000_000  # the most that safetensors reads
_XZ_MEMORY = 1 << 27


def pack(data: bytes, method: str = "zlib") -> bytes:
    """Any bytes up to 4 GiB -> packed ones; what safetensors files of float16 arrays gain from. See the module."""
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r} to pack with; there are {', '.join(METHODS)}")
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{len(data)} bytes are more than the {_MAX_BYTES} that can be packed")
    head = _head(data)
    side = data[:head] + data[head + 1 :: 2]
    if method == "zlib":
        # Hardly anything repeats, so short matches cost more than they save: "filtered" leaves them out.
        deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_FILTERED)
        side = deflate.compress(side) + deflate.flush()
    else:
        side = lzma.compress(side, lzma.FORMAT_XZ, lzma.CHECK_NONE, preset=6)
    fields = _FIELDS.pack(_MAGIC, _VERSION, METHODS[method], len(data), head, zlib.crc32(data))
    return fields + data[head::2] + side


def unpack(data: bytes) -> bytes:
    """What `pack` was given. Raises StreamError for bytes that it did not write.

    Takes memory of at most twice the packed size, plus 100 MB for the head and 128 MiB for xz, whatever the bytes say.
    """
    if len(data) < _FIELDS.size or not data.startswith(_MAGIC):
        raise StreamError("these are no packed weights: they do not begin with their mark")
    _, version, method, length, head, check = _FIELDS.unpack_from(data)
    if version != _VERSION or method not in METHODS.values():
        raise StreamError(f"the weights are packed as version {version}, method {method}: install a newer chappe")
    low = (length - head + 1) // 2
    if not head <= min(length, _MAX_HEAD) or length > _MAX_BYTES or low > len(data) - _FIELDS.size:
        raise StreamError(f"the packed weights state a length of {length} bytes, which they do not hold: they are cut")
    split = _FIELDS.size + low
    side = _inflate(data[split:], method, length - low)
    out = bytearray(length)
    out[:head] = side[:head]
    out[head::2] = data[_FIELDS.size : split]
    out[head + 1 :: 2] = side[head:]
    if zlib.crc32(out) != check:
        raise StreamError("the packed weights do not match their CRC-32: they are damaged")
    return bytes(out)


def _inflate(data: bytes, method: int, size: int) -> bytes:
    """Exactly `size` bytes, or StreamError; no more than one above them is ever made."""
    try:
        if method == METHODS["zlib"]:
            stream = zlib.decompressobj()
        else:
            stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        out = stream.decompress(data, size + 1)
    except (zlib.error, lzma.LZMAError) as error:
        raise StreamError(f"the packed weights cannot be read ({error}): they are damaged") from error
    if len(out) != size or not stream.eof or stream.unused_data:
        raise StreamError(f"the packed weights do not hold the {size} bytes they should: they are cut or damaged")
    return out


def _head(data: bytes) -> int:
    """Length of the part before the arrays of a safetensors file; 0 for bytes that cannot be one."""
    head = 8 + int.from_bytes(data[:8], "little")
    return head if head <= min(len(data), _MAX_HEAD) else 0
