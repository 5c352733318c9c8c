"""The two cyclic redundancy checks of the file format, table driven, most significant bit first.

CRC-8: polynomial 0x2F (x^8+x^5+x^3+x^2+x+1), initial 0xFF, final XOR 0xFF; known as CRC-8/AUTOSAR. Any three wrong bits
are found in messages up to 119 bits, check included, which covers our 88-bit header.
CRC-16: polynomial 0x1021 (x^16+x^12+x^5+1), initial 0xFFFF, no final XOR; known as CRC-16/IBM-3740 (or CCITT-FALSE).
Any three wrong bits are found in messages up to 32,751 bits, and any burst of up to 16 bits in messages of any length.
"""

from __future__ import annotations

__all__ = ["crc8", "crc16"]


def _table(polynomial: int, width: int) -> tuple[int, ...]:
    top, mask = 1 << (width - 1), (1 << width) - 1
    rows = []
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
        rows.append(value)
    return tuple(rows)


_CRC8 = _table(0x2F, 8)
_CRC16 = _table(0x1021, 16)


def crc8(data: bytes) -> int:
    """CRC-8/AUTOSAR of `data`, 0 to 255."""
    value = 0xFF
    for byte in data:
        value = _CRC8[value ^ byte]
    return value ^ 0xFF


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740 of `data`, 0 to 65535."""
    value = 0xFFFF
    for byte in data:
        value = (value << 8 & 0xFF00) ^ _CRC16[value >> 8 ^ byte]
    return value
