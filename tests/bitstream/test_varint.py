from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chappe.bitstream.varint import MAX_VALUE, read_varint, write_varint
from chappe.errors import StreamError, UsageError


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16383, "ff7f"), (16384, "808001"),
     (MAX_VALUE, "ffffff7f")],
)  # fmt: skip
def test_known_values(value: int, encoded: str) -> None:
    assert write_varint(value).hex() == encoded
    assert read_varint(bytes.fromhex(encoded)) == (value, len(encoded) // 2)


@given(st.integers(0, MAX_VALUE), st.binary(max_size=5), st.binary(max_size=5))
def test_round_trip_at_any_offset(value: int, before: bytes, after: bytes) -> None:
    encoded = write_varint(value)
    assert len(encoded) == max(1, -(-value.bit_length() // 7))
    assert read_varint(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@pytest.mark.parametrize("value", [-1, MAX_VALUE + 1])
def test_write_refuses_what_does_not_fit(value: int) -> None:
    with pytest.raises(UsageError, match=str(value)):
        write_varint(value)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [("", "cut"), ("80", "cut"), ("ffffff", "cut"), ("8000", "longer than its value"), ("80808000", "longer than its"),
     ("8080808001", "longer than 4 bytes"), ("ffffffff7f", "longer than 4 bytes")],
)  # fmt: skip
def test_read_refuses(encoded: str, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        read_varint(bytes.fromhex(encoded))


@given(st.binary(max_size=6))
def test_only_one_form_of_every_value(data: bytes) -> None:
    try:
        value, end = read_varint(data)
    except StreamError:
        return
    assert write_varint(value) == data[:end]
