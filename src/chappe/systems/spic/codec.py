"""SPIC with its one-pass receiver as a codec: a label map and a coarse picture in one file.

Rate control spends a share of the bytes on the map and finds the quality at which the coarse picture fills the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chappe.bitstream import container
from chappe.bitstream.container import Section, SectionType
from chappe.codec import Decoded, OperatingPoint, describe
from chappe.errors import InputError, RateError, StreamError, UsageError
from chappe.nn.tiling import CELL, pad_to_cells
from chappe.systems.mapstream import (
    MAP_RECEIVED,
    MapCodec,
    MapCoder,
    check_header,
    decode_map,
    file_size,
    protect_weights,
)
from chappe.systems.rate import split_bytes
from chappe.systems.spic.coarse import FACTOR, decode_coarse, imagine, shrink, smooth
from chappe.systems.spic.restore import Restorer
from chappe.systems.spic.search import CoarseCoder

if TYPE_CHECKING:
    from chappe.backends import Backend
    from chappe.systems.spic.config import OnePassConfig

__all__ = ["OnePassCodec", "Sender", "load_folder", "load_onepass"]

WEIGHTS = Path(__file__).parents[2] / "weights"
KNOBS = ("bpp", "map", "map_share", "quality", "goal", "relevance")


@dataclass(frozen=True)
class _Rate:
    """Either a total size in bytes or a fixed quality of the coarse picture."""

    total: float | None
    map_mode: str
    map_share: float | None = None
    quality: int | None = None
    goal: str | None = None
    relevance: np.ndarray | None = None


class OnePassCodec(MapCodec):
    """See `MapCodec`."""

    def __init__(self, name: str, codec_id: int, fingerprint: int, engine: Restorer, settings: dict,
                 segment: Callable | None = None):  # fmt: skip
        config = engine.config
        super().__init__(name, codec_id, fingerprint, settings, config.taxonomy, config.classes + 1, segment)
        self.engine = engine

    def _sections(self, image: np.ndarray, labels: np.ndarray, rate: _Rate) -> list[Section]:
        return Sender(self, image, labels, rate.relevance).sections(rate)

    def decode(self, blob: bytes) -> Decoded:
        labels, coarse, by_type = self._received(blob)
        picture = self.engine.restore(coarse, pad_to_cells(labels))
        image = np.ascontiguousarray(picture[: labels.shape[0], : labels.shape[1]])
        report, _ = describe(blob)
        if SectionType.COARSE_IMAGE in by_type:
            return Decoded(image, labels, self.taxonomy, report)
        received = np.full(labels.shape, MAP_RECEIVED, np.uint8)
        return Decoded(image, labels, self.taxonomy, report, received, "no coarse picture: all colours are inferred")

    def _received(self, blob: bytes) -> tuple[np.ndarray, np.ndarray, dict[int, bytes]]:
        """Labels (H, W), the coarse picture of the padded sides, and the payload of each section, of a whole file."""
        header, sections = container.read(blob)
        check_header(self, self.fingerprint, header)
        by_type = {section.type: section.payload for section in sections}
        dropped = SectionType.COARSE_IMAGE not in by_type
        if dropped and "colours" not in self.settings:
            raise StreamError("the file has no coarse_image section; it is not a whole file of this model")
        shape = (header.height, header.width)
        labels = decode_map(by_type, shape, self.classes, self.taxonomy)
        if labels is None:
            raise StreamError("the file has no label-map section; it is not a whole file of this model")
        small = [-(-side // CELL) * CELL // FACTOR for side in shape]
        if dropped:  # every class in the colour it has on training frames
            return labels, imagine(pad_to_cells(labels), self.settings["colours"]), by_type
        return labels, decode_coarse(by_type[SectionType.COARSE_IMAGE], *small), by_type

    def _rate(self, pixels: int, bpp: float | None, point: OperatingPoint | str | None) -> _Rate:
        mode = self.settings["map"]
        if point is None:
            return _Rate((bpp if bpp is not None else self.settings["bpp"]) * pixels / 8, mode)
        values = dict(self.find_point(point).settings)
        unknown = set(values) - set(KNOBS)
        if unknown:
            raise UsageError(f"{self.name} has no setting {sorted(unknown)[0]!r}; it has {', '.join(KNOBS)}")
        mode = values.get("map", mode)
        if mode not in ("near", "lossless"):
            raise UsageError(f"map={mode!r} is not a way to send the map; use near or lossless")
        share = values.get("map_share")
        if share is not None and not 0 < float(share) < 1:
            raise UsageError(f"map_share={share} is not a share between 0 and 1")
        total = float(values.get("bpp", self.settings["bpp"])) * pixels / 8
        if "quality" in values:
            quality = int(values["quality"])
            if not 0 <= quality <= 100:
                raise UsageError(f"quality={values['quality']} is not a quality of the coarse picture, 0 to 100")
            total = total if "bpp" in values else None
        else:
            quality = None
        return _Rate(total, mode, share, quality, self.read_goal(values), self.read_relevance(values))


class Sender:
    """One picture on its way into a file; every quality of the coarse picture is coded at most once.

    `relevance` (classes,) in [0, 1]: what matters less is smoothed before it is coded, and its map simplified sooner.
    """

    def __init__(self, codec: OnePassCodec, image: np.ndarray, labels: np.ndarray, relevance: np.ndarray | None = None):
        self.codec, self.shape = codec, labels.shape
        protect = codec.settings.get("protect")
        if relevance is not None:
            protect = protect_weights(protect, relevance, codec.classes)

        def coarse() -> np.ndarray:
            small = shrink(pad_to_cells(image))
            return small if relevance is None else smooth(small, relevance[pad_to_cells(labels)])

        self._coarse = CoarseCoder(coarse)
        self.map = MapCoder(labels, codec.classes, codec.taxonomy, protect)

    def sections(self, rate: _Rate) -> list[Section]:
        if rate.quality is not None:
            coarse = self.coarse(rate.quality)
            if rate.map_mode == "lossless" or rate.total is None:
                return [self.map.lossless, coarse]
            room = rate.total - file_size(*self.shape, [coarse])
            return [self.map.within(max(0, int(room) - 4)), coarse]
        return self._fit(rate)

    def coarse(self, quality: int) -> Section:
        """The coarse picture's section at one quality."""
        return self._coarse.section(quality)

    def _fit(self, rate: _Rate) -> list[Section]:
        """Map first within its share, then the best coarse picture that fits; what it cannot use goes to the map."""
        target, pixels = rate.total, self.shape[0] * self.shape[1]
        share = rate.map_share or self.codec.map_share(target * 8 / pixels, rate.map_mode, rate.goal)
        # beside the map, which fills nine tenths of its share, as often as not
        self._coarse.begin(target - file_size(*self.shape, []) - 0.88 * share * target)
        near = rate.map_mode == "near"
        tried: list[list[Section]] = []

        def attempt(budget: int | None) -> tuple[int, list[Section]]:
            first = self.map.within(budget) if near and budget is not None else self.map.lossless
            tried.append([first, self.fill(target - file_size(*self.shape, [first]))])
            return file_size(*self.shape, tried[-1]), tried[-1]

        gap, sections = split_bytes(target, share * target, attempt, rounds=8 if near else 1, ladder=near)
        if abs(gap) > 0.05 * target:
            gap, sections = self._paired(tried, target)
        if abs(gap) > 0.05 * target:
            low, high = ([self.map.within(0), self.coarse(0)], [self.map.lossless, self.coarse(100)])
            low, high = (file_size(*self.shape, s) * 8 / pixels for s in (low, high))
            raise RateError(
                f"{target * 8 / pixels:.4f} bpp is out of reach for {self.codec.name} on this {self.shape[1]}x"
                f"{self.shape[0]} picture: it reaches {low:.4f} to {high:.4f} bpp (the nearest file has "
                f"{file_size(*self.shape, sections) * 8 / pixels:.4f})"
            )
        return sections

    def _paired(self, tried: list[list[Section]], target: float) -> tuple[float, list[Section]]:
        """Any map that was tried with any coarse picture: (bytes too many, sections) of the nearest to `target` bytes.

        At the lowest qualities AV1's sizes lie a tenth or more apart, and the splits may step over the target by turns.
        If none is near, the largest below a target that is within reach counts as if it filled it.
        """
        every = [[first, coarse] for first, _ in tried for _, coarse in tried]
        gaps = [file_size(*self.shape, sections) - target for sections in every]
        nearest = min(range(len(every)), key=lambda k: abs(gaps[k]))
        if abs(gaps[nearest]) > 0.05 * target and min(gaps) < 0 < max(gaps):
            nearest = max((k for k in range(len(every)) if gaps[k] < 0), key=gaps.__getitem__)
            return 0.0, every[nearest]
        return gaps[nearest], every[nearest]

    def fill(self, room: float) -> Section:
        """See `CoarseCoder.fill`."""
        return self._coarse.fill(room)


def load_onepass(backend: Backend | None = None) -> OnePassCodec:
    """The bundled `spic-onepass-street` model, version 2."""
    return load_folder(WEIGHTS / "spic-onepass-street-v2", "spic-onepass-street", 5, backend)


def load_onepass_v1(backend: Backend | None = None) -> OnePassCodec:
    """Version 1, for the files it wrote."""
    return load_folder(WEIGHTS / "spic-onepass-street-v1", "spic-onepass-street-v1", 2, backend)


def load_folder(folder: Path, name: str, codec_id: int, backend: Backend | None = None) -> OnePassCodec:
    """A model folder as `chappe train onepass` writes it. Raises InputError where it is incomplete.

    Without a `backend` torch runs the network.
    """
    from chappe.modelfolder import fingerprint, read_meta
    from chappe.systems.spic.config import OnePassConfig

    meta, weights = read_meta(folder), fingerprint(folder)
    config = OnePassConfig.from_dict({k: v for k, v in meta["config"].items() if k != "kind"})
    if backend is None:
        engine, segment = _torch_engine(folder, config), None
    else:
        engine, segment = Restorer(config, backend.networks(name, weights)), backend.segment
    return OnePassCodec(name, codec_id, weights, engine, meta["codec"], segment)


def _torch_engine(folder: Path, config: OnePassConfig) -> Restorer:
    from chappe.systems.spic.engine import Engine
    from chappe.systems.spic.onepass import OnePass, version_1_keys
    from chappe.training.export import load_model

    model, state = OnePass(config), load_model(folder)[0]
    missing, unexpected = model.load_state_dict(state if config.full else version_1_keys(state), strict=False)
    if missing or unexpected:
        raise InputError(
            f"{folder}: the weights do not fit config.json (missing {missing[:3]}, unexpected {unexpected[:3]})"
        )
    return Engine(model)
