"""The coarse picture of SPIC: a quarter of the sides, coded as one AV1 intra frame without its container.

An AVIF file of 128x64 pixels is 275 bytes of boxes around 200 to 600 bytes of picture. Only the frame travels: the
receiver rebuilds sequence header and boxes from the size it knows. The payload is one byte, then the frame OBU's
contents (AV1 specification 5.5, 5.9; AVIF 1.2). That byte is 0 or 1 for the sequence header that this module builds
itself, without or with loop restoration; any other value is the length of a sequence header that follows it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from chappe.errors import ModelError, StreamError

__all__ = ["FACTOR", "FASTEST", "decode_coarse", "encode_coarse", "imagine", "setting", "shrink", "smooth"]

FACTOR = 4
SPEED = 4  # 30 ms for 128x64; speed 0 takes seven times as long and saves 4 %
FASTEST = 10  # 1 ms
_OTHER = "install Pillow's wheel"
_BLUR = 2.5  # pixels of the coarse picture
_SEQUENCE, _FRAME = 1, 6  # OBU types


def shrink(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, sides multiples of 4 -> (H/4, W/4, 3) uint8, Lanczos."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((width // FACTOR, height // FACTOR), Image.Resampling.LANCZOS)
    return np.asarray(small)


def smooth(small: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """A coarse picture (h, w, 3) uint8, blurred where relevance (4h, 4w) in [0, 1] is low and costs fewer bytes so."""
    blurred = Image.fromarray(small).filter(ImageFilter.GaussianBlur(_BLUR))
    h, w = small.shape[:2]
    share = relevance.reshape(h, FACTOR, w, FACTOR).max((1, 3))[..., None]  # the most relevant pixel of a cell decides
    return np.rint(share * small + (1 - share) * np.asarray(blurred)).astype(np.uint8)


def imagine(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A coarse picture (h, w, 3) uint8 of labels (4h, 4w) alone, in its classes' `colours` (classes, 3)."""
    h, w = labels.shape[0] // FACTOR, labels.shape[1] // FACTOR
    painted = np.asarray(colours, np.float64)[labels].reshape(h, FACTOR, w, FACTOR, 3)
    return np.rint(painted.mean((1, 3))).astype(np.uint8)


@cache
def setting(quality: int) -> bytes:
    """What the encoder makes of `quality` 0 to 100: equal for qualities that give every picture the same bytes.

    AV1 has 64 quantisers, which the frame header names: a tiny picture shows which one it is (half a millisecond).
    """
    return encode_coarse(np.zeros((16, 16, 3), np.uint8), quality, FASTEST)


def encode_coarse(
    small: np.ndarray, quality: int, speed: int = SPEED, advanced: Mapping[str, str] | None = None
) -> bytes:
    """Payload of a coarse picture (h, w, 3) uint8 at `quality` 0 (smallest) to 100. `advanced`: options of libaom."""
    from PIL import features

    if not features.check("avif"):
        raise ModelError(f"this Pillow was built without AVIF, which carries the coarse picture: {_OTHER}")
    file = io.BytesIO()
    options = {"codec": "aom", "speed": speed, "max_threads": 1, "advanced": dict(advanced or {})}
    try:
        Image.fromarray(small).save(file, "AVIF", quality=quality, subsampling="4:2:0", **options)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"this Pillow's libavif cannot code the coarse picture with libaom ({error}): {_OTHER}"
        ) from error
    sequence, frame = None, None
    for kind, payload in _obus(_media(file.getvalue())):
        if kind == _SEQUENCE:
            sequence = payload
        elif kind == _FRAME:
            frame = payload
    if sequence is None or frame is None:
        raise ModelError("libavif wrote no single intra frame: install another Pillow")
    height, width = small.shape[:2]
    for restoration in (0, 1):
        if sequence == _sequence_header(width, height, restoration):
            return bytes([restoration]) + frame
    return bytes([len(sequence)]) + sequence + frame


def decode_coarse(payload: bytes, height: int, width: int) -> np.ndarray:
    """Picture (height, width, 3) uint8 of a payload. Raises StreamError for bytes that are no frame of that size."""
    if len(payload) < 2:
        raise StreamError("the coarse picture is empty: the stream is cut")
    length = payload[0] if payload[0] > 1 else 0
    sequence = payload[1 : 1 + length] if length else _sequence_header(width, height, payload[0])
    if _size(sequence) != (width, height):  # before anything is allocated for it
        raise StreamError(f"the coarse picture is not {width}x{height} pixels: the stream is damaged")
    file = _avif(width, height, sequence, payload[1 + length :])
    try:
        with Image.open(io.BytesIO(file), formats=["AVIF"]) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow and libavif raise several kinds, ValueError to OSError
        raise StreamError(f"the coarse picture cannot be decoded ({error}): the stream is damaged") from error


class _Bits:
    """Most significant bit first."""

    def __init__(self) -> None:
        self.value, self.count = 0, 0

    def put(self, value: int, bits: int) -> None:
        self.value, self.count = self.value << bits | value, self.count + bits

    def trailed(self) -> bytes:
        """With the one bit that ends an OBU, then zeros."""
        self.put(1, 1)
        pad = -self.count % 8
        return (self.value << pad).to_bytes((self.count + pad) // 8, "big")


def _sequence_header(width: int, height: int, restoration: int) -> bytes:
    """The sequence header OBU that libaom writes for a still 8-bit 4:2:0 sRGB picture (AV1 5.5.1, 5.5.2)."""
    bits = _Bits()
    bits.put(0, 3)  # main profile
    bits.put(3, 2)  # still_picture, reduced_still_picture_header
    bits.put(_level(width, height), 5)
    across, down = max(1, (width - 1).bit_length()), max(1, (height - 1).bit_length())
    bits.put(across - 1, 4)
    bits.put(down - 1, 4)
    bits.put(width - 1, across)
    bits.put(height - 1, down)
    bits.put(0b0_1_1, 3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    bits.put(0b0_1, 2)  # enable_superres, enable_cdef
    bits.put(restoration, 1)  # enable_restoration: slow speeds only
    bits.put(0b0_0_1, 3)  # high_bitdepth, mono_chrome, color_description_present
    for code in (1, 13, 6):  # BT.709 primaries, sRGB transfer, BT.601 matrix
        bits.put(code, 8)
    bits.put(1, 1)  # full range
    bits.put(0, 2)  # chroma_sample_position unknown
    bits.put(0, 1)  # separate_uv_delta_q
    bits.put(0, 1)  # film_grain_params_present
    return bits.trailed()


def _size(sequence: bytes) -> tuple[int, int] | None:
    """(width, height) in the sequence header of a single still picture; None for any other header."""
    bits, at = int.from_bytes(sequence, "big"), 8 * len(sequence)

    def take(count: int) -> int:
        nonlocal at
        at -= count
        return bits >> at & (1 << count) - 1 if at >= 0 else 0

    if take(3) != 0 or take(2) != 3:
        return None
    take(5)
    across, down = take(4) + 1, take(4) + 1
    size = take(across) + 1, take(down) + 1
    return size if at >= 0 else None


def _level(width: int, height: int) -> int:
    """seq_level_idx by picture size (AV1 A.3): 2.0, 2.1, 3.0, 3.1, 4.0, 5.0, 6.0."""
    limits = ((147456, 2048, 1152, 0), (278784, 2816, 1584, 1), (665856, 4352, 2448, 4), (1065024, 5504, 3096, 5),
              (2359296, 6144, 3456, 8), (8912896, 8192, 4352, 12))  # fmt: skip
    return next((i for area, w, h, i in limits if width * height <= area and width <= w and height <= h), 16)


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, contents) of each open bitstream unit; all carry their size here."""
    at = 0
    while at < len(data):
        kind, extended = data[at] >> 3 & 15, data[at] >> 2 & 1
        at += 1 + extended
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield kind, data[at : at + size]
        at += size


def _obu(kind: int, payload: bytes) -> bytes:
    size, out = len(payload), bytearray([kind << 3 | 2])
    while True:
        byte, size = size & 127, size >> 7
        out.append(byte | (128 if size else 0))
        if not size:
            return bytes(out) + payload


def _media(file: bytes) -> bytes:
    """Contents of the `mdat` box."""
    at = 0
    while at + 8 <= len(file):
        size, kind = struct.unpack_from(">I4s", file, at)
        if kind == b"mdat":
            return file[at + 8 : at + size]
        at += size
    raise ModelError("libavif wrote no mdat box: install another Pillow")


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _avif(width: int, height: int, sequence: bytes, frame: bytes) -> bytes:
    """The smallest AVIF file around one frame: one item with its size, pixel, codec and colour properties."""
    media = _obu(_SEQUENCE, sequence) + _obu(_FRAME, frame)
    level = (sequence[0] & 7) << 2 | sequence[1] >> 6 if len(sequence) > 1 else 0
    av1c = _box(b"av1C", bytes([0x81, level, 0b0000_1100, 0]))
    properties = _box(
        b"ipco", _full(b"ispe", 0, 0, struct.pack(">II", width, height)),
        _full(b"pixi", 0, 0, bytes([3, 8, 8, 8])), av1c,
        _box(b"colr", b"nclx", struct.pack(">HHHB", 1, 13, 6, 0x80)),
    )  # fmt: skip
    links = _full(b"ipma", 0, 0, struct.pack(">IHB", 1, 1, 4), bytes([1, 2, 0x83, 4]))
    head = _full(b"hdlr", 0, 0, bytes(4), b"pict", bytes(12), b"\0")
    primary = _full(b"pitm", 0, 0, struct.pack(">H", 1))
    items = _full(b"iinf", 0, 0, struct.pack(">H", 1),
                  _full(b"infe", 2, 0, struct.pack(">HH", 1, 0), b"av01", b"\0"))  # fmt: skip
    ftyp = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")

    def meta(offset: int) -> bytes:
        place = _full(b"iloc", 0, 0, bytes([0x44, 0]), struct.pack(">HHHHII", 1, 1, 0, 1, offset, len(media)))
        return _full(b"meta", 0, 0, head, primary, place, items, _box(b"iprp", properties, links))

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + _box(b"mdat", media)
