"""Unsigned integers in 1 to 4 bytes: LEB128, groups of 7 bits from the lowest, high bit set on all but the last."""

from __future__ import annotations

from chappe.errors import StreamError, UsageError

__all__ = ["MAX_VALUE", "read_varint", "write_varint"]

MAX_BYTES = 4
MAX_VALUE = (1 << 7 * MAX_BYTES) - 1


def write_varint(value: int) -> bytes:
    """Shortest form of `value`, 0 to 2**28 - 1. Raises UsageError outside that range."""
    if not 0 <= value <= MAX_VALUE:
        raise UsageError(f"a varint holds 0 to {MAX_VALUE}, not {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, offset: int = 0) -> tuple[int, int]:
    """Value at `offset` and the offset behind it. Raises StreamError if it is cut or not the shortest form."""
    value = 0
    for count in range(MAX_BYTES):
        at = offset + count
        if at >= len(data):
            raise StreamError(f"the stream ends inside a varint at byte {at}: the file is cut")
        byte = data[at]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            if byte == 0 and count > 0:
                raise StreamError(f"the varint at byte {offset} is longer than its value needs: the file is damaged")
            return value, at + 1
    raise StreamError(f"the varint at byte {offset} is longer than {MAX_BYTES} bytes: the file is damaged")
