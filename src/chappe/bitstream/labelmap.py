"""Lossless coding of label maps: context mixing in integers, primed with learned tables or cold.

The payload is one byte, mode + 8 * prior, and what the mode asks for (docs/format.md, "Label maps"). A map that was
enlarged by nearest-neighbour sampling is recognised and coded at the size it came from.
"""

from __future__ import annotations

import numpy as np

from chappe.errors import InputError, StreamError

from .labelmap_engine import State, check_labels, check_shape, decode_mixed, encode_mixed
from .labelmap_prior import prior_by_id, prior_id
from .labelmap_sampling import find_source, source_index
from .varint import read_varint, write_varint

__all__ = ["SPARE", "decode_map", "encode_map", "start_state"]

MIXED, CENTRE, CORNER, RAW = range(4)  # modes: as it is, enlarged (sampled at pixel centres, at corners), packed bits

SPARE = 8  # bytes: a code may run over its limit and still keep to it, for zeros at its end are dropped


def encode_map(
    labels: np.ndarray, classes: int, *, prior: str | None = None, max_bytes: int | None = None
) -> bytes | None:
    """Lossless code of a label map; None if it takes more than `max_bytes`, which is cheaper to find out.

    labels: (H, W) integers in [0, classes), at most 2**24 pixels. classes: 2 to 256. prior: None, or the name of a
    shipped prior ("street11": the eleven street classes with or without void). Raises InputError for anything else.
    """
    labels = check_labels(labels, classes)
    number = prior_id(prior, classes)
    packed = (labels.size * _bits(classes) + 7) // 8
    most = 1 + packed if max_bytes is None else min(max_bytes, 1 + packed)
    cap = packed if max_bytes is None else min(packed, max(0, max_bytes) + SPARE)
    whole = labels
    kind, source = find_source(labels)
    head = bytes([(MIXED, CENTRE, CORNER)[kind] + 8 * number])
    if kind:
        labels = np.ascontiguousarray(labels[source[0]][:, source[1]])
        head += write_varint(labels.shape[0]) + write_varint(labels.shape[1])
    body = encode_mixed(labels, classes, start_state(number), cap)
    if body is not None and len(head) + len(body) <= most:
        return head + body
    return bytes([RAW]) + _pack(whole, classes) if most == 1 + packed else None


def decode_map(data: bytes, shape: tuple[int, int], classes: int, *, prior: str | None = None) -> np.ndarray:
    """The label map (H, W) uint8 in `data`. Time and memory are bounded by the shape, whatever the bytes.

    The payload names its prior; `prior`, if given, must agree with it. Raises StreamError for damaged data, ModelError
    for a prior that is not shipped, does not fit the classes, or is not the one asked for, InputError for a bad shape.
    """
    height, width = check_shape(shape, classes, InputError)
    if not data:
        raise StreamError("the label map is empty: the stream is cut")
    mode, number = data[0] & 7, data[0] >> 3
    if mode > RAW or (mode == RAW and number):
        raise StreamError(f"the label map begins with the unknown mode {data[0]}: the stream is damaged")
    if mode == RAW:
        return _unpack(data[1:], (height, width), classes)
    prior_by_id(number, classes, wanted=prior)
    offset, small = 1, (height, width)
    if mode != MIXED:
        rows, offset = read_varint(data, offset)
        columns, offset = read_varint(data, offset)
        if not (1 <= rows <= height and 1 <= columns <= width and (rows, columns) != (height, width)):
            raise StreamError(f"the label map claims a source of {rows} x {columns} pixels: the stream is damaged")
        small = rows, columns
    labels = decode_mixed(data[offset:], small, classes, start_state(number))
    if mode != MIXED:
        labels = labels[source_index(height, small[0], mode)][:, source_index(width, small[1], mode)]
    return np.ascontiguousarray(labels)


def start_state(number: int, scale: int = 1) -> State:
    """A fresh state: cold for prior 0, else a copy of that prior's tables for maps reduced `scale` times."""
    return prior_by_id(number).state(scale) if number else State.cold()


def _bits(classes: int) -> int:
    return (classes - 1).bit_length()


def _pack(labels: np.ndarray, classes: int) -> bytes:
    """Every class id in the fewest whole bits, high bit first, the last byte filled with zeros."""
    bits = np.unpackbits(labels.reshape(-1, 1), axis=1)[:, 8 - _bits(classes) :]
    return np.packbits(bits).tobytes()


def _unpack(data: bytes, shape: tuple[int, int], classes: int) -> np.ndarray:
    bits, count = _bits(classes), shape[0] * shape[1]
    if len(data) != (count * bits + 7) // 8:
        raise StreamError(f"the packed label map has {len(data)} bytes, not {(count * bits + 7) // 8}: it is damaged")
    flat = np.unpackbits(np.frombuffer(data, np.uint8))
    if flat[count * bits :].any():
        raise StreamError("the packed label map does not end in zero bits: the stream is damaged")
    wide = np.zeros((count, 8), np.uint8)
    wide[:, 8 - bits :] = flat[: count * bits].reshape(count, bits)
    labels = np.packbits(wide, axis=1).reshape(shape)
    if int(labels.max()) >= classes:
        raise StreamError(f"the packed label map holds class {int(labels.max())} of {classes}: the stream is damaged")
    return labels
