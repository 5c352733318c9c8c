"""(codec x point x picture) x (link x SNR x seed) to rows, which tables and figures of links are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from chappe.codec import Codec
from chappe.errors import RateError
from chappe.image import read_image
from chappe.link.adaptation import MCS, best_mcs, payload_limit, uses_budget
from chappe.link.digital import DigitalLink
from chappe.link.picture import PictureLink, Received, encode_within, open_codec, parse_cbr
from chappe.link.transport import parse_rate

__all__ = ["sweep"]


def sweep(
    codecs: Iterable[Codec | str],
    images: Mapping[str, Any],
    links: Mapping[str, DigitalLink],
    snrs: Sequence[float],
    *,
    cbrs: Sequence[str | float | Fraction],
    seeds: Sequence[int] = (0,),
    mcs: Sequence[MCS] | None = None,
    target: float = 0.1,
    measure: Callable[[np.ndarray, Received], Mapping[str, Any]] | None = None,
) -> Iterator[dict[str, Any]]:
    """One row a transmission, as JSON can hold it. Files are made once for each size and picture.

    images: name -> picture; links: name -> link, whose SNR is replaced by each of `snrs`. mcs: the choices of link
    adaptation for each SNR and CBR (`target`: share lost), None: the link's own. measure: (original (H, W, 3) uint8,
    Received) -> more columns; PSNR by default, of mid-grey where the picture was lost.

    Keys: codec, image, link, channel, snr_db, snr_definition, cbr_wanted, seed, modulation, rate, precoder, detector,
    reached (False: no file fits, and nothing below), bytes, bpp, channel_uses, cbr, lost, why, blocks, block_errors,
    undetected, ber, raw_ber, iterations, seconds (of link and decoding), and those of `measure`.
    """
    measure = measure or _psnr
    pictures = {name: read_image(image) for name, image in images.items()}
    for codec in (open_codec(c) if isinstance(c, str) else c for c in codecs):
        for image_name, image in pictures.items():
            files: dict[tuple, bytes | None] = {}
            for link_name, base in links.items():
                for cbr in map(parse_cbr, cbrs):
                    uses = uses_budget(cbr, image.shape[0] * image.shape[1])
                    for snr in snrs:
                        link = _adapted(replace(base, snr_db=snr), uses, mcs, target)
                        size = (uses, link.modulation, parse_rate(link.rate), link.streams)
                        if size not in files:
                            files[size] = _file(codec, image, link, uses)
                        head = {
                            "codec": codec.name, "image": image_name, "link": link_name, "channel": link.spec.name,
                            "snr_db": float(snr), "snr_definition": link.text, "cbr_wanted": float(cbr),
                            "modulation": link.modulation, "rate": str(parse_rate(link.rate)),
                            "precoder": link.precoder, "detector": link.detector,
                        }  # fmt: skip
                        for seed in seeds:
                            yield {**head, "seed": seed, **_row(codec, files[size], link, image, seed, measure)}


def _adapted(link: DigitalLink, uses: int, mcs: Sequence[MCS] | None, target: float) -> DigitalLink:
    """The link with its modulation and rate chosen for a payload of about that many uses."""
    if not mcs:
        return link
    try:
        size = payload_limit(link, uses)
    except RateError:
        size = 1
    chosen = best_mcs(link, size, target=target, table=mcs)
    return replace(link, modulation=chosen.modulation, rate=chosen.rate)


def _file(codec: Codec, image: np.ndarray, link: DigitalLink, uses: int) -> bytes | None:
    try:
        return encode_within(codec, image, link, uses)
    except RateError:
        return None


def _row(codec: Codec, blob: bytes | None, link: DigitalLink, image: np.ndarray, seed: int, measure) -> dict:
    if blob is None:
        return {"reached": False}
    start = time.perf_counter()
    out = PictureLink(codec, link).carry(blob, link, image.shape, seed)
    seconds = time.perf_counter() - start
    sizes = np.array([reception.size for reception in out.receptions], float)

    def mean(key: str) -> float:
        return float(np.average([getattr(reception, key) for reception in out.receptions], weights=sizes))

    return {
        "reached": True, "bytes": len(blob), "bpp": 8 * len(blob) / (image.shape[0] * image.shape[1]),
        "channel_uses": out.channel_uses, "cbr": out.cbr, "lost": out.lost, "why": out.why, "blocks": out.blocks,
        "block_errors": out.block_errors, "undetected": sum(r.undetected for r in out.receptions),
        "ber": mean("ber"), "raw_ber": mean("raw_ber"), "iterations": mean("iterations"), "seconds": seconds,
        **measure(image, out),
    }  # fmt: skip


def _psnr(original: np.ndarray, received: Received) -> dict[str, float | None]:
    from chappe.metrics.pixel import psnr

    value = psnr(original, received.image)
    return {"psnr": value if np.isfinite(value) else None}
