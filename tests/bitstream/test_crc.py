from __future__ import annotations

import binascii
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from chappe.bitstream.crc import crc8, crc16

CHECK = b"123456789"


def division(data: bytes, polynomial: int, width: int, start: int) -> int:
    """Bit by bit, straight from the definition of a CRC register."""
    register = start
    for byte in data:
        for at in range(7, -1, -1):
            out = register >> (width - 1) ^ byte >> at & 1
            register = (register << 1 & (1 << width) - 1) ^ (polynomial if out else 0)
    return register


def test_catalogue_check_values() -> None:
    assert crc8(CHECK) == 0xDF  # CRC-8/AUTOSAR
    assert crc16(CHECK) == 0x29B1  # CRC-16/IBM-3740
    assert crc8(b"") == 0x00
    assert crc16(b"") == 0xFFFF


@given(st.binary(max_size=200))
def test_crc16_is_the_standard_library_s(data: bytes) -> None:
    assert crc16(data) == binascii.crc_hqx(data, 0xFFFF)


@given(st.binary(max_size=40))
def test_tables_match_the_bitwise_definition(data: bytes) -> None:
    assert crc8(data) == division(data, 0x2F, 8, 0xFF) ^ 0xFF
    assert crc16(data) == division(data, 0x1021, 16, 0xFFFF)


def test_crc8_finds_any_three_wrong_bits_of_a_header() -> None:
    # A CRC is affine: whether an error pattern is found does not depend on the message. 80 data bits, 8 check bits.
    clean = crc8(bytes(10))
    syndromes = [crc8((1 << bit).to_bytes(10, "big")) ^ clean for bit in range(80)] + [1 << bit for bit in range(8)]
    assert 0 not in syndromes
    assert len(set(syndromes)) == len(syndromes)
    pairs = {a ^ b for a, b in combinations(syndromes, 2)}
    assert not pairs & set(syndromes)
