"""The label map in K horizontal strips, each coded alone; together they are the near-lossless map of one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chappe.bitstream import slices, tokenmix
from chappe.bitstream.labelmap import start_state
from chappe.bitstream.labelmap_engine import check_labels, decode_mixed, encode_mixed
from chappe.bitstream.labelmap_near import Ladder
from chappe.bitstream.labelmap_prior import CELLS, prior_by_id, prior_id, shipped
from chappe.bitstream.labelmap_simplify import enlarge, simplify
from chappe.bitstream.slices import Slice
from chappe.errors import StreamError

__all__ = ["MapStrips", "StripCoder", "alone", "join_strips", "read_strip", "strip_classes"]


@dataclass(frozen=True, eq=False)
class MapStrips:
    """`cells` (h, w) uint8: the map reduced `scale` times; `codes`: its strips, from the top; `prior`: their number."""

    scale: int
    cells: np.ndarray
    codes: tuple[bytes, ...]
    prior: int = 0

    @property
    def size(self) -> int:
        return sum(map(len, self.codes))


class StripCoder:
    """One label map (H, W) uint8 on its way into slices: what `MapCoder` is for whole maps."""

    def __init__(self, labels: np.ndarray, classes: int, taxonomy: str, protect: Sequence[float] | None, count: int):
        self.labels, self.classes, self.taxonomy = check_labels(labels, classes), classes, taxonomy
        self.count = count
        self._ladder = _StripLadder(self, labels, classes, prior=shipped(taxonomy + CELLS), protect=protect)

    @cached_property
    def lossless(self) -> MapStrips:
        """The map, exactly."""
        ways = [self.code(self.labels, 1, prior) for prior in (0, prior_id(shipped(self.taxonomy), self.classes))]
        return min(ways, key=lambda strips: strips.size)

    def within(self, max_bytes: int) -> MapStrips:
        """The finest map whose strips take at most `max_bytes` (the coarsest if none), the exact one if it fits too."""
        ladder = self._ladder
        chosen = ladder.coarsest if len(ladder.coarsest) > max_bytes else ladder.fit(max_bytes)
        if len(chosen) > 0.7 * max_bytes or self.lossless.size > max_bytes:
            return ladder.strips[chosen]
        return self.lossless

    def code(self, cells: np.ndarray, scale: int, prior: int) -> MapStrips:
        """The strips of a reduced map; one without a row is empty."""
        parts = [cells[slices.strip(k, self.count, len(cells))] for k in range(self.count)]
        cap = 4096 + 4 * cells.size
        codes = (encode_mixed(p, self.classes, start_state(prior, scale), cap) if len(p) else b"" for p in parts)
        return MapStrips(scale, cells, tuple(codes), prior)


class _StripLadder(Ladder):
    """The ladder of a map whose points are coded in strips; `strips` finds them again by their joined bytes."""

    def __init__(self, coder: StripCoder, labels: np.ndarray, classes: int, **options):
        super().__init__(labels, classes, **options)
        self.coder, self.strips = coder, {}

    def point(self, scale: int, slope: float) -> bytes:
        if (scale, slope) not in self._coded:
            cells = simplify(self.labels, self.classes, scale, slope, self.weights)
            made = self.coder.code(cells, scale, self.number)
            self._coded[scale, slope] = b"".join(made.codes)
            self.strips[self._coded[scale, slope]] = made
        return self._coded[scale, slope]

    def is_within(self, scale: int, slope: float, max_bytes: int) -> bool:
        return len(self.point(scale, slope)) <= max_bytes


def read_strip(part: Slice, shape: tuple[int, int], classes: int) -> np.ndarray:
    """The rows of the reduced map that a slice brings, (n, w) uint8. Raises StreamError for damage, ModelError for a
    prior that is not shipped."""
    prior_by_id(part.prior, classes)
    rows, width = -(-shape[0] // part.scale), -(-shape[1] // part.scale)
    held = slices.strip(part.number, part.count, rows)
    if held.start == held.stop:
        if part.strip_code:
            raise StreamError("a slice whose strip of the map has no rows holds bytes for it: it is damaged")
        return np.zeros((0, width), np.uint8)
    return decode_mixed(part.strip_code, (held.stop - held.start, width), classes, start_state(part.prior, part.scale))


def join_strips(found: dict[int, np.ndarray], count: int, scale: int, shape: tuple[int, int], void: int) -> np.ndarray:
    """Labels (H, W) uint8 from the strips that arrived, by number; rows of the others are inferred.

    Where no strip has a row, the map is `void` all over.
    """
    cells = np.full((-(-shape[0] // scale), -(-shape[1] // scale)), void, np.uint8)
    have = np.zeros(len(cells), bool)
    for number, strip in found.items():
        cells[slices.strip(number, count, len(cells))] = strip
        have[slices.strip(number, count, len(cells))] = True
    if have.any() and not have.all():
        cells = slices.fill_rows(cells, have)
    return enlarge(cells, shape, scale)


def strip_classes(strips: MapStrips, number: int, shape: tuple[int, int]) -> np.ndarray:
    """What a slice alone knows of each cell's classes, as `tokenmix.cell_classes` gives it."""
    own = slices.strip(number, len(strips.codes), len(strips.cells))
    return alone(strips.cells[own], own, strips.scale, len(strips.cells), shape)


def alone(strip: np.ndarray, own: slice, scale: int, rows: int, shape: tuple[int, int]) -> np.ndarray:
    """The same from the strip (n, w) itself: its cells, each as its scale x scale pixels, in an unknown map."""
    cells = np.full((rows, strip.shape[1]), tokenmix.UNKNOWN, np.uint8)
    cells[own] = strip
    return tokenmix.cell_classes(np.repeat(np.repeat(cells, scale, 0), scale, 1)[: shape[0], : shape[1]])
