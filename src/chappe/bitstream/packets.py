"""A sliced file as packets that travel alone, and a file cut to fewer bytes: bytes in, bytes out, no model.

A packet is a whole file of its own: the header and one SLICE section. Packets carry no number of the picture: where
several pictures are under way at once, the transport keeps them apart (RTP's timestamp does).
"""

from __future__ import annotations

from collections.abc import Iterable

from chappe.errors import ChappeError, InputError, RateError, StreamError

from .container import ANCILLARY, Header, Section, SectionStatus, SectionType, header_size, read, scan, write
from .slices import missing_slices, newest, parse_slice

__all__ = ["join", "loss_note", "prefix_sizes", "split", "truncate"]

# Trailing sections without which a file still decodes: of every codec, and of single codecs by their id.
_DROPPABLE = frozenset({SectionType.LAYER})
_DROPPABLE_OF = {
    4: frozenset({SectionType.IMAGE_TOKENS, SectionType.RESIDUAL}),
    5: frozenset({SectionType.COARSE_IMAGE}),
}


def split(blob: bytes) -> list[bytes]:
    """One packet for each slice of a file, in its order. Raises StreamError for damage, InputError without slices."""
    header, sections = read(blob)
    slices = [section for section in sections if section.type == SectionType.SLICE]
    if not slices:
        raise InputError("the file has no slices to send apart: encode with slices=8, for one")
    return [write(header, [section]) for section in slices]


def join(packets: Iterable[bytes]) -> bytes:
    """One file of the packets that arrived, in any order, some missing, twice there or damaged (those are left out).

    The most frequent header counts, of equals the first. Raises StreamError if no packet is sound.
    """
    sound: list[tuple[Header, int, bytes]] = []
    for packet in packets:
        try:
            header, sections = read(packet)
            sound += [
                (header, parse_slice(s.payload).number, s.payload) for s in sections if s.type == SectionType.SLICE
            ]
        except ChappeError:
            continue
    if not sound:
        raise StreamError("none of the packets is a sound slice: nothing of the picture arrived")
    headers = [header for header, _, _ in sound]
    wanted = max(headers, key=headers.count)
    parts: dict[tuple[int, bytes], None] = {(n, payload): None for h, n, payload in sound if h == wanted}
    return write(wanted, [Section(SectionType.SLICE, payload) for _, payload in sorted(parts, key=lambda p: p[0])])


def prefix_sizes(blob: bytes) -> list[int]:
    """Bytes of every prefix of a file that decodes, the smallest first; the last is all that is whole of the file.

    Raises StreamError for a file of which no section is whole.
    """
    header, kept = _whole(blob)
    return _sizes(header, kept)


def truncate(blob: bytes, max_bytes: float) -> bytes:
    """The longest prefix of a file, of at most `max_bytes`, that still decodes: whole sections are dropped at its end.

    What may be dropped: layers, ancillary sections, and what the codec named in the header can do without. Also for
    files that are already cut. Raises RateError where the smallest prefix is longer, StreamError for a damaged file.
    """
    header, kept = _whole(blob)
    sizes = _sizes(header, kept)
    fitting = [index for index, size in enumerate(sizes) if size <= max_bytes]
    if not fitting:
        pixels = header.width * header.height
        why = "" if len(sizes) > 1 else ": it has no layers that could be dropped"
        raise RateError(
            f"{int(max_bytes)} bytes ({max_bytes * 8 / pixels:.4f} bpp) are asked for, and the smallest prefix of the "
            f"file that decodes has {sizes[0]} bytes ({sizes[0] * 8 / pixels:.4f} bpp){why}"
        )
    end = len(kept) - (len(sizes) - 1 - fitting[-1])
    return write(header, [Section(status.type, status.payload) for status in kept[:end]])


def loss_note(header: Header, found: list[SectionStatus], complete: bool) -> str | None:
    """What a file says that it should hold and does not, in one line; None where nothing is missing.

    `found`, `complete`: from `container.scan`. Slices name their number; layers are only known to be missing where the
    file is cut or damaged, and of codecs that decode it then.
    """
    sliced = [status for status in found if status.type == SectionType.SLICE]
    if sliced:
        parts = []
        for status in sliced:
            try:
                parts += [parse_slice(status.payload)] if status.ok else []
            except StreamError:
                continue
        return missing_slices(newest(parts), (header.height, header.width)) if parts else "every slice is damaged"
    broken = next((i for i, status in enumerate(found) if not status.ok), len(found))
    droppable = all(_droppable(header, status) for status in found[broken:])
    if complete or not broken or not droppable or header.codec_id not in _DROPPABLE_OF:
        return None
    layers = sum(status.type in (SectionType.IMAGE_TOKENS, SectionType.LAYER) for status in found[:broken])
    after = f"layer {layers}" if layers else "the label map"
    return f"the file is cut or damaged after {after}: what further layers would have sent is inferred"


def _whole(blob: bytes) -> tuple[Header, list[SectionStatus]]:
    """Header and the sections before the first that is cut off or damaged."""
    header, found, _ = scan(blob)
    broken = next((i for i, status in enumerate(found) if not status.ok), len(found))
    if broken == 0:
        raise StreamError("the file has no whole section: get it again")
    if any(not _droppable(header, status) for status in found[broken:]):
        raise StreamError(f"the section at byte {found[broken].offset} is damaged or cut: get the file again")
    return header, found[:broken]


def _sizes(header: Header, kept: list[SectionStatus]) -> list[int]:
    sizes = [header_size(header.width, header.height) + sum(status.size for status in kept)]
    for status in reversed(kept[1:]):
        if not _droppable(header, status):
            break
        sizes.append(sizes[-1] - status.size)
    return sizes[::-1]


def _droppable(header: Header, status: SectionStatus) -> bool:
    return bool(status.type & ANCILLARY) or status.type in _DROPPABLE | _DROPPABLE_OF.get(header.codec_id, frozenset())
