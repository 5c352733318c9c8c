"""The cyclic redundancy checks of 5G: CRC-24A and CRC-16 for a transport block, CRC-24B for a code block.

Source: 3GPP TS 38.212 section 5.1. Registers start at 0, bits go in most significant first, nothing is inverted.
"""

from __future__ import annotations

import numpy as np

from chappe.link._compiled import njit

__all__ = ["CRC16", "CRC24A", "CRC24B", "append_crc", "check_crc", "crc"]

# (polynomial without its leading term, length in bits)
CRC24A = (0x864CFB, 24)
CRC24B = (0x800063, 24)
CRC16 = (0x1021, 16)


@njit
def _registers(bits, poly, length, out):
    top = np.uint32(1) << np.uint32(length - 1)
    mask = (np.uint32(1) << np.uint32(length)) - np.uint32(1)
    for b in range(bits.shape[0]):
        register = np.uint32(0)
        for i in range(bits.shape[1]):
            feed = (register & top != 0) != (bits[b, i] != 0)
            register = (register << np.uint32(1)) & mask
            if feed:
                register ^= poly
        out[b] = register


def crc(bits: np.ndarray, kind: tuple[int, int]) -> np.ndarray:
    """Checks of rows of bits: (B, K) of 0 and 1 -> (B, length) uint8, most significant bit first."""
    poly, length = kind
    rows = np.ascontiguousarray(bits, np.uint8)
    out = np.empty(len(rows), np.uint32)
    _registers(rows, np.uint32(poly), length, out)
    return ((out[:, None] >> np.arange(length - 1, -1, -1, dtype=np.uint32)) & 1).astype(np.uint8)


def append_crc(bits: np.ndarray, kind: tuple[int, int]) -> np.ndarray:
    """(B, K) -> (B, K + length): the rows with their checks."""
    return np.concatenate([np.asarray(bits, np.uint8), crc(bits, kind)], axis=1)


def check_crc(bits: np.ndarray, kind: tuple[int, int]) -> np.ndarray:
    """(B, K + length) -> (B,) bool: whether each row's check holds. All zeros pass: a check of 0 bits is 0."""
    length = kind[1]
    return (crc(bits[:, :-length], kind) == bits[:, -length:]).all(axis=1)
