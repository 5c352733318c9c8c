"""One picture on its way into a file of `sqgan-street` version 3: in one piece, in layers or in slices.

The networks run once and give every cell a score and an index; the rest is a choice of how many tokens to send, in the
order of their steered scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chappe.bitstream import container, slices, tokenmix
from chappe.bitstream.container import Section, SectionType
from chappe.bitstream.slices import Slice
from chappe.errors import RateError
from chappe.nn.tiling import CELL, pad_to_cells
from chappe.systems.beside import beside
from chappe.systems.mapstream import MapCoder, file_size, protect_weights
from chappe.systems.rate import most_that_fit, split_bytes
from chappe.systems.sqgan.strips import MapStrips, StripCoder, strip_classes

__all__ = ["Request", "Sender", "cell_relevance"]

FLOOR = 0.02  # of a score: what is left of it in cells of relevance 0, so that their order survives
PRESENT = 16  # a class counts in a cell if it has at least this many of its 256 pixels


@dataclass(frozen=True)
class Request:
    """What to aim for: a total size in bytes or masking fractions, in which form, and for whom (`relevance`, (C,))."""

    total: float | None
    map_mode: str
    map_share: float | None = None
    m_s: float | None = None
    m_x: float | None = None
    m_f: float = 0.0
    layers: int = 1
    slices: int = 1
    relevance: np.ndarray | None = None
    goal: str | None = None


@dataclass(frozen=True)
class _Map:
    """The map as sent: a section or strips, and what its receiver knows of each cell's classes (None: nothing)."""

    section: Section | None = None
    classes: np.ndarray | None = None
    strips: MapStrips | None = None


class Sender:
    """See the module. `codec` is a `StreetCodec`; image (H, W, 3) uint8 and labels (H, W) uint8."""

    def __init__(self, codec, image: np.ndarray, labels: np.ndarray, request: Request):
        self.codec, self.request, self.labels = codec, request, labels
        self.pixels = labels.size
        self._padded = pad_to_cells(labels)
        protect = codec.settings.get("protect")
        if request.relevance is not None:
            protect = protect_weights(protect, request.relevance, codec.classes)
        self.map: MapCoder | StripCoder
        if request.slices == 1:
            self.map = MapCoder(labels, codec.classes, codec.taxonomy, protect)
        else:
            self.map = StripCoder(labels, codec.classes, codec.taxonomy, protect, request.slices)
        with beside(self._first_map):
            self._found = codec.engine.analyse_image(pad_to_cells(image), self._padded)
        scores = self._found.scores
        if request.relevance is not None:
            scores = scores * cell_relevance(self._padded, request.relevance)
        self.order = np.argsort(-scores, axis=None, kind="stable")
        self._shares = np.full(request.layers, 1 / request.layers)  # of the tokens, by layer
        self._is_balanced = request.layers == 1
        self._per_token = 1.4  # bytes, as far as known
        self._owners = slices.owners(*scores.shape, request.slices) if request.slices > 1 else None

    def sections(self) -> list[Section]:
        """The sections of the file. Raises RateError for a size out of reach."""
        request = self.request
        if request.total is None:
            sent = self._map(None, fraction=request.m_s)
            count = max(1, int(request.m_x * self.order.size))
            return self._file(sent, self._balanced(sent, count), self._finer(sent, request.m_f))
        bpp, near = request.total * 8 / self.pixels, request.map_mode == "near"

        def attempt(budget: int | None) -> tuple[int, list[Section]]:
            sections = self._fill(self._map(budget))
            return self._size(sections), sections

        budget = self._budget()
        gap, sections = split_bytes(request.total, budget, attempt, rounds=5 if near else 2, ladder=near)
        if abs(gap) > 0.05 * request.total:
            low, high = (self._size(s) * 8 / self.pixels for s in self._ends())
            height, width = self.labels.shape
            raise RateError(
                f"{bpp:.4f} bpp is out of reach for {self.codec.name} on this {width}x{height} picture"
                f"{self._form()}: it reaches {low:.4f} to {high:.4f} bpp (the nearest file has "
                f"{self._size(sections) * 8 / self.pixels:.4f})"
            )
        return sections

    def _budget(self) -> float:
        """Bytes of the map to begin with, of a file whose total is given."""
        request = self.request
        cut = 2 if request.layers > 1 else 1  # a file in layers has the map of half its rate: it is made to be cut
        bpp = request.total * 8 / self.pixels
        share = request.map_share or self.codec.map_share(bpp / cut, request.map_mode, request.goal) / cut
        framing = 7 * request.slices if request.slices > 1 else 0
        return share * max(1.0, request.total - framing)

    def _first_map(self) -> None:
        """Code the map that `sections` asks for first: it needs nothing of the picture's networks."""
        if self.request.map_mode == "lossless":
            self.map.lossless  # noqa: B018  (it is kept)
        elif self.request.map_mode == "near" and self.request.total is not None:
            self.map.within(int(self._budget()))

    def _form(self) -> str:
        for name in ("layers", "slices"):
            if getattr(self.request, name) > 1:
                return f" in {getattr(self.request, name)} {name}"
        return ""

    def _ends(self) -> tuple[list[Section], list[Section]]:
        """The smallest and the largest file."""
        small, large = self._map(0), self._map(None, fraction=1.0)
        most = self._file(large, self._tokens(large, self.order.size), self._finer(large, 1.0))
        return self._file(small, self._tokens(small, 1)), most

    def _map(self, max_bytes: int | None, *, fraction: float | None = None) -> _Map:
        """The map within `max_bytes`; the exact one for None."""
        mode, codec = self.request.map_mode, self.codec
        if mode == "tokens":
            section = codec.map_tokens(self._padded, fraction, max_bytes)
            return _Map(section)  # its labels come out of a float network, on which no symbol may depend
        exact = mode == "lossless" or max_bytes is None
        sent = self.map.lossless if exact else self.map.within(max_bytes)
        if isinstance(sent, MapStrips):
            return _Map(strips=sent)
        return _Map(sent, tokenmix.cell_classes(self.map.received(sent)))

    def _fill(self, sent: _Map) -> list[Section]:
        """As many tokens as the map leaves room for; once all are sent, their finer indices."""
        room = self.request.total - self._size(self._file(sent, [b""] * max(self.request.layers, self.request.slices)))
        coded: dict[int, list[bytes]] = {}

        def size_of(count: int) -> int:
            if count not in coded:
                coded[count] = self._balanced(sent, count)
                self._per_token = max(0.3, sum(map(len, coded[count])) / count)
            return sum(map(len, coded[count]))

        cells = self.order.size
        count = most_that_fit(size_of, cells, room, int(room / self._per_token))
        payloads = coded.get(count) or self._tokens(sent, count)
        left = room - sum(map(len, payloads)) - container.section_size(0)
        if count < cells or self._found.finer is None or self._owners is not None or left < 8:
            return self._file(sent, payloads)
        finer: dict[int, bytes] = {}

        def finer_size(n: int) -> int:
            finer.setdefault(n, self._finer(sent, n / cells))
            return len(finer[n])

        n = most_that_fit(finer_size, cells, left, int(left / 1.4))
        return self._file(sent, payloads, finer.get(n) or self._finer(sent, n / cells))

    def _finer(self, sent: _Map, fraction: float) -> bytes:
        """Code of the finer indices of a share of the tokens, the most relevant; empty where there are none to send."""
        if self._found.finer is None or self._owners is not None or fraction == 0:
            return b""
        shape = self._found.scores.shape
        mask = _mask(self.order[: max(1, round(fraction * self.order.size))], shape)
        every = np.ones(shape, bool)
        return self.codec.code_tokens(mask, self._found.finer, "finer", classes=sent.classes, candidates=every)

    def _balanced(self, sent: _Map, count: int) -> list[bytes]:
        """`_tokens`, coded anew once where the layers do not have about equal bytes yet."""
        payloads = self._tokens(sent, count)
        if self._is_balanced or count < 4 * self.request.layers:
            return payloads
        sizes = np.array([max(1, len(payload)) for payload in payloads], float)
        shares = self._shares * sizes.mean() / sizes  # layers that came out long get fewer tokens
        self._shares, self._is_balanced = shares / shares.sum(), True
        return self._tokens(sent, count)

    def _tokens(self, sent: _Map, count: int) -> list[bytes]:
        """Payloads of the `count` best tokens: one for each layer that is not empty, or one for each slice."""
        codec, shape = self.codec, self._found.scores.shape
        chosen = self.order[:count]
        if self._owners is not None:
            mask = _mask(chosen, shape)
            return [
                codec.code_tokens(
                    mask & (self._owners == k), self._found.indices,
                    classes=strip_classes(sent.strips, k, self.labels.shape), candidates=self._owners == k,
                )
                for k in range(self.request.slices)
            ]  # fmt: skip
        ends = np.maximum.accumulate(np.ceil(np.cumsum(self._shares) * count - 1e-9).astype(int))
        known = np.full(shape, -1, np.int32)
        payloads, start = [], 0
        for end in ends.tolist():
            if end > start or not payloads:
                mask = _mask(chosen[start:end], shape)
                later = {"candidates": known < 0, "known": known.copy()} if payloads else {}
                payloads.append(codec.code_tokens(mask, self._found.indices, classes=sent.classes, **later))
                known[mask] = self._found.indices[mask]
                start = end
        return payloads

    def _file(self, sent: _Map, payloads: list[bytes], finer: bytes = b"") -> list[Section]:
        if sent.strips is not None:
            count, scale, prior = self.request.slices, sent.strips.scale, sent.strips.prior
            parts = (Slice(k, count, scale, sent.strips.codes[k], payload, prior) for k, payload in enumerate(payloads))
            return [Section(SectionType.SLICE, slices.pack_slice(part)) for part in parts]
        kinds = [SectionType.IMAGE_TOKENS] + [SectionType.LAYER] * (len(payloads) - 1)
        sections = [sent.section, *(Section(kind, payload) for kind, payload in zip(kinds, payloads, strict=True))]
        return sections + ([Section(SectionType.RESIDUAL, finer)] if finer else [])

    def _size(self, sections: list[Section]) -> int:
        return file_size(*self.labels.shape, sections)


def cell_relevance(labels: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """Factor (h, w) float64 in [0.02, 1] of each cell's score: that of its most relevant class, all 1 for all 1.

    labels: (16 h, 16 w) uint8; relevance: (C,) in [0, 1]. A class counts where it covers a sixteenth of the cell.
    """
    h, w = labels.shape[0] // CELL, labels.shape[1] // CELL
    cells = labels.reshape(h, CELL, w, CELL)
    best = np.zeros((h, w))
    for label in np.unique(labels).tolist():
        there = (cells == label).sum((1, 3)) >= PRESENT
        best = np.where(there, np.maximum(best, relevance[label]), best)
    return FLOOR + (1 - FLOOR) * best


def _mask(chosen: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape[0] * shape[1], bool)
    mask[chosen] = True
    return mask.reshape(shape)
