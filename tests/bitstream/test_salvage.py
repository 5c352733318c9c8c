"""Finding the sound sections of a damaged file again, also behind a damaged length."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chappe.bitstream import container
from chappe.bitstream.container import Header, Section, SectionType
from chappe.bitstream.salvage import salvage
from chappe.errors import ChappeError

PARTS = [Section(SectionType.MAP_NEAR, b"map" * 9)] + [Section(SectionType.LAYER, bytes([k]) * 20) for k in range(6)]
BLOB = container.write(Header(8, 7, 100, 80), PARTS)


def test_a_whole_file_is_whole():
    header, sections, complete = salvage(BLOB, SectionType.LAYER)
    assert complete and header.codec_id == 8
    assert [(s.type, s.payload) for s in sections] == [(p.type, p.payload) for p in PARTS]
    assert container.header_size(100, 80) + sum(s.size for s in sections) == len(BLOB)


@settings(max_examples=150)
@given(st.integers(8 * 11, 8 * len(BLOB) - 1))
def test_one_wrong_bit_costs_one_section(bit):
    damaged = bytearray(BLOB)
    damaged[bit // 8] ^= 1 << bit % 8
    _, sections, complete = salvage(bytes(damaged), SectionType.LAYER)
    intact = [p.payload for p in PARTS]
    kept = [s.payload for s in sections]
    assert not complete and len(kept) >= len(PARTS) - 1
    assert all(payload in intact for payload in kept)


@settings(max_examples=100)
@given(st.binary(max_size=60), st.integers(0, len(BLOB)))
def test_any_bytes_end_in_sections_or_an_error(tail, cut):
    try:
        _, sections, complete = salvage(BLOB[:cut] + tail, SectionType.LAYER)
    except ChappeError:
        return
    assert complete == (cut == len(BLOB) and not tail) or tail
    assert all(len(s.payload) < s.size for s in sections)
