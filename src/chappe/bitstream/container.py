"""The file format: a 10-byte header with its own check, then sections that carry their own length and check.

Bytes in, bytes out; no knowledge of any codec. Two readers: `read` is strict (any damage, cut or trailing byte raises),
`scan` reports what is left of a cut or damaged file. Specification, byte for byte: docs/format.md, chapters 1 to 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from chappe.bitstream.crc import crc8, crc16
from chappe.bitstream.varint import MAX_VALUE, read_varint, write_varint
from chappe.errors import StreamError, UsageError, VersionError

__all__ = [
    "ANCILLARY",
    "FORMAT_VERSION",
    "MAGIC",
    "REPEATABLE",
    "Header",
    "Section",
    "SectionStatus",
    "SectionType",
    "header_size",
    "read",
    "read_header",
    "scan",
    "section_size",
    "write",
]

MAGIC = b"\xc3h"
"""'C' with the top bit set, then 'h': neither ASCII nor UTF-8, so no text file starts like this."""
FORMAT_VERSION = 1
ANCILLARY = 0x80
"""Type bit: a reader that does not know the type skips the section (clear: it refuses the file)."""

_LAST = 0x40
_LARGE = 0x01
_SMALL_SIDE = 1 << 12
_MAX_SIDE = 1 << 16


class SectionType(IntEnum):
    """Permanent numbers. 1 to 63 are critical, 128 to 191 ancillary; docs/format.md says what each holds."""

    MAP_TOKENS = 1
    MAP_LOSSLESS = 2
    MAP_NEAR = 3
    IMAGE_TOKENS = 4
    COARSE_IMAGE = 5
    RESIDUAL = 6
    LAYER = 7
    SLICE = 8
    NOISE_SEED = 9
    PARAMETERS = 10
    TAXONOMY = 11
    TIMESTAMP = 0x80
    COMMENT = 0x81
    DEVICE = 0x82


REPEATABLE = frozenset({SectionType.LAYER, SectionType.SLICE, SectionType.COMMENT})
"""Types of which a file may hold several; of any other it holds at most one."""
_KNOWN = frozenset(int(kind) for kind in SectionType)


@dataclass(frozen=True)
class Header:
    """codec_id: 0 to 255. fingerprint: 0 to 65535, of the weights and tables. width, height: pixels, 1 to 65536."""

    codec_id: int
    fingerprint: int
    width: int
    height: int
    version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Section:
    type: int
    payload: bytes


@dataclass(frozen=True)
class SectionStatus:
    """One section as found: where it starts, its bytes with framing, the payload or what is left of it, its check."""

    type: int
    offset: int
    size: int
    payload: bytes
    ok: bool


def header_size(width: int, height: int) -> int:
    """Bytes of the header of a width x height file: 10, or 11 when a side is above 4096."""
    return 10 if max(width, height) <= _SMALL_SIDE else 11


def section_size(payload: int) -> int:
    """Bytes that a section of `payload` bytes takes in the file, framing included."""
    return 1 + len(write_varint(payload)) + 2 + payload


def write(header: Header, sections: Iterable[Section]) -> bytes:
    """The file. Raises UsageError for values that do not fit, an unknown or repeated type, or no section at all."""
    sections = list(sections)
    if not sections:
        raise UsageError("a file needs at least one section, none was given")
    out = bytearray(_pack_header(header))
    seen: set[int] = set()
    for index, section in enumerate(sections):
        if section.type not in _KNOWN:
            raise UsageError(f"section type {section.type} is not in the registry of format version {FORMAT_VERSION}")
        if section.type in seen and section.type not in REPEATABLE:
            raise UsageError(f"a file holds one {SectionType(section.type).name} section, a second one was given")
        if len(section.payload) > MAX_VALUE:
            raise UsageError(f"a section holds at most {MAX_VALUE} bytes, not {len(section.payload)}")
        seen.add(section.type)
        kind = section.type | (_LAST if index == len(sections) - 1 else 0)
        frame = bytes([kind]) + write_varint(len(section.payload))
        out += frame + crc16(frame + section.payload).to_bytes(2, "big") + section.payload
    return bytes(out)


def read(blob: bytes) -> tuple[Header, list[Section]]:
    """Header and sections in file order, unknown ancillary ones left out. Any damage raises StreamError."""
    blob = bytes(blob)
    header, at = read_header(blob)
    sections: list[Section] = []
    seen: set[int] = set()
    last = False
    while not last:
        if at == len(blob):
            raise StreamError(f"the file ends at byte {at} and its last section is still to come: the file is cut")
        status, at, last = _read_section(blob, at)
        kind = status.type
        if not status.ok:
            raise StreamError(f"the section at byte {status.offset} (type {kind}) fails its CRC-16: it is damaged")
        if kind not in _KNOWN:
            if kind & ANCILLARY:
                continue
            raise StreamError(f"the file needs section type {kind}, which this chappe does not know: use a newer one")
        if kind in seen and kind not in REPEATABLE:
            name = SectionType(kind).name
            raise StreamError(f"the file holds a second {name} section at byte {status.offset}, one is allowed")
        seen.add(kind)
        sections.append(Section(kind, status.payload))
    if at != len(blob):
        raise StreamError(f"the file should end at byte {at} and goes on to byte {len(blob)}: remove what follows")
    return header, sections


def scan(blob: bytes) -> tuple[Header, list[SectionStatus], bool]:
    """What a cut or damaged file still holds, and whether it is complete (all checks good, no missing or extra byte).

    Raises StreamError or VersionError only while the header is not sound. A section that fails its check is listed
    with ok=False; where even its length cannot be followed it ends the list, the bytes that remain as its payload.
    """
    blob = bytes(blob)
    header, at = read_header(blob)
    found: list[SectionStatus] = []
    last = False
    while not last and at < len(blob):
        try:
            status, at, last = _read_section(blob, at)
            last = last and (status.ok or at == len(blob))  # of a damaged section the flag may be what is damaged
        except StreamError:
            left = blob[_payload_start(blob, at) :]
            status, at = SectionStatus(blob[at] & ~_LAST, at, len(blob) - at, left, False), len(blob)
        found.append(status)
    return header, found, last and at == len(blob) and all(status.ok for status in found)


def read_header(blob: bytes) -> tuple[Header, int]:
    """The header and its size in bytes. Raises StreamError or VersionError."""
    if blob[:2] != MAGIC[: len(blob)] or not blob:
        raise StreamError(f"not a chappe file: it should start with {MAGIC.hex()}, found '{bytes(blob[:2]).hex()}'")
    if len(blob) < 10:
        raise StreamError(f"a chappe header has at least 10 bytes, found {len(blob)}: the file is cut")
    version, flags = blob[2] >> 5, blob[2] & 31
    if version != FORMAT_VERSION:
        raise VersionError(
            f"the file says format version {version} and this reader knows version {FORMAT_VERSION}: "
            f"use a chappe that reads version {version}, or fetch the file again in case it is damaged"
        )
    large = bool(flags & _LARGE)
    size = 11 if large else 10
    if len(blob) < size:
        raise StreamError(f"this chappe header has {size} bytes, found {len(blob)}: the file is cut")
    computed, stored = crc8(blob[: size - 1]), blob[size - 1]
    if computed != stored:
        raise StreamError(f"the header's CRC-8 is {computed:02x} and the file says {stored:02x}: the file is damaged")
    sides = int.from_bytes(blob[6 : size - 1], "big")
    bits = 16 if large else 12
    width, height = (sides >> bits) + 1, (sides & (1 << bits) - 1) + 1
    if flags & ~_LARGE or size != header_size(width, height):
        raise StreamError(f"the header's flags {flags:05b} are not those of a {width} x {height} file of version 1")
    return Header(blob[3], int.from_bytes(blob[4:6], "big"), width, height, version), size


def _pack_header(header: Header) -> bytes:
    if header.version != FORMAT_VERSION:
        raise UsageError(f"this writer makes format version {FORMAT_VERSION}, not {header.version}")
    for name, low, high in (
        ("codec_id", 0, 255), ("fingerprint", 0, 65535), ("width", 1, _MAX_SIDE), ("height", 1, _MAX_SIDE)
    ):  # fmt: skip
        value = getattr(header, name)
        if not low <= value <= high:
            raise UsageError(f"the header's {name} must be {low} to {high}, not {value}")
    size = header_size(header.width, header.height)
    large = size == 11
    bits = 16 if large else 12
    sides = header.width - 1 << bits | header.height - 1
    body = (
        MAGIC
        + bytes([header.version << 5 | (_LARGE if large else 0), header.codec_id])
        + header.fingerprint.to_bytes(2, "big")
        + sides.to_bytes(bits // 4, "big")
    )
    return body + bytes([crc8(body)])


def _read_section(blob: bytes, offset: int) -> tuple[SectionStatus, int, bool]:
    """The section at `offset`, where the next one starts, and whether this one says that it is the last."""
    length, at = read_varint(blob, offset + 1)
    end = at + 2 + length
    if end > len(blob):
        raise StreamError(
            f"the section at byte {offset} (type {blob[offset] & ~_LAST}) reaches to byte {end} "
            f"and the file ends at byte {len(blob)}: the file is cut"
        )
    payload = blob[at + 2 : end]
    ok = crc16(blob[offset:at] + payload) == int.from_bytes(blob[at : at + 2], "big")
    status = SectionStatus(blob[offset] & ~_LAST, offset, end - offset, payload, ok)
    return status, end, bool(blob[offset] & _LAST)


def _payload_start(blob: bytes, offset: int) -> int:
    """Where the payload of a section that cannot be read in full would start, at most the end of the file."""
    try:
        _, at = read_varint(blob, offset + 1)
    except StreamError:
        return len(blob)
    return min(at + 2, len(blob))
