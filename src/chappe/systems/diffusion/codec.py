"""SPIC, C-SPIC and GESCO as codecs: a label map, perhaps a coarse picture and a residual, and the seed of the noise.

SPIC's sender is that of the one-pass codec; what differs is who draws. C-SPIC is SPIC with a residual section.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chappe.bitstream import container
from chappe.bitstream.container import Section, SectionType
from chappe.codec import Decoded, OperatingPoint, describe
from chappe.errors import RateError, StreamError, UsageError
from chappe.nn.tiling import pad_to_cells
from chappe.systems.diffusion import residual
from chappe.systems.diffusion.config import Sampling
from chappe.systems.diffusion.noise import pack_seed, unpack_seed
from chappe.systems.diffusion.wire import (
    pack_classes,
    pack_sampling,
    parse_classes,
    unpack_classes,
    unpack_sampling,
)
from chappe.systems.mapstream import MapCodec, MapCoder, check_header, decode_map, file_size
from chappe.systems.spic.coarse import decode_coarse
from chappe.systems.spic.codec import OnePassCodec, Sender

if TYPE_CHECKING:
    from chappe.systems.diffusion.engine import Engine

__all__ = ["GescoCodec", "SpicCodec", "load_folder"]

WEIGHTS = Path(__file__).parents[2] / "weights" / "diffusion-street-v1"
IDS = {"spic": ("spic-street", 6), "cspic": ("cspic-street", 6), "gesco": ("gesco-street", 7)}
_DRAWING = ("sampler", "steps", "begin", "start", "guidance", "seed")
_RESIDUAL_QUALITY = 40  # where no rate is asked for
_RESIDUAL_SHARE = 0.4  # of the bytes, at most
CSPIC_CLASSES = ("SignSymbol", "Pedestrian", "Bicyclist")


@dataclass(frozen=True)
class _Drawing:
    """What the file tells the receiver: how to sample, from which noise, and whether that is the model's default."""

    sampling: Sampling
    seed: int
    default: bool

    def sections(self) -> list[Section]:
        seed = [Section(SectionType.NOISE_SEED, pack_seed(self.seed))]
        return seed if self.default else [*seed, Section(SectionType.PARAMETERS, pack_sampling(self.sampling))]


def _drawing(codec, values: dict) -> _Drawing:
    """Take the knobs of the sampler out of `values`."""
    mine = {k: values.pop(k) for k in _DRAWING if k in values}
    usual = codec.sampling
    sampling = usual.with_settings(mine, codec.settings["guidance_form"])
    try:
        seed = int(mine.get("seed", 0))
    except ValueError as error:
        raise UsageError(f"seed={mine['seed']!r} is not a number") from error
    return _Drawing(sampling, seed, sampling == usual)


def _told(codec, by_type: dict[int, bytes]) -> tuple[Sampling, int]:
    """Sampling and seed of a file."""
    if SectionType.NOISE_SEED not in by_type:
        raise StreamError("the file has no noise_seed section; it is not a whole file of this model")
    seed = unpack_seed(by_type[SectionType.NOISE_SEED])
    if SectionType.PARAMETERS in by_type:
        return unpack_sampling(by_type[SectionType.PARAMETERS]), seed
    return codec.sampling, seed


class _Drawn:
    """What codecs that draw have beside their `settings`."""

    @property
    def sampling(self) -> Sampling:
        """How files are drawn that say nothing of it."""
        return Sampling(**self.settings["sampling"])


@dataclass(frozen=True)
class _SpicRate:
    base: object  # what OnePassCodec makes of the rest
    drawing: _Drawing
    classes: tuple[int, ...]  # what matters most first
    quality: int | None  # of the residual; None: what its share of the bytes allows


class SpicCodec(_Drawn, OnePassCodec):
    """Map and coarse picture; the network of SemCoRe draws. `classes=SignSymbol+Pedestrian` adds C-SPIC's residual."""

    engine: Engine

    def decode(self, blob: bytes) -> Decoded:
        labels, coarse, by_type = self._received(blob)
        sampling, seed = _told(self, by_type)
        known = self._known(by_type, labels) if SectionType.RESIDUAL in by_type else None
        image = self.engine.draw(_planes(labels, self.engine), sampling, seed, coarse, known)
        return Decoded(image, labels, self.taxonomy, describe(blob)[0])

    def _known(self, by_type: dict[int, bytes], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classes, payload = unpack_classes(by_type[SectionType.RESIDUAL], self.classes)
        mask = residual.shape_mask(pad_to_cells(labels), classes)
        sent, picture = residual.decode_residual(payload, mask, residual.lay_out(mask))
        height, width = labels.shape
        return sent[:height, :width], picture[:height, :width]

    def _rate(self, pixels: int, bpp: float | None, point: OperatingPoint | str | None) -> _SpicRate:
        from chappe.taxonomy import get_taxonomy

        name, values = "custom", {}
        if point is not None:
            found = self.find_point(point)
            name, values = found.name, dict(found.settings)
        drawing = _drawing(self, values)
        names = get_taxonomy(self.taxonomy).classes
        usual = "+".join(self.settings.get("classes", ()))
        classes = parse_classes(str(values.pop("classes", usual)), tuple(names)[: self.classes - 1])
        quality = values.pop("residual_quality", None)
        if quality is not None and quality not in range(101):
            raise UsageError(f"residual_quality={quality} is not a quality, a whole number from 0 to 100")
        base = super()._rate(pixels, bpp, None if point is None else OperatingPoint(name, values))
        return _SpicRate(base, drawing, classes, quality)

    def _sections(self, image: np.ndarray, labels: np.ndarray, rate: _SpicRate) -> list[Section]:
        extra = rate.drawing.sections()
        sender = Sender(self, image, labels)

        def fit(more: list[Section]) -> list[Section]:
            if rate.base.total is None:
                return sender.sections(rate.base)
            bytes_ = sum(container.section_size(len(s.payload)) for s in more)
            return sender.sections(replace(rate.base, total=max(1.0, rate.base.total - bytes_)))

        base = fit(extra)
        detail = self._residual(image, labels.shape, base, rate)
        if detail is None:
            return [*base, *extra]
        if rate.base.total is None or rate.base.quality is not None:
            return [*base, detail, *extra]
        base = fit([*extra, detail])  # the map made room, so that its borders moved
        detail = self._residual(image, labels.shape, base, rate)
        if detail is None:
            return [*base, *extra]
        room = rate.base.total - file_size(*labels.shape, [base[0], detail, *extra])
        return [base[0], sender.fill(room), detail, *extra]

    def _residual(self, image: np.ndarray, shape: tuple[int, int], base: list[Section], rate: _SpicRate):
        """The section of the residual behind a map and a coarse picture as they are sent.

        Where a rate is asked for it takes at most its share of that: classes that do not fit are left out, the last
        named first. None where nothing is left, or none of the classes is in the map.
        """
        received = pad_to_cells(decode_map({s.type: s.payload for s in base}, shape, self.classes, self.taxonomy))
        padded = pad_to_cells(image)
        small = [side // 4 for side in padded.shape[:2]]
        coarse = decode_coarse(next(s.payload for s in base if s.type == SectionType.COARSE_IMAGE), *small)
        most = math.inf if rate.base.total is None else _RESIDUAL_SHARE * rate.base.total
        for count in range(len(rate.classes), 0, -1):
            classes = tuple(sorted(rate.classes[:count]))
            mask = residual.shape_mask(received, classes)
            sheet = residual.lay_out(mask)
            if sheet is None:
                continue

            def coded(quality: int, mask=mask, sheet=sheet, classes=classes) -> Section:
                payload = residual.encode_residual(padded, coarse, mask, sheet, quality)
                return Section(SectionType.RESIDUAL, pack_classes(classes, self.classes) + payload)

            if rate.quality is not None or rate.base.total is None:
                qualities = [_RESIDUAL_QUALITY if rate.quality is None else rate.quality]
            else:
                qualities = list(range(0, 61, 10))
            found = _best_within(coded, qualities, most)
            if found is not None:
                return found
        return None


def _best_within(coded: Callable[[int], Section], qualities: list[int], most: float) -> Section | None:
    """The section of the highest of rising `qualities` that stays within `most` bytes; None where none does."""
    low, high, best = 0, len(qualities) - 1, None
    while low <= high:
        middle = (low + high + 1) // 2
        section = coded(qualities[middle])
        if container.section_size(len(section.payload)) <= most:
            best, low = section, middle + 1
        else:
            high = middle - 1
    return best


@dataclass(frozen=True)
class _GescoRate:
    total: float | None  # bytes; None: the exact map
    drawing: _Drawing
    asked: bool = True  # for that rate; else it is the default, and the nearest file will do


class GescoCodec(_Drawn, MapCodec):
    """The label map alone, through our map coder, and a seed: GESCO over any digital link."""

    def __init__(self, name: str, codec_id: int, fingerprint: int, engine: Engine, settings: dict,
                 segment: Callable | None = None):  # fmt: skip
        config = engine.config
        super().__init__(name, codec_id, fingerprint, settings, config.taxonomy, config.classes + 1, segment)
        self.engine = engine

    def decode(self, blob: bytes) -> Decoded:
        header, sections = container.read(blob)
        check_header(self, self.fingerprint, header)
        by_type = {section.type: section.payload for section in sections}
        labels = decode_map(by_type, (header.height, header.width), self.classes, self.taxonomy)
        if labels is None:
            raise StreamError("the file has no label-map section; it is not a whole file of this model")
        sampling, seed = _told(self, by_type)
        if sampling.begin < 1000:
            raise StreamError("the file starts from a coarse picture, and this model's files have none: it is damaged")
        image = self.engine.draw(_planes(labels, self.engine), sampling, seed)
        return Decoded(image, labels, self.taxonomy, describe(blob)[0])

    def _rate(self, pixels: int, bpp: float | None, point: OperatingPoint | str | None) -> _GescoRate:
        values = {} if point is None else dict(self.find_point(point).settings)
        drawing = _drawing(self, values)
        if drawing.sampling.begin < 1000:
            raise UsageError("begin starts from a coarse picture, and gesco sends none: leave it at 1000")
        unknown = set(values) - {"bpp", "map"}
        if unknown:
            known = ", ".join(("bpp", "map", *_DRAWING))
            raise UsageError(f"{self.name} has no setting {sorted(unknown)[0]!r}; it has {known}")
        mode = values.get("map", "near" if "bpp" in values or bpp is not None else self.settings["map"])
        if mode not in ("near", "lossless"):
            raise UsageError(f"map={mode!r} is not a way to send the map; use near or lossless")
        if mode == "lossless":
            return _GescoRate(None, drawing)
        wanted = bpp if bpp is not None else float(values.get("bpp", self.settings["bpp"]))
        return _GescoRate(wanted * pixels / 8, drawing, bpp is not None or "bpp" in values)

    def _sections(self, image: np.ndarray, labels: np.ndarray, rate: _GescoRate) -> list[Section]:
        coder = MapCoder(labels, self.classes, self.taxonomy, self.settings.get("protect"))
        extra = rate.drawing.sections()
        if rate.total is None:
            return [coder.lossless, *extra]
        around = file_size(*labels.shape, extra) + 4
        sections = [coder.within(max(0, int(rate.total - around))), *extra]
        size = file_size(*labels.shape, sections)
        exact = sections[0].type == SectionType.MAP_LOSSLESS
        if rate.asked and (size > 1.05 * rate.total or (exact and size < 0.95 * rate.total)):
            bpp = [8 * file_size(*labels.shape, [s, *extra]) / labels.size for s in (coder.within(0), coder.lossless)]
            raise RateError(
                f"{8 * rate.total / labels.size:.4f} bpp is out of reach for {self.name} on this {labels.shape[1]}x"
                f"{labels.shape[0]} picture: its map takes {bpp[0]:.4f} to {bpp[1]:.4f} bpp"
            )
        return sections


def load_spic() -> SpicCodec:
    """The bundled `spic-street`."""
    return load_folder(WEIGHTS, "spic")


def load_cspic() -> SpicCodec:
    """`spic-street` with the pixels of signs, people and cyclists in its files, unless told otherwise."""
    return load_folder(WEIGHTS, "cspic")


def load_gesco() -> GescoCodec:
    """The bundled `gesco-street`."""
    return load_folder(WEIGHTS, "gesco")


def load_folder(folder: Path | str, system: str = "spic", name: str | None = None, codec_id: int | None = None):
    """The codec `spic`, `cspic` or `gesco` over a model folder as `chappe train diffusion` writes it.

    Raises UsageError for another system, InputError for an incomplete folder.
    """
    from chappe.modelfolder import fingerprint
    from chappe.systems.diffusion.engine import load_engine

    if system not in IDS:
        raise UsageError(f"There is no diffusion system {system!r}; there are {', '.join(IDS)}.")
    engine, meta = load_engine(Path(folder))
    usual = IDS[system]
    make = GescoCodec if system == "gesco" else SpicCodec
    settings = meta["codec"]["gesco" if system == "gesco" else "spic"]
    if system == "cspic":
        settings = settings | {"classes": CSPIC_CLASSES}
    return make(name or usual[0], codec_id or usual[1], fingerprint(Path(folder)), engine, settings)


def _planes(labels: np.ndarray, engine: Engine) -> np.ndarray:
    from chappe.systems.diffusion.engine import map_planes

    return map_planes(labels, engine.config)
