"""SQ-GAN as a codec: a picture becomes a file of two sections, the label map and the picture's tokens.

The map travels as tokens of G_s (`map=tokens`, the paper) or through the near-lossless label-map coder
(`map=near`); the picture always as tokens of G_x. Rate control spends a share of the bytes on the map and fills
the rest with the most relevant tokens, counting the real coded bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from chappe.bitstream import container, tokens
from chappe.bitstream.container import Header, Section, SectionType
from chappe.codec import Decoded, OperatingPoint, describe
from chappe.errors import RateError, StreamError, UsageError
from chappe.nn.tiling import CELL, pad_to_cells
from chappe.systems.mapstream import MapCodec, MapCoder, check_header, decode_map, file_size
from chappe.systems.rate import split_bytes
from chappe.systems.sqgan.analysis import Analysis, TiledEngine

__all__ = ["ReadingCodec", "SQGANCodec"]


@dataclass(frozen=True)
class _Rate:
    """What to aim for: either a total size in bytes or fixed masking fractions."""

    total: float | None
    map_mode: str
    map_share: float | None = None
    m_s: float | None = None
    m_x: float | None = None


class SQGANCodec(MapCodec):
    """See `MapCodec`. `priors` are the index statistics that the token coder starts from, by stream."""

    knobs: tuple[str, ...] = ("map", "m_s", "m_x", "map_share", "bpp")

    def __init__(self, name: str, codec_id: int, fingerprint: int, engine: TiledEngine, settings: dict,
                 priors: dict[str, np.ndarray], segment: Callable | None = None):  # fmt: skip
        config = engine.config
        super().__init__(name, codec_id, fingerprint, settings, config.taxonomy, config.map_channels, segment)
        self.engine, self.priors = engine, priors
        self.levels = {"map": config.map.codes, "image": config.image.codes}

    def _sections(self, image: np.ndarray, labels: np.ndarray, rate: _Rate) -> list[Section]:
        return _Encoder(self, image, labels).sections(rate)

    def decode(self, blob: bytes) -> Decoded:
        header, sections = container.read(blob)
        check_header(self, self.fingerprint, header)
        by_type = {section.type: section.payload for section in sections}
        if SectionType.IMAGE_TOKENS not in by_type:
            raise StreamError("the file has no image_tokens section; it is not a whole file of this model")
        grid = (-(-header.height // CELL), -(-header.width // CELL))
        labels, map_cells = self._decode_map(by_type, grid, header)
        mask, indices = tokens.decode_grid(
            by_type[SectionType.IMAGE_TOKENS], grid, self.levels["image"], self.priors.get("image")
        )
        picture = self.engine.restore_image(mask, indices, pad_to_cells(labels))
        image = np.ascontiguousarray(picture[: header.height, : header.width])
        report, _ = describe(blob)
        if map_cells is not None:
            report = replace(report, bpp_nominal=self._nominal(mask, map_cells))
        return Decoded(image, labels, self.taxonomy, report)

    def kept_tokens(self, blob: bytes) -> np.ndarray:
        """(H/16, W/16) bool: the cells whose token SAMM kept in this file's picture stream (SQ-GAN fig. 7)."""
        header, sections = container.read(blob)
        check_header(self, self.fingerprint, header)
        grid = (-(-header.height // CELL), -(-header.width // CELL))
        payload = next((s.payload for s in sections if s.type == SectionType.IMAGE_TOKENS), b"")
        return tokens.decode_grid(payload, grid, self.levels["image"], self.priors.get("image"))[0]

    def _decode_map(
        self, by_type: dict[int, bytes], grid: tuple[int, int], header: Header
    ) -> tuple[np.ndarray, int | None]:
        """Labels (H, W) uint8, and the number of map tokens where the map came as tokens."""
        shape = (header.height, header.width)
        labels = decode_map(by_type, shape, self.classes, self.taxonomy)
        if labels is not None:
            return labels, None
        if SectionType.MAP_TOKENS in by_type:
            mask, indices = self._read_map_tokens(by_type[SectionType.MAP_TOKENS], grid)
            labels = self.engine.restore_map(mask, indices)[: shape[0], : shape[1]]
            return np.ascontiguousarray(labels), int(mask.sum())
        raise StreamError("the file has no label-map section; it is not a whole file of this model")

    def _read_map_tokens(self, data: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Mask (h, w) and indices of the map's tokens."""
        return tokens.decode_grid(data, shape, self.levels["map"], self.priors.get("map"))

    def _nominal(self, mask: np.ndarray, map_cells: int) -> float:
        """SQ-GAN eq. (2) at the fractions this file uses: K (1 + m log2 J) bits a stream over the pixels of K cells."""
        cells = mask.size
        counts = {"map": map_cells, "image": int(mask.sum())}
        bits = sum(cells + n * float(np.log2(self.levels[which])) for which, n in counts.items())
        return bits / (cells * CELL * CELL)

    def _rate(self, pixels: int, bpp: float | None, point: OperatingPoint | str | None) -> _Rate:
        mode = self.settings["map"]
        if point is not None:
            values = dict(self.find_point(point).settings)
            unknown = set(values) - set(self.knobs)
            if unknown:
                raise UsageError(f"{self.name} has no setting {sorted(unknown)[0]!r}; it has {', '.join(self.knobs)}")
            mode = values.get("map", mode)
            if mode not in ("tokens", "near", "lossless"):
                raise UsageError(f"map={mode!r} is not a way to send the map; use tokens, near or lossless")
            for key in ("m_s", "m_x", "map_share"):
                if key in values and not 0 < float(values[key]) <= 1:
                    raise UsageError(f"{key}={values[key]} is not a fraction above 0 and up to 1")
            if "m_x" in values:
                return _Rate(None, mode, m_s=float(values.get("m_s", 0.55)), m_x=float(values["m_x"]))
            bpp = float(values.get("bpp", self.settings["bpp"]))
            return _Rate(bpp * pixels / 8, mode, map_share=values.get("map_share"))
        return _Rate((bpp if bpp is not None else self.settings["bpp"]) * pixels / 8, mode)


class ReadingCodec(SQGANCodec):
    """A version kept for the files it wrote, without the arrays that only its sender needed."""

    def encode(self, image, *, labels=None, bpp=None, point=None) -> bytes:
        """Raises UsageError: nothing writes with this version any more."""
        raise UsageError(f"{self.name} is kept for reading the files it wrote: write with sqgan-street")


class _Encoder:
    """One picture on its way into a file; the networks run once, however many sizes are tried."""

    def __init__(self, codec: SQGANCodec, image: np.ndarray, labels: np.ndarray):
        self.codec, self.labels = codec, labels
        self.pixels = labels.size
        padded = pad_to_cells(labels)
        self.image = codec.engine.analyse_image(pad_to_cells(image), padded)
        self._padded = padded
        self._map_tokens: Analysis | None = None
        self.map = MapCoder(labels, codec.classes, codec.taxonomy, codec.settings.get("protect"))

    def sections(self, rate: _Rate) -> list[Section]:
        if rate.total is None:
            cells = self.image.scores.size
            first = self._map_section(rate.map_mode, fraction=rate.m_s)
            return [first, self._image(max(1, int(rate.m_x * cells)))]
        return self._fit(rate)

    def _fit(self, rate: _Rate) -> list[Section]:
        """Map first within its share, then as many tokens as fit; what tokens cannot use goes back to the map."""
        target = rate.total
        bpp = target * 8 / self.pixels
        share = rate.map_share or self.codec.map_share(bpp, rate.map_mode)

        def attempt(budget: int | None) -> tuple[int, list[Section]]:
            first = self.map.lossless if budget is None else self._map_section(rate.map_mode, max_bytes=budget)
            sections = [first, self._fill(target - self._size([first]))]
            return self._size(sections), sections

        ladder = rate.map_mode == "near"
        gap, sections = split_bytes(target, share * target, attempt, rounds=4, ladder=ladder)
        if abs(gap) > 0.05 * target:
            low, high = self._range(rate.map_mode)
            height, width = self.labels.shape
            raise RateError(
                f"{bpp:.4f} bpp is out of reach for {self.codec.name} on this {width}x{height} picture: it reaches "
                f"{low:.4f} to {high:.4f} bpp (the nearest file has {self._size(sections) * 8 / self.pixels:.4f})"
            )
        return sections

    def _range(self, mode: str) -> tuple[float, float]:
        low = self._size([self._map_section(mode, max_bytes=0), self._image(1)])
        high = self._size([self._map_section("tokens" if mode == "tokens" else "lossless", fraction=1.0),
                           self._image(self.image.scores.size)])  # fmt: skip
        return low * 8 / self.pixels, high * 8 / self.pixels

    def _map_section(self, mode: str, *, max_bytes: int | None = None, fraction: float | None = None) -> Section:
        codec = self.codec
        if mode == "tokens":
            if self._map_tokens is None:
                self._map_tokens = codec.engine.analyse_map(self._padded)
            cells = self._map_tokens.scores.size
            if max_bytes is None:
                return self._tokens("map", self._map_tokens, max(1, int(fraction * cells)))
            count = _largest(lambda n: len(self._tokens("map", self._map_tokens, n).payload), cells, max_bytes)
            return self._tokens("map", self._map_tokens, count)
        if mode == "near" and max_bytes is not None:
            return self.map.within(max_bytes)
        return self.map.lossless

    def _image(self, count: int) -> Section:
        return self._tokens("image", self.image, count)

    def _tokens(self, which: str, analysis: Analysis, count: int) -> Section:
        mask, indices = analysis.best(count)
        payload = tokens.encode_grid(mask, indices, self.codec.levels[which], self.codec.priors.get(which))
        return Section(SectionType.MAP_TOKENS if which == "map" else SectionType.IMAGE_TOKENS, payload)

    def _size(self, sections: list[Section]) -> int:
        """Bytes of a file with these sections."""
        return file_size(*self.labels.shape, sections)

    def _fill(self, room: float) -> Section:
        """The picture's section with the most tokens whose framed size stays within `room` bytes (at least one)."""
        cells = self.image.scores.size
        count = _largest(lambda n: container.section_size(len(self._image(n).payload)), cells, room)
        return self._image(count)


def _largest(size_of: Callable[[int], int], most: int, room: float) -> int:
    """Largest n in 1..most with size_of(n) <= room (1 if none), for a size that grows nearly linearly."""
    low, high = 1, most
    size_low, size_high = size_of(low), size_of(high)
    if size_high <= room:
        return high
    if size_low >= room:
        return low
    while high - low > 1:
        guess = low + (high - low) * (room - size_low) / max(1, size_high - size_low)
        middle = min(high - 1, max(low + 1, int(guess)))
        size = size_of(middle)
        if size <= room:
            low, size_low = middle, size
            if size >= room - 2:
                break
        else:
            high, size_high = middle, size
    return low
