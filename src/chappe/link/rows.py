"""(system x link x SNR x CBR x picture x seed) to rows, which tables and figures of links are made of."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from chappe.codec import Codec
from chappe.errors import RateError, UsageError
from chappe.image import read_image
from chappe.link.adaptation import MCS, best_mcs, payload_limit, uses_budget
from chappe.link.digital import DigitalLink
from chappe.link.picture import Link, PictureLink, Received, open_codec, parse_cbr
from chappe.link.transport import parse_rate

__all__ = ["sweep"]

Cbr = str | float | Fraction | None


def sweep(
    systems: Iterable[Link | Codec | str] | Mapping[str, Link | Codec | str],
    images: Mapping[str, Any],
    links: Mapping[str, DigitalLink] | None,
    snrs: Sequence[float],
    *,
    cbrs: Sequence[Cbr],
    seeds: Sequence[int] = (0,),
    mcs: Sequence[MCS] | None = None,
    target: float = 0.1,
    measure: Callable[[np.ndarray, Received], Mapping[str, Any]] | None = None,
) -> Iterator[dict[str, Any]]:
    """One row a transmission, as JSON can hold it; all systems meet the same fades at the same seed.

    systems: codecs and links of any kind, by name or by their own. images: name -> picture. links: name -> radio that
    every system is put on; None: each Link stays on its own. The SNR is replaced by each of `snrs`. cbrs: None is a
    system's own rate. mcs: the choices of link adaptation for each SNR and CBR (`target`: share lost), None: the
    link's own. measure: (original (H, W, 3) uint8, Received) -> more columns that depend on the pixels alone; PSNR by
    default, of mid-grey where the picture was lost.

    What does not depend on the fade is done once a picture: files (for each size), decoded files, measures of equal
    pixels. A network of symbols runs once a transmission.

    Keys: system, codec, image, link, channel, snr_db, snr_definition, cbr_wanted, modulation, rate, precoder,
    detector (what is None does not apply), seed, reached (False: no file fits, and nothing below), bytes, bpp,
    channel_uses, cbr, lost, why, blocks, block_errors, undetected, ber, raw_ber, iterations, seconds (of link and
    decoding), and those of `measure`.
    """
    named = _named(systems)
    for image_name, source in images.items():
        picture = _Picture(read_image(source), measure or _psnr)
        for name, system in named.items():
            for link_name, base in ({None: _radio_of(name, system)} if links is None else links).items():
                for cbr in (None if cbr is None else parse_cbr(cbr) for cbr in cbrs):
                    for snr in snrs:
                        radio = _adapted(replace(base, snr_db=snr), cbr, picture.image, mcs, target)
                        link = system.on(radio) if isinstance(system, Link) else PictureLink(system, radio)
                        head = {
                            "system": name, "image": image_name, "link": link_name, "channel": radio.spec.name,
                            "snr_db": float(snr), "snr_definition": radio.text,
                            "cbr_wanted": None if cbr is None else float(cbr),
                        }  # fmt: skip
                        for row in picture.rows(link, cbr, seeds):
                            yield head | row


def _named(systems: Iterable | Mapping) -> dict[str, Link | Codec]:
    if not isinstance(systems, Mapping):
        opened = [open_codec(system) if isinstance(system, str) else system for system in systems]
        return {system.name: system for system in opened}
    return {name: open_codec(system) if isinstance(system, str) else system for name, system in systems.items()}


def _radio_of(name: str, system: Link | Codec) -> DigitalLink:
    if not hasattr(system, "radio"):
        raise UsageError(f"{name} has no radio of its own: say over which links it is sent, or give a PictureLink.")
    return system.radio


def _adapted(
    link: DigitalLink, cbr: Fraction | None, image: np.ndarray, mcs: Sequence[MCS] | None, target: float
) -> DigitalLink:
    """The link with its modulation and rate chosen for a payload of about that many uses."""
    if not mcs:
        return link
    if cbr is None:
        raise UsageError("Link adaptation over a table of schemes needs a CBR; a PictureLink can adapt by itself.")
    try:
        size = payload_limit(link, uses_budget(cbr, image.shape[0] * image.shape[1]))
    except RateError:
        size = 1
    chosen = best_mcs(link, size, target=target, table=mcs)
    return replace(link, modulation=chosen.modulation, rate=chosen.rate)


class _Picture:
    """One picture, and what was made of it so far: files, decoded files, measures."""

    def __init__(self, image: np.ndarray, measure: Callable) -> None:
        self.image, self.measure = image, measure
        self.files: dict = {}
        self.decoded: dict = {}
        self.measured: dict[bytes, Mapping[str, Any]] = {}

    def rows(self, link: Link, cbr: Fraction | None, seeds: Sequence[int]) -> Iterator[dict]:
        """A row for each seed."""
        if isinstance(link, PictureLink):
            yield from self._digital(link, cbr, seeds)
            return
        head = {"codec": None, "modulation": None, "rate": None, "precoder": None, "detector": None}
        for seed in seeds:
            start = time.perf_counter()
            try:
                out = link.transmit(self.image, cbr=cbr, seed=seed)
            except RateError:
                yield {**head, "seed": seed, "reached": False}
            else:
                yield {**head, "seed": seed, **self._row(out, time.perf_counter() - start)}

    def _digital(self, link: PictureLink, cbr: Fraction | None, seeds: Sequence[int]) -> Iterator[dict]:
        blob = None
        try:
            blob, radio = link.pack(self.image, cbr=cbr, files=self.files)
        except RateError:
            radio = link.radio
        head = {
            "codec": link.codec.name, "modulation": radio.modulation, "rate": str(parse_rate(radio.rate)),
            "precoder": type(radio.enhancer).__name__ if hasattr(radio, "enhancer") else radio.precoder,
            "detector": radio.detector,
        }  # fmt: skip
        for seed in seeds:
            if blob is None:
                yield {**head, "seed": seed, "reached": False}
                continue
            start = time.perf_counter()
            out = link.carry(blob, radio, self.image.shape, seed, decoded=self.decoded)
            yield {**head, "seed": seed, **self._row(out, time.perf_counter() - start)}

    def _row(self, out: Received, seconds: float) -> dict:
        sizes = np.array([max(1, reception.size) for reception in out.receptions], float)

        def mean(key: str) -> float:
            return float(np.average([getattr(reception, key) for reception in out.receptions], weights=sizes))

        return {
            "reached": True, "bytes": out.sent_bytes, "bpp": 8 * out.sent_bytes / (out.height * out.width),
            "channel_uses": out.channel_uses, "cbr": out.cbr, "lost": out.lost, "why": out.why, "blocks": out.blocks,
            "block_errors": out.block_errors, "undetected": sum(r.undetected for r in out.receptions),
            "ber": mean("ber"), "raw_ber": mean("raw_ber"), "iterations": mean("iterations"), "seconds": seconds,
            **self._measures(out),
        }  # fmt: skip

    def _measures(self, out: Received) -> Mapping[str, Any]:
        key = hashlib.sha256(np.ascontiguousarray(out.image)).digest()
        if key not in self.measured:
            self.measured[key] = self.measure(self.image, out)
        return self.measured[key]


def _psnr(original: np.ndarray, received: Received) -> dict[str, float | None]:
    from chappe.metrics.pixel import psnr

    value = psnr(original, received.image)
    return {"psnr": value if np.isfinite(value) else None}
