"""GESCO over its own analog channel, and the full picture over the same one, as links.

The analog map is an expansion: one real value a pixel and class. Its CBR says so; compare it with `GescoCodec` over a
`chappe.link.DigitalLink`, which sends the same map in a few hundred bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chappe.codec import Decoded, StreamReport
from chappe.errors import RateError
from chappe.image import read_image, read_labels
from chappe.link.digital import Reception
from chappe.link.picture import Link, Received, parse_cbr
from chappe.systems.diffusion.channel import channel_uses, full_image, noise_sigma, send_map
from chappe.systems.diffusion.config import GESCO_DEFAULTS, Sampling
from chappe.systems.diffusion.engine import Engine, map_planes
from chappe.systems.mapstream import check_sides

if TYPE_CHECKING:
    from collections.abc import Callable

    from chappe.codec import ImageSource

__all__ = ["FullImageLink", "GescoLink"]

SNR_TEXT = "PSNR = P/sigma^2 of GESCO eq. (1): power 1 over the values sent, real Gaussian noise on each"


@dataclass(frozen=True)
class _Analog:
    """What an analog link and its result say of themselves."""

    psnr_db: float
    table: str = "formula"

    @property
    def sigma(self) -> float:
        return noise_sigma(self.psnr_db, self.table)


def _received(
    link, analog: _Analog, shape: tuple[int, int], image: np.ndarray, labels, taxonomy, uses: int
) -> Received:
    report = StreamReport(link.name, -1, 0, shape[1], shape[0], 0, ())
    reception = Reception(
        payload=b"", undetected=False, blocks=0, block_errors=0, ber=0.0, raw_ber=0.0, channel_uses=uses,
        unit="complex", size=0, snr_db=float(analog.psnr_db), text=SNR_TEXT, iterations=0.0,
        constellation=np.zeros(0, np.complex64),
    )  # fmt: skip
    return Received(Decoded(image, labels, taxonomy, report), (reception,), 0, *shape, link, None)


def _within(uses: int, cbr, shape: tuple[int, int], name: str) -> None:
    if cbr is not None and uses > parse_cbr(cbr) * 3 * shape[0] * shape[1]:
        raise RateError(
            f"{name} takes {uses / (3 * shape[0] * shape[1]):.3f} channel uses a sample on this picture, and "
            "cannot take fewer: allow a larger CBR or send the map digitally"
        )


class GescoLink(Link):
    """`gesco-analog`: present-class planes at unit power, noise, fast denoising, diffusion.

    table: `formula` or `gesco`; power: `unit` or `none`; fds: the denoising block. segment: stands in for the built-in
    segmenter. sampling: default that of the codec. rival: draws from hard labels instead of the network, e.g. a SPADE
    generator: (labels (H, W) uint8) -> (H, W, 3) uint8.
    """

    name = "gesco-analog"

    def __init__(self, engine: Engine, *, psnr_db: float = 10.0, table: str = "formula", power: str = "unit",
                 fds: bool = True, sampling: Sampling | None = None, segment: Callable | None = None,
                 rival: Callable[[np.ndarray], np.ndarray] | None = None):  # fmt: skip
        self.engine, self.analog, self.power, self.fds = engine, _Analog(psnr_db, table), power, fds
        self.sampling = sampling or Sampling(**GESCO_DEFAULTS["sampling"])
        self._segment, self.rival = segment, rival

    def at(self, psnr_db: float) -> GescoLink:
        """The same link on another channel."""
        other = GescoLink.__new__(GescoLink)
        other.__dict__ = {**self.__dict__, "analog": replace(self.analog, psnr_db=psnr_db)}
        return other

    def transmit(self, image: ImageSource, *, cbr=None, seed: int = 0, labels: ImageSource | None = None,
                 edges: np.ndarray | None = None) -> Received:  # fmt: skip
        """See `Link.transmit`; `labels` (or the segmenter's) and instance `edges` (H, W) bool are what is sent.

        The result's labels are the strongest plane of each pixel, void where none was sent.
        """
        picture = read_image(image)
        shape = picture.shape[:2]
        check_sides(self.name, *shape)
        config = self.engine.config
        if labels is None:
            if self._segment is None:
                from chappe.segment.builtin import load_segmenter

                self._segment = load_segmenter()
            labels = self._segment(picture)
        else:
            labels = read_labels(labels, shape, taxonomy=config.taxonomy)
        planes = map_planes(labels, config, edges)
        keep = (config.classes,) if config.edges else ()
        rng = np.random.default_rng([seed, 4])
        sent = send_map(planes, self.analog.sigma, rng, power=self.power, fds=self.fds, keep=keep)
        uses = channel_uses(sent.real_uses, sent.side_bits)
        _within(uses, cbr, shape, self.name)
        heard = np.full(shape, config.classes, np.uint8)
        classes = np.array([k for k in sent.present if k < config.classes], np.uint8)
        if len(classes):
            heard = classes[sent.planes[classes].argmax(0)]
        if self.rival is not None:
            drawn = self.rival(heard)
        else:
            drawn = self.engine.draw(sent.planes, self.sampling, seed)
        return _received(self, self.analog, shape, drawn, heard, config.taxonomy, uses)


class FullImageLink(Link):
    """`full-image`: GESCO's baseline, the pixels themselves over the same channel; CBR 1/2."""

    name = "full-image"

    def __init__(self, psnr_db: float = 10.0, table: str = "formula"):
        self.analog = _Analog(psnr_db, table)

    def transmit(self, image: ImageSource, *, cbr=None, seed: int = 0) -> Received:
        """See `Link.transmit`."""
        picture = read_image(image)
        uses = channel_uses(picture.size, 16)
        _within(uses, cbr, picture.shape[:2], self.name)
        heard = full_image(picture, self.analog.sigma, np.random.default_rng([seed, 4]))
        return _received(self, self.analog, picture.shape[:2], heard, None, None, uses)
