"""SPIC with its one-pass receiver as a codec: a label map and a coarse picture in one file.

Rate control spends a share of the bytes on the map and finds the quality at which the coarse picture fills the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from chappe.bitstream import container
from chappe.bitstream.container import Section, SectionType
from chappe.codec import Decoded, OperatingPoint, describe
from chappe.errors import InputError, RateError, StreamError, UsageError
from chappe.nn.tiling import CELL, pad_to_cells, tiles
from chappe.systems.mapstream import MapCodec, MapCoder, check_header, decode_map, file_size
from chappe.systems.spic.coarse import FACTOR, decode_coarse, encode_coarse, shrink
from chappe.systems.spic.onepass import OnePass

__all__ = ["OnePassCodec", "load_folder", "load_onepass"]

WEIGHTS = Path(__file__).parents[2] / "weights" / "spic-onepass-street-v1"
KNOBS = ("bpp", "map", "map_share", "quality")


@dataclass(frozen=True)
class _Rate:
    """Either a total size in bytes or a fixed quality of the coarse picture."""

    total: float | None
    map_mode: str
    map_share: float | None = None
    quality: int | None = None


class OnePassCodec(MapCodec):
    """See `MapCodec`."""

    def __init__(self, name: str, codec_id: int, fingerprint: int, model: OnePass, settings: dict,
                 segment: Callable | None = None):  # fmt: skip
        config = model.config
        super().__init__(name, codec_id, fingerprint, settings, config.taxonomy, config.classes + 1, segment)
        self.model = model.eval().to(memory_format=torch.channels_last)

    def _sections(self, image: np.ndarray, labels: np.ndarray, rate: _Rate) -> list[Section]:
        return _Encoder(self, image, labels).sections(rate)

    def decode(self, blob: bytes) -> Decoded:
        header, sections = container.read(blob)
        check_header(self, self.fingerprint, header)
        by_type = {section.type: section.payload for section in sections}
        if SectionType.COARSE_IMAGE not in by_type:
            raise StreamError("the file has no coarse_image section; it is not a whole file of this model")
        shape = (header.height, header.width)
        labels = decode_map(by_type, shape, self.classes, self.taxonomy)
        if labels is None:
            raise StreamError("the file has no label-map section; it is not a whole file of this model")
        small = [-(-side // CELL) * CELL // FACTOR for side in shape]
        coarse = decode_coarse(by_type[SectionType.COARSE_IMAGE], *small)
        picture = self.restore(coarse, pad_to_cells(labels))
        image = np.ascontiguousarray(picture[: shape[0], : shape[1]])
        report, _ = describe(blob)
        return Decoded(image, labels, self.taxonomy, report)

    @torch.inference_mode()
    def restore(self, coarse: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Coarse picture (H/4, W/4, 3) uint8 and labels (H, W), H and W multiples of 16 -> picture (H, W, 3) uint8."""
        height, width = labels.shape
        out = np.empty((height, width, 3), np.uint8)
        step = CELL // FACTOR
        for outer, inner, core in tiles(height // CELL, width // CELL):
            part = coarse[tuple(slice(s.start * step, s.stop * step) for s in outer)]
            x = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float().div_(127.5).sub_(1.0)
            y = labels[tuple(slice(s.start * CELL, s.stop * CELL) for s in outer)].astype(np.int64)
            picture = self.model(x.contiguous(memory_format=torch.channels_last), torch.from_numpy(y)[None])
            pixels = picture[0].clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
            kept = pixels[tuple(slice(s.start * CELL, s.stop * CELL) for s in inner)]
            out[tuple(slice(s.start * CELL, s.stop * CELL) for s in core)] = kept
        return out

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
            return _Rate(total if "bpp" in values else None, mode, share, quality)
        return _Rate(total, mode, share)


class _Encoder:
    """One picture on its way into a file; every quality of the coarse picture is coded at most once."""

    def __init__(self, codec: OnePassCodec, image: np.ndarray, labels: np.ndarray):
        self.codec, self.shape = codec, labels.shape
        self.map = MapCoder(labels, codec.classes, codec.taxonomy, codec.settings.get("protect"))
        self.small = shrink(pad_to_cells(image))
        self._coded: dict[int, Section] = {}

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
        if quality not in self._coded:
            self._coded[quality] = Section(SectionType.COARSE_IMAGE, encode_coarse(self.small, quality))
        return self._coded[quality]

    def _fit(self, rate: _Rate) -> list[Section]:
        """Map first within its share, then the best coarse picture that fits; what it cannot use goes to the map."""
        target, pixels = rate.total, self.shape[0] * self.shape[1]
        share = rate.map_share or self.codec.map_share(target * 8 / pixels, rate.map_mode)
        tried: list[tuple[float, list[Section]]] = []

        def attempt(first: Section) -> float:
            sections = [first, self._fill(target - file_size(*self.shape, [first]))]
            tried.append((file_size(*self.shape, sections) - target, sections))
            return tried[-1][0]

        budget = share * target
        for _ in range(8):
            near = rate.map_mode == "near"
            gap = attempt(self.map.within(int(budget)) if near else self.map.lossless)
            grown = budget - gap * 1.05  # too long: the map gives way; too short: it takes the rest
            if not near or abs(gap) <= 0.02 * target or grown < 8 or int(grown) == int(budget):
                break
            budget = grown
        if tried[-1][0] < -0.02 * target and rate.map_mode == "near":
            attempt(self.map.lossless)  # between the finest near-lossless map and the exact one
        elif tried[-1][0] > 0.05 * target and rate.map_mode == "near":
            attempt(self.map.within(0))  # the smallest file there is
        gap, sections = min(tried, key=lambda item: abs(item[0]))
        if abs(gap) > 0.05 * target:
            low, high = ([self.map.within(0), self.coarse(0)], [self.map.lossless, self.coarse(100)])
            low, high = (file_size(*self.shape, s) * 8 / pixels for s in (low, high))
            raise RateError(
                f"{target * 8 / pixels:.4f} bpp is out of reach for {self.codec.name} on this {self.shape[1]}x"
                f"{self.shape[0]} picture: it reaches {low:.4f} to {high:.4f} bpp (the nearest file has "
                f"{file_size(*self.shape, sections) * 8 / pixels:.4f})"
            )
        return sections

    def _fill(self, room: float) -> Section:
        """The section of highest quality whose framed size stays within `room` bytes, or the next where that is nearer.

        Sizes grow nearly exponentially with quality, so the bracket is narrowed by interpolating their logarithms.
        """

        def size(quality: int) -> int:
            return container.section_size(len(self.coarse(quality).payload))

        low, high = 0, 100
        quality = 25
        if size(0) >= room:
            return self.coarse(0)
        while high - low > 1:
            if size(quality) <= room:
                low = quality
                if size(quality) > 0.985 * room:
                    break
            else:
                high = quality
            step = math.log(max(room, 1) / size(quality)) / 0.035  # about 3.5 % of bytes a unit
            quality = min(high - 1, max(low + 1, round(quality + step)))
        if size(low) < 0.97 * room and size(low + 1) - room < room - size(low):
            low += 1
        return self.coarse(low)


def load_onepass() -> OnePassCodec:
    """The bundled `spic-onepass-street` model, version 1."""
    return load_folder(WEIGHTS, "spic-onepass-street", 2)


def load_folder(folder: Path, name: str, codec_id: int) -> OnePassCodec:
    """A model folder as `chappe train onepass` writes it. Raises InputError where it is incomplete."""
    from chappe.systems.spic.config import OnePassConfig
    from chappe.training.export import fingerprint, load_model

    state, meta = load_model(folder)
    config = OnePassConfig.from_dict({k: v for k, v in meta["config"].items() if k != "kind"})
    model = OnePass(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise InputError(
            f"{folder}: the weights do not fit config.json (missing {missing[:3]}, unexpected {unexpected[:3]})"
        )
    return OnePassCodec(name, codec_id, fingerprint(folder), model, meta["codec"])
