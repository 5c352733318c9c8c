"""What a damaged file still holds when its sections can do without each other: a reader that finds its way back.

`container.scan` follows lengths; a bit error in a length loses all that comes behind. Here every later byte is tried as
the start of a section until one with a sound check is found.
"""

from __future__ import annotations

from dataclasses import dataclass

from chappe.errors import StreamError

from .container import Header, SectionStatus, scan
from .crc import crc16
from .varint import read_varint

__all__ = ["Sound", "salvage"]

_LAST = 0x40
_EFFORT = 1 << 20  # bytes of candidates that are checked, beside the file's own length


@dataclass(frozen=True)
class Sound:
    """A section whose CRC-16 holds. size: its bytes in the file, framing included."""

    type: int
    payload: bytes
    size: int


def salvage(blob: bytes, kind: int) -> tuple[Header, list[Sound], bool]:
    """(header, sections whose check holds in file order, whether the file is complete).

    Behind a section whose length leads astray, sections of type `kind` are searched for. Raises StreamError or
    VersionError only while the header is not sound; work is bounded by a few times the length of the file.
    """
    header, found, complete = scan(blob)
    sound = [_sound(status) for status in found if status.ok]
    if complete:
        return header, sound, True
    broken = next((status for status in found if not status.ok), None)
    if broken is not None:
        after = {status.offset for status in found if status.ok and status.offset > broken.offset}
        sound = [_sound(status) for status in found if status.ok and status.offset < broken.offset]
        sound += _search(bytes(blob), broken.offset + 1, kind, after)
    return header, sound, False


def _search(blob: bytes, at: int, kind: int, known: set[int]) -> list[Sound]:
    found: list[Sound] = []
    effort = len(blob) + _EFFORT
    while at < len(blob) and effort > 0:
        if blob[at] & ~_LAST == kind or at in known:
            try:
                length, start = read_varint(blob, at + 1)
            except StreamError:
                length, start = len(blob), at
            end = start + 2 + length
            if end <= len(blob):
                effort -= length
                check = int.from_bytes(blob[start : start + 2], "big")
                if crc16(blob[at:start] + blob[start + 2 : end]) == check:
                    found.append(Sound(blob[at] & ~_LAST, blob[start + 2 : end], end - at))
                    at = end
                    continue
        at += 1
    return found


def _sound(status: SectionStatus) -> Sound:
    return Sound(status.type, status.payload, status.size)
