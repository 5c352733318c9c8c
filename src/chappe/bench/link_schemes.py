"""The schemes that the link benchmark compares: digital, with trained parts, codecs of meaning, trivial ones.

A scheme is a name and a link on 2x2 Rayleigh fading. Schemes whose weights or libraries are not here are left out, and
the benchmark says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from chappe.bench.codecs import codec_version, open_codec
from chappe.codec import Decoded, StreamReport
from chappe.errors import UsageError
from chappe.image import read_image
from chappe.link.digital import DigitalLink, Reception
from chappe.link.learned.enhanced import enhanced
from chappe.link.learned.store import bundled, load_folder, read_parts
from chappe.link.picture import LOST_GREY, Link, PictureLink, Received
from chappe.modelfolder import read_weights

__all__ = ["ABLATIONS", "CODECS", "PLAIN", "SCHEMES", "FlatLink", "Scheme", "mutual_folder", "scsc", "symbols"]

CODECS = ("hevc", "jpeg", "jpeg2000")
PRECODERS = {
    "water-filling": {"precoder": "svd-waterfill"},
    "min-MSE + DFT": {"precoder": "svd-minmse+dft"},
    "no precoder, ML": {"precoder": "none", "detector": "ml"},
}
PLAIN = "{}, water-filling"
"""The plain digital scheme of papers, with its codec's name put in."""
MEANING_BPP = 0.04
ABLATIONS = {"": (), " w/o PPEN": ("ppen",), " w/o PCEN": ("pcen",), " w/o QA": ()}


@dataclass(frozen=True)
class Scheme:
    """name: as printed. make: the link at any SNR. version: what else decides its numbers: codecs, weights.

    against: the schemes that it is compared with. low: measured at low SNRs too. rated: it has a rate of its own, and
    is measured without a CBR. most: the largest CBR that it makes use of.
    """

    name: str
    make: Callable[[], Link]
    version: Callable[[], str]
    against: tuple[str, ...] = (PLAIN.format("hevc"),)
    low: bool = False
    rated: bool = False
    most: float = 1.0


class FlatLink(Link):
    """The trivial rivals, without error and without a channel use: "mean colour", "mid-grey", or the "original"."""

    def __init__(self, kind: str) -> None:
        self.name, self.radio = kind, DigitalLink()

    def on(self, radio: DigitalLink) -> FlatLink:
        """See `Link.on`: it is the same on every channel."""
        return self

    def transmit(self, image, *, cbr=None, seed: int = 0) -> Received:
        """See `Link.transmit`."""
        picture = read_image(image)
        height, width = picture.shape[:2]
        out = picture
        if self.name != "original":
            colour = picture.reshape(-1, 3).mean(0).round() if self.name == "mean colour" else LOST_GREY
            out = np.broadcast_to(np.uint8(colour), picture.shape).copy()
        shown = np.zeros(0, np.complex64)
        told = Reception(b"", False, 0, 0, 0.0, 0.0, 0, "complex", 0, None, "no channel", 0.0, shown)
        report = StreamReport(self.name, 0, 0, width, height, 0, ())
        return Received(Decoded(out, None, None, report), (told,), 0, height, width, self.radio, None)


def mutual_folder() -> Path:
    """The bundled folder that holds the mutual-information precoder. Raises UsageError where none does."""
    for name in ("mutual", "scsc"):
        try:
            folder = bundled(name)
        except UsageError:
            continue
        if "mutual" in _parts(folder)[1]:
            return folder
    return bundled("mutual")


@cache
def _parts(folder: Path) -> tuple:
    return read_parts(folder)


def _digest(folder: Path) -> str:
    return hashlib.sha256(read_weights(folder)).hexdigest()[:12]


def _radio(**options: object) -> DigitalLink:
    return DigitalLink("rayleigh2x2", **options)


def _codec_version(name: str) -> str:
    return codec_version(open_codec(name))


def _digital(codec: str, precoder: str) -> Scheme:
    def make() -> Link:
        return PictureLink(open_codec(codec), _radio(**PRECODERS[precoder]))

    base = PLAIN.format(codec)
    against = tuple(dict.fromkeys((PLAIN.format("hevc"), base)))
    return Scheme(f"{codec}, {precoder}", make, lambda: _codec_version(codec), against, low=codec == "hevc")


def _mutual(codec: str) -> Scheme:
    return _enhanced(codec, "mutual information, ML", mutual_folder, "mutual", "ml")


def _pcen(codec: str) -> Scheme:
    """The paper's PCEN, as printed, on its base (water-filling)."""
    return _enhanced(codec, "PCEN (literal)", lambda: bundled("pcen"), "pcen", "lmmse")


def _enhanced(codec: str, title: str, folder: Callable[[], Path], part: str, detector: str) -> Scheme:
    def make() -> Link:
        return PictureLink(open_codec(codec), enhanced(_radio(detector=detector), _parts(folder())[1][part]))

    def version() -> str:
        return f"{_codec_version(codec)} {_digest(folder())}"

    return Scheme(f"{codec}, {title}", make, version, _rivals(codec), low=codec == "hevc")


def _rivals(codec: str) -> tuple[str, ...]:
    """What a learned scheme with that codec has to beat: the paper's base, and the best closed form."""
    return tuple(dict.fromkeys((PLAIN.format("hevc"), PLAIN.format(codec), f"{codec}, no precoder, ML")))


def scsc(codec: str, ablation: str = "") -> Scheme:
    """SCSC with that codec, whole or without one of `ABLATIONS`; without PCEN on the paper's water-filling."""
    without = ABLATIONS[ablation]

    def folder() -> Path:
        path = bundled("scsc-noqa" if ablation == " w/o QA" else "scsc")
        if "ppen" not in _parts(path)[1]:
            raise UsageError(f"{path.name} has no PPEN: train it with chappe train link --system scsc.")
        return path

    def make() -> Link:
        from chappe.link.learned.scsc import ScscLink

        parts = _parts(folder())[1]
        radio = _radio(precoder="svd-waterfill")
        enhancer = None if "pcen" in without else parts.get("pcen") or parts.get("mutual")
        if enhancer is not None:
            radio = enhanced(replace(radio, detector="ml"), enhancer)
        return ScscLink(open_codec(codec), radio, None if "ppen" in without else parts["ppen"])

    def version() -> str:
        return f"{_codec_version(codec)} {_digest(folder())}"

    return Scheme(f"SCSC{ablation}, {codec}", make, version, _rivals(codec))


def symbols(system: str, title: str) -> Scheme:
    """A system that sends learned symbols, with its bundled weights."""

    def make() -> Link:
        return load_folder(bundled(system), _radio())

    return Scheme(title, make, lambda: _digest(bundled(system)), most=1 / 12)


def _meaning(codec: str, how: str) -> Scheme:
    """A file of 0.04 bpp at most: "filled", the lowest code rate that the CBR allows, or "adapted" to the SNR."""
    filled = how == "filled"

    def make() -> Link:
        return PictureLink(open_codec(codec), _radio(), bpp=MEANING_BPP, fill=filled, adapt=not filled)

    name = f"{codec} {MEANING_BPP:g} bpp, {how}"
    return Scheme(name, make, lambda: _codec_version(codec), low=True, rated=not filled, most=1.0 if filled else 0.0)


def _flat(kind: str) -> Scheme:
    return Scheme(kind, lambda: FlatLink(kind), lambda: "")


_MEANT = ("sqgan-street", "spic-onepass-street", "hevc", "hevc-half")
_ALL = (
    *(_digital(codec, precoder) for codec in CODECS for precoder in PRECODERS),
    *(_mutual(codec) for codec in CODECS),
    _pcen("hevc"),
    *(scsc(codec, ablation) for codec in CODECS for ablation in ABLATIONS),
    symbols("adjscc", "ADJSCC"),
    symbols("deepjscc-mimo", "DeepJSCC-MIMO"),
    symbols("proxynet", "ProxyNet"),
    *(_meaning(codec, how) for how in ("filled", "adapted") for codec in _MEANT),
    *map(_flat, ("mean colour", "mid-grey", "original")),
)
SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in _ALL}
