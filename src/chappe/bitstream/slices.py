"""One picture in K slices, each readable alone: the cells and the rows of the map that each holds, and its layout.

Slice k holds the tokens of the cells (y, x) with (x + a y) mod K = k, so that a lost slice leaves holes with neighbours
on all sides, and the k-th of K horizontal strips of the reduced label map. Rows of the map that no slice brought are
inferred from the strips around them. Specification: docs/format.md, chapter 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chappe.errors import StreamError

from .varint import read_varint, write_varint

__all__ = [
    "COUNTS",
    "Slice",
    "fill_rows",
    "map_rows",
    "missing_slices",
    "newest",
    "owners",
    "pack_slice",
    "parse_slice",
    "strip",
]

COUNTS = range(2, 17)
CELL = 16
# a for K = 2 ... 16: the lattice whose nearest cells of one slice are farthest apart (the least such a).
_STEP = {2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 2, 8: 3, 9: 3, 10: 3, 11: 3, 12: 3, 13: 5, 14: 4, 15: 4, 16: 4}
_REACH = 32  # cells: how far from a border two rows still tell how it moves between them


@dataclass(frozen=True)
class Slice:
    """`number` of `count` slices. `strip_code`: its rows of the map reduced `scale` times, coded from the tables of
    label-map prior `prior` (0 to 7); `token_code`: its tokens."""

    number: int
    count: int
    scale: int
    strip_code: bytes
    token_code: bytes
    prior: int = 0


def owners(h: int, w: int, count: int) -> np.ndarray:
    """(h, w) uint8: the slice that each cell's token travels in."""
    y, x = np.mgrid[:h, :w]
    return ((x + _STEP[count] * y) % count).astype(np.uint8)


def strip(number: int, count: int, rows: int) -> slice:
    """Rows of a (reduced) map of `rows` rows that slice `number` of `count` holds; none where rows < count."""
    return slice(rows * number // count, rows * (number + 1) // count)


def pack_slice(part: Slice) -> bytes:
    """Payload of a SLICE section."""
    head = bytes([(part.count - 1) << 4 | part.number, part.prior << 5 | part.scale]) + write_varint(
        len(part.strip_code)
    )
    return head + part.strip_code + part.token_code


def parse_slice(payload: bytes) -> Slice:
    """The parts of a SLICE payload. Raises StreamError for one that `pack_slice` never makes."""
    if len(payload) < 3:
        raise StreamError(f"a slice has at least 3 bytes, not {len(payload)}: the stream is damaged")
    count, number, scale = (payload[0] >> 4) + 1, payload[0] & 15, payload[1] & 31
    length, at = read_varint(payload, 2)
    if count not in COUNTS or number >= count or scale == 0 or at + length > len(payload):
        raise StreamError(f"a slice cannot begin with {payload[:3].hex()}: the stream is damaged")
    return Slice(number, count, scale, payload[at : at + length], payload[at + length :], payload[1] >> 5)


def newest(parts: list[Slice]) -> dict[int, Slice]:
    """By number, the slices of one picture: those that agree with the most others on count and scale, first come."""
    kinds = [(part.count, part.scale) for part in parts]
    wanted = max(kinds, key=kinds.count, default=None)
    chosen: dict[int, Slice] = {}
    for part, kind in zip(parts, kinds, strict=True):
        if kind == wanted:
            chosen.setdefault(part.number, part)
    return chosen


def fill_rows(cells: np.ndarray, have: np.ndarray) -> np.ndarray:
    """The map (h, w) uint8 with the rows that are not in `have` (h,) bool inferred from those that are (at least one).

    Above the first and below the last known row that row is repeated. Between two, each class's signed distance to its
    nearest border along the row runs straight from one to the other, and the greatest wins, of equals the lowest class
    (shape-based interpolation, Raya and Udupa 1990, in one dimension, distances held in 32 cells). Exact integers.
    """
    known = np.flatnonzero(have)
    out = cells[known[np.abs(np.arange(len(cells))[:, None] - known).argmin(1)]]
    for above, below in zip(known[:-1].tolist(), known[1:].tolist(), strict=True):
        if below - above > 1:
            out[above + 1 : below] = _between(cells[above], cells[below], below - above)
    return out


def _between(first: np.ndarray, last: np.ndarray, steps: int) -> np.ndarray:
    after = np.arange(1, steps)[:, None]
    best = np.full((steps - 1, len(first)), -(1 << 30))
    out = np.zeros(best.shape, np.uint8)
    for label in np.union1d(first, last).tolist():
        value = (steps - after) * _depth(first == label) + after * _depth(last == label)
        better = value > best
        best[better], out[better] = value[better], label
    return out


def _depth(inside: np.ndarray) -> np.ndarray:
    """(w,) distance to the nearest place outside, or minus the distance to the nearest one inside, within 32."""
    at = np.arange(len(inside))

    def gap(places: np.ndarray) -> np.ndarray:
        if len(places) == 0:
            return np.full(len(at), _REACH)
        right = np.searchsorted(places, at)
        before, behind = places[np.maximum(right - 1, 0)], places[np.minimum(right, len(places) - 1)]
        return np.minimum(np.minimum(np.abs(at - before), np.abs(behind - at)), _REACH)

    return np.where(inside, gap(np.flatnonzero(~inside)), -gap(np.flatnonzero(inside)))


def missing_slices(parts: dict[int, Slice], shape: tuple[int, int]) -> str | None:
    """'3 of 8 slices missing: 37 % of the token cells and 96 of 256 rows of the map inferred', or None."""
    some = next(iter(parts.values()))
    lost = [number for number in range(some.count) if number not in parts]
    if not lost:
        return None
    cells = np.isin(owners(-(-shape[0] // CELL), -(-shape[1] // CELL), some.count), lost).mean()
    rows = shape[0] - int(map_rows(parts, shape[0]).sum())
    return (
        f"{len(lost)} of {some.count} slices missing: {cells:.0%} of the token cells and {rows} of {shape[0]} rows "
        "of the map inferred"
    ).replace("%", " %")


def map_rows(parts: dict[int, Slice], height: int) -> np.ndarray:
    """(height,) bool: the pixel rows of the map that these slices bring."""
    some = next(iter(parts.values()))
    have = np.zeros(-(-height // some.scale), bool)
    for number in parts:
        have[strip(number, some.count, len(have))] = True
    return np.repeat(have, some.scale)[:height]
