"""`sqgan-street` version 3: the mixed token code, files in layers that may be cut, or in slices that may be lost.

A file is a label map, the most relevant tokens (IMAGE_TOKENS), and further ones in layers (LAYER); or it is slices
(SLICE), each with a strip of the map and interleaved tokens. What did not arrive is one more masked token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from chappe.bitstream import container, slices, tokenmix
from chappe.bitstream.container import Header, Section, SectionStatus, SectionType
from chappe.bitstream.packets import loss_note
from chappe.bitstream.slices import Slice
from chappe.bitstream.tokenmix_prior import TokenPrior
from chappe.codec import Decoded, OperatingPoint, describe
from chappe.errors import ChappeError, StreamError, UsageError
from chappe.nn.tiling import CELL, pad_to_cells
from chappe.systems.mapstream import MAP_RECEIVED, check_header
from chappe.systems.rate import most_that_fit
from chappe.systems.sqgan.codec import SQGANCodec
from chappe.systems.sqgan.sender import Request, Sender
from chappe.systems.sqgan.strips import alone, join_strips, read_strip
from chappe.taxonomy import get_taxonomy

__all__ = ["MOST_LAYERS", "StreetCodec", "Symbols"]

MOST_LAYERS = 16
TOKEN_RECEIVED = 128
"""Part of `Decoded.received` beside MAP_RECEIVED: all that was sent of the cell's token arrived."""


@dataclass(frozen=True, eq=False)
class Symbols:
    """What a file holds before any network runs: `mask` (h, w) bool, `indices` (N,) int32 in raster order, `labels`
    (H, W) uint8, `received` (H, W) uint8, how many map tokens it took (None: the map came otherwise), and the finer
    indices (h, w) int32, -1 where there is none."""

    mask: np.ndarray
    indices: np.ndarray
    labels: np.ndarray
    received: np.ndarray
    map_cells: int | None
    finer: np.ndarray | None = None


class StreetCodec(SQGANCodec):
    """See the module and `SQGANCodec`. `token_priors` are what the mixed token coder starts from, by stream."""

    knobs = (*SQGANCodec.knobs, "m_f", "layers", "slices", "relevance", "goal")

    def __init__(self, *args, token_priors: dict[str, TokenPrior] | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.token_priors = token_priors or {}
        self.levels = self.levels | {"finer": max(2, self.engine.config.image.residual)}

    def decode(self, blob: bytes) -> Decoded:
        header, found, complete = self._open(blob)
        symbols = self._symbols(header, found, complete)
        padded = pad_to_cells(symbols.labels)
        picture = self.engine.restore_image(symbols.mask, symbols.indices, padded, symbols.finer)
        image = np.ascontiguousarray(picture[: header.height, : header.width])
        report, _ = describe(blob)
        if symbols.map_cells is not None:
            report = replace(report, bpp_nominal=self._nominal(symbols.mask, symbols.map_cells))
        missing = loss_note(header, found, complete)
        return Decoded(image, symbols.labels, self.taxonomy, report, symbols.received, missing)

    def kept_tokens(self, blob: bytes) -> np.ndarray:
        return self.symbols(blob).mask

    def symbols(self, blob: bytes) -> Symbols:
        """Tokens and labels of a file, without the picture. Raises as `decode`."""
        return self._symbols(*self._open(blob))

    def map_tokens(self, padded: np.ndarray, fraction: float | None, max_bytes: int | None) -> Section:
        """The MAP_TOKENS section with a share of the map's tokens, or as many as fit (at least one)."""
        analysis = self.engine.analyse_map(padded)
        cells = analysis.scores.size

        def section(count: int) -> Section:
            return Section(SectionType.MAP_TOKENS, self.code_tokens(analysis.best(count)[0], analysis.indices, "map"))

        if fraction is not None or max_bytes is None:
            return section(max(1, int((fraction or 1.0) * cells)))
        guess = max_bytes * 8 // 10
        return section(most_that_fit(lambda n: len(section(n).payload), cells, max_bytes, guess))

    def code_tokens(self, mask: np.ndarray, grid: np.ndarray, which: str = "image", **context) -> bytes:
        """Mixed code of the tokens of `grid` (h, w) in `mask`; `context` as for `tokenmix.encode_tokens`."""
        prior = self.token_priors.get(which)
        return tokenmix.encode_tokens(mask, grid[mask], self.levels[which], prior=prior, **context)

    def read_tokens(
        self, data: bytes, shape: tuple[int, int], which: str = "image", **context
    ) -> tuple[np.ndarray, np.ndarray]:
        """The reverse: (mask, indices)."""
        prior = self.token_priors.get(which)
        return tokenmix.decode_tokens(data, shape, self.levels[which], prior=prior, **context)

    def _read_map_tokens(self, data: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        return self.read_tokens(data, shape, "map")

    def _sections(self, image: np.ndarray, labels: np.ndarray, rate: Request) -> list[Section]:
        return Sender(self, image, labels, rate).sections()

    def _rate(self, pixels: int, bpp: float | None, point: OperatingPoint | str | None) -> Request:
        values = dict(self.find_point(point).settings) if point is not None else {}
        layers, count = (_whole(values, key, most) for key, most in (("layers", MOST_LAYERS), ("slices", 16)))
        if layers > 1 and count > 1:
            raise UsageError("a file comes in layers or in slices, not both: leave one of them out")
        rate = super()._rate(pixels, bpp, point)
        if count > 1 and rate.map_mode == "tokens":
            raise UsageError("slices need a map that can be cut into strips: use map=near or map=lossless")
        weights, goal = self.read_relevance(values), self.read_goal(values)
        m_f = float(values.get("m_f", 0.0))
        if not 0 <= m_f <= 1 or (m_f and rate.m_x != 1.0):
            raise UsageError(f"m_f={m_f} is not a fraction from 0 to 1, or m_x is not 1: finer indices come last")
        return Request(rate.total, rate.map_mode, rate.map_share, rate.m_s, rate.m_x, m_f, layers, count, weights, goal)

    def _open(self, blob: bytes) -> tuple[Header, list[SectionStatus], bool]:
        """Header and sections as found. Raises StreamError where the file cannot be a prefix or a set of slices."""
        header, found, complete = container.scan(blob)
        check_header(self, self.fingerprint, header)
        kinds = [status.type for status in found if status.ok]
        whole = complete or SectionType.SLICE in kinds or _is_prefix(found)
        end = container.header_size(header.width, header.height) + sum(status.size for status in found)
        if not whole or (end != len(blob) and SectionType.SLICE not in kinds) or not _allowed(kinds):
            container.read(blob)  # says in a sentence what is wrong
        return header, found, complete

    def _symbols(self, header: Header, found: list[SectionStatus], complete: bool) -> Symbols:
        shape = (header.height, header.width)
        sliced = [status.payload for status in found if status.type == SectionType.SLICE and status.ok]
        if any(status.type == SectionType.SLICE for status in found):
            return self._read_slices(sliced, shape)
        return self._read_layers(found, shape, header, complete)

    def _read_layers(
        self, found: list[SectionStatus], shape: tuple[int, int], header: Header, complete: bool
    ) -> Symbols:
        broken = next((i for i, status in enumerate(found) if not status.ok), len(found))
        by_type = {status.type: status.payload for status in found[:broken]}
        grid = _grid(shape)
        labels, map_cells = self._decode_map(by_type, grid, header)
        # Labels out of a float network may differ between machines: then the coder knows nothing of them.
        classes = tokenmix.cell_classes(labels) if map_cells is None else None
        known = np.full(grid, -1, np.int32)
        layers = [s.payload for s in found[:broken] if s.type == SectionType.LAYER]
        if SectionType.IMAGE_TOKENS in by_type:  # without: the file was cut down to its map
            mask, indices = self.read_tokens(by_type[SectionType.IMAGE_TOKENS], grid, classes=classes)
            known[mask] = indices
        elif layers:
            raise StreamError("the file has layers but not the image_tokens section before them: get it again")
        for payload in layers:
            context = {"classes": classes, "candidates": known < 0, "known": known.copy()}
            mask, indices = self.read_tokens(payload, grid, **context)
            known[mask] = indices
        mask, finer = known >= 0, None
        if SectionType.RESIDUAL in by_type:
            second, indices = self.read_tokens(
                by_type[SectionType.RESIDUAL], grid, "finer", classes=classes, candidates=mask
            )
            finer = np.full(grid, -1, np.int32)
            finer[second] = indices
        received = np.full(shape, MAP_RECEIVED, np.uint8)
        received += _pixels(np.ones(grid, bool) if complete else mask, shape) * np.uint8(TOKEN_RECEIVED)
        return Symbols(mask, known[mask], labels, received, map_cells, finer)

    def _read_slices(self, payloads: list[bytes], shape: tuple[int, int]) -> Symbols:
        grid = _grid(shape)
        parts = slices.newest(_readable(payloads))
        known = np.full(grid, -1, np.int32)
        strips: dict[int, np.ndarray] = {}
        arrived = np.zeros(grid, bool)
        for number, part in list(parts.items()):
            try:
                strip, mask, indices = self._read_slice(part, shape)
            except ChappeError:
                del parts[number]
                continue
            strips[number] = strip
            known[mask] = indices
            arrived |= slices.owners(*grid, part.count) == number
        if not parts:
            raise StreamError("every slice of the file is missing or damaged: nothing of the picture arrived")
        some = next(iter(parts.values()))
        void = get_taxonomy(self.taxonomy).void
        labels = join_strips(strips, some.count, some.scale, shape, self.classes - 1 if void is None else void)
        rows = slices.map_rows(parts, shape[0])[:, None]
        received = _pixels(arrived, shape) * np.uint8(TOKEN_RECEIVED) + rows * np.uint8(MAP_RECEIVED)
        mask = known >= 0
        return Symbols(mask, known[mask], labels, received.astype(np.uint8), None)

    def _read_slice(self, part: Slice, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grid = _grid(shape)
        strip = read_strip(part, shape, self.classes)
        rows = -(-shape[0] // part.scale)
        classes = alone(strip, slices.strip(part.number, part.count, rows), part.scale, rows, shape)
        own = slices.owners(*grid, part.count) == part.number
        return strip, *self.read_tokens(part.token_code, grid, classes=classes, candidates=own)


def _whole(values: dict, key: str, most: int) -> int:
    """A whole number 1 ... most out of the settings, 1 if not given; it is taken out of `values`."""
    value = values.get(key, 1)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or not 1 <= value <= most:
        raise UsageError(f"{key}={value!r} is not a whole number from 1 to {most}")
    return int(value)


def _grid(shape: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // CELL), -(-shape[1] // CELL)


def _pixels(cells: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) by cell -> (H, W) by pixel."""
    return np.repeat(np.repeat(cells, CELL, 0), CELL, 1)[: shape[0], : shape[1]]


def _readable(payloads: list[bytes]) -> list[Slice]:
    parts = []
    for payload in payloads:
        try:
            parts.append(slices.parse_slice(payload))
        except StreamError:
            continue
    return parts


def _is_prefix(found: list[SectionStatus]) -> bool:
    """Whether the file ends after a whole section, or what is cut or damaged in it comes after the first layer."""
    broken = next((i for i, status in enumerate(found) if not status.ok), len(found))
    return 0 < broken == len(found) or SectionType.IMAGE_TOKENS in [status.type for status in found[:broken]]


def _allowed(kinds: list[int]) -> bool:
    """What a strict reader asks of the types: known ones, or ancillary; one of each, unless it may repeat."""
    needed = [kind for kind in kinds if not kind & container.ANCILLARY]
    single = [kind for kind in kinds if kind not in container.REPEATABLE]
    return all(kind in set(SectionType) for kind in needed) and len(single) == len(set(single))
