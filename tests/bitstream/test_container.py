from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chappe.bitstream import container
from chappe.bitstream.container import Header, Section, SectionType
from chappe.bitstream.crc import crc8, crc16
from chappe.errors import ChappeError, StreamError, UsageError, VersionError

HEADER = Header(codec_id=1, fingerprint=0xBEEF, width=512, height=256)
SECTIONS = [
    Section(SectionType.MAP_TOKENS, bytes(range(40, 91))),
    Section(SectionType.IMAGE_TOKENS, bytes(200 - i for i in range(140))),
    Section(SectionType.PARAMETERS, b""),
    Section(SectionType.COMMENT, b"rue du Telegraphe"),
]
SAMPLE = container.write(HEADER, SECTIONS)
STARTS = [10, 10 + 55, 10 + 55 + 145, 10 + 55 + 145 + 4, len(SAMPLE)]


def raw_section(kind: int, payload: bytes) -> bytes:
    frame = bytes([kind, len(payload)])
    return frame + crc16(frame + payload).to_bytes(2, "big") + payload


def raw_file(*sections: bytes) -> bytes:
    return SAMPLE[:10] + b"".join(sections)


def checked_header(body: bytes) -> bytes:
    return body + bytes([crc8(body)])


def test_bytes_are_the_specified_ones() -> None:
    blob = container.write(HEADER, [Section(SectionType.NOISE_SEED, b"\x01\x02")])
    assert blob[:9].hex() == "c368" + "20" + "01" + "beef" + "1ff0ff"
    assert blob[9] == crc8(blob[:9])
    assert blob[10:].hex() == "4902" + f"{crc16(bytes.fromhex('49020102')):04x}" + "0102"


def test_round_trip() -> None:
    header, sections = container.read(SAMPLE)
    assert header == HEADER
    assert sections == SECTIONS
    framed = sum(container.section_size(len(section.payload)) for section in SECTIONS)
    assert len(SAMPLE) == container.header_size(512, 256) + framed


sides = st.integers(1, 4096) | st.integers(1, 65536)
kinds = st.lists(st.sampled_from(sorted(SectionType)), min_size=1, max_size=6, unique=True)


@given(st.integers(0, 255), st.integers(0, 65535), sides, sides, kinds, st.data())
def test_round_trip_of_anything(codec: int, fingerprint: int, width: int, height: int, kinds: list, data) -> None:
    header = Header(codec, fingerprint, width, height)
    sections = [Section(kind, data.draw(st.binary(max_size=300))) for kind in kinds]
    blob = container.write(header, sections)
    assert container.read(blob) == (header, sections)
    again, found, complete = container.scan(blob)
    assert (again, complete) == (header, True)
    assert [Section(s.type, s.payload) for s in found] == sections
    assert sum(s.size for s in found) + container.header_size(width, height) == len(blob)


@pytest.mark.parametrize(
    ("width", "height", "size"), [(1, 1, 10), (4096, 4096, 10), (4097, 1, 11), (1, 65536, 11), (65536, 65536, 11)]
)
def test_header_sizes(width: int, height: int, size: int) -> None:
    blob = container.write(Header(7, 0, width, height), SECTIONS[:1])
    assert len(blob) == size + container.section_size(51)
    assert container.read_header(blob) == (Header(7, 0, width, height), size)


@pytest.mark.parametrize("wide", [False, True])
def test_every_single_bit_flip_is_found(wide: bool) -> None:
    sample = container.write(Header(1, 0xBEEF, 5000, 256), SECTIONS) if wide else SAMPLE
    for bit in range(8 * len(sample)):
        damaged = bytearray(sample)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        with pytest.raises(StreamError):
            container.read(bytes(damaged))


def test_flipping_the_size_flag_is_found_whatever_the_header() -> None:
    # The 11-byte reading compares a constant (a CRC over its own CRC, one bit off) with the first section's type byte.
    for fingerprint in range(0, 65536, 97):
        blob = bytearray(container.write(Header(3, fingerprint, 512, 256), SECTIONS[:1]))
        blob[2] ^= 1
        kind = crc8(blob[:10])
        assert kind & ~0x40 not in set(SectionType)


def test_every_truncation_is_found_and_scanned() -> None:
    for size in range(len(SAMPLE)):
        with pytest.raises(StreamError):
            container.read(SAMPLE[:size])
        if size < 10:
            with pytest.raises(StreamError):
                container.scan(SAMPLE[:size])
            continue
        header, found, complete = container.scan(SAMPLE[:size])
        assert header == HEADER
        assert not complete
        whole = sum(end <= size for end in STARTS[1:])
        assert [Section(s.type, s.payload) for s in found[:whole]] == SECTIONS[:whole]
        assert all(s.ok for s in found[:whole])
        if size in STARTS:
            assert len(found) == whole
        else:
            assert len(found) == whole + 1
            assert not found[-1].ok
            assert found[-1].type == SECTIONS[whole].type
            assert SECTIONS[whole].payload.startswith(found[-1].payload)
        assert sum(s.size for s in found) == size - 10


def test_scan_reports_each_damaged_section() -> None:
    damaged = bytearray(SAMPLE)
    damaged[STARTS[1] + 20] ^= 4
    _, found, complete = container.scan(bytes(damaged))
    assert [s.ok for s in found] == [True, False, True, True]
    assert [s.offset for s in found] == STARTS[:-1]
    assert not complete


@given(st.binary(max_size=80))
def test_scan_never_raises_behind_a_sound_header(tail: bytes) -> None:
    header, found, _ = container.scan(SAMPLE[:10] + tail)
    assert header == HEADER
    assert sum(s.size for s in found) <= len(tail)


@given(st.binary(max_size=200))
def test_random_bytes_never_read(blob: bytes) -> None:
    with pytest.raises(StreamError):
        container.read(blob)


def test_trailing_bytes_are_an_error_and_reported() -> None:
    with pytest.raises(StreamError, match=f"end at byte {len(SAMPLE)} and goes on to byte {len(SAMPLE) + 1}"):
        container.read(SAMPLE + b"\0")
    _, found, complete = container.scan(SAMPLE + b"\0")
    assert not complete
    assert all(s.ok for s in found)


def test_unknown_sections() -> None:
    known, last = raw_section(1, b"map"), raw_section(4 | 0x40, b"image")
    read = container.read(raw_file(known, raw_section(0x80 | 0x30, b"from the future"), last))[1]
    assert read == [Section(1, b"map"), Section(4, b"image")]
    with pytest.raises(StreamError, match="section type 48, which this chappe does not know"):
        container.read(raw_file(known, raw_section(0x30, b"from the future"), last))
    _, found, complete = container.scan(raw_file(known, raw_section(0x30, b"from the future"), last))
    assert complete
    assert [s.type for s in found] == [1, 0x30, 4]
    damaged = raw_section(0x80 | 0x30, b"from the future")[:-1] + b"!"
    with pytest.raises(StreamError, match="CRC-16"):
        container.read(raw_file(known, damaged, last))


def test_repeated_sections() -> None:
    layers = [Section(SectionType.LAYER, b"a"), Section(SectionType.LAYER, b"b")]
    assert container.read(container.write(HEADER, layers))[1] == layers
    with pytest.raises(UsageError, match="one MAP_TOKENS"):
        container.write(HEADER, [SECTIONS[0], SECTIONS[0]])
    with pytest.raises(StreamError, match="second MAP_TOKENS section at byte 15"):
        container.read(raw_file(raw_section(1, b"a"), raw_section(1 | 0x40, b"a")))


@pytest.mark.parametrize("version", [0, 2, 3, 7])
def test_other_versions_say_which_one_they_need(version: int) -> None:
    blob = bytearray(SAMPLE)
    blob[2] = version << 5
    blob[9] = crc8(blob[:9])
    for reader in (container.read, container.scan):
        with pytest.raises(VersionError, match=f"format version {version} .*knows version 1"):
            reader(bytes(blob))


@pytest.mark.parametrize(
    "body",
    ["c368" + "22" + "01" + "beef" + "1ff0ff", "c368" + "21" + "01" + "beef" + "01ff00ff"],
    ids=["reserved flag set", "large flag on a small picture"],
)
def test_flags_have_one_meaning(body: str) -> None:
    header = checked_header(bytes.fromhex(body))
    with pytest.raises(StreamError, match="flags"):
        container.read(header + SAMPLE[10:])


@pytest.mark.parametrize("blob", [b"", b"\xc3", b"\x89PNG\r\n\x1a\n0000", b"hello, world"])
def test_other_files_are_named_as_such(blob: bytes) -> None:
    with pytest.raises(StreamError, match="chappe"):
        container.read(blob)


@pytest.mark.parametrize(
    ("header", "sections"),
    [
        (Header(256, 0, 1, 1), SECTIONS),
        (Header(-1, 0, 1, 1), SECTIONS),
        (Header(1, 65536, 1, 1), SECTIONS),
        (Header(1, 0, 0, 1), SECTIONS),
        (Header(1, 0, 1, 65537), SECTIONS),
        (Header(1, 0, 1, 1, version=2), SECTIONS),
        (HEADER, []),
        (HEADER, [Section(0, b"")]),
        (HEADER, [Section(0x41, b"")]),
        (HEADER, [Section(63, b"")]),
    ],
)
def test_write_refuses(header: Header, sections: list[Section]) -> None:
    with pytest.raises(UsageError):
        container.write(header, sections)


def test_a_huge_declared_length_costs_nothing() -> None:
    with pytest.raises(ChappeError, match="cut"):
        container.read(SAMPLE[:10] + b"\x01\xff\xff\xff\x7f" + b"\0\0")


def test_registry_is_permanent() -> None:
    assert {kind.name: int(kind) for kind in SectionType} == {
        "MAP_TOKENS": 1, "MAP_LOSSLESS": 2, "MAP_NEAR": 3, "IMAGE_TOKENS": 4, "COARSE_IMAGE": 5, "RESIDUAL": 6,
        "LAYER": 7, "SLICE": 8, "NOISE_SEED": 9, "PARAMETERS": 10, "TAXONOMY": 11,
        "TIMESTAMP": 128, "COMMENT": 129, "DEVICE": 130,
    }  # fmt: skip
