"""SCSC: a standard codec and a standard channel code between two trained ends.

    picture -> PPEN -> codec -> LDPC -> QAM -> precoder, PCEN -> channel -> detector -> decoder -> codec -> picture

Everything between PPEN and PCEN is the `DigitalLink` that plain transmissions use: same files, same bits, same fades.
Without PPEN and PCEN it is the plain scheme. X. Han et al., SCSC.
"""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from chappe.classical.base import ClassicalCodec
from chappe.codec import Codec, OperatingPoint
from chappe.errors import RateError, UsageError
from chappe.image import read_image
from chappe.link.adaptation import MCS_TABLE, best_mcs, payload_limit
from chappe.link.digital import DigitalLink
from chappe.link.learned.analog import LearnedReceived, to_picture, to_tensor
from chappe.link.learned.enhanced import EnhancedLink, enhanced
from chappe.link.learned.rate import block_bits
from chappe.link.picture import PictureLink, Received, once

if TYPE_CHECKING:
    from chappe.codec import ImageSource
    from chappe.link.learned.ppen import PPEN

__all__ = ["ScscLink", "resource_map", "strength_of"]

_DEFAULT_BPP = 0.5  # QPSK 1/2 on two streams at a CBR of 1/12


def strength_of(codec: Codec, quality: float) -> float:
    """How strongly a classical codec compresses at that quality of its own: 0 (its best) to 1 (its lowest rate).

    QP / 51 for HEVC. Raises UsageError for a codec without a ladder of qualities.
    """
    if not isinstance(codec, ClassicalCodec):
        raise UsageError(f"PPEN prepares pictures for standard codecs such as jpeg, avif, hevc, not for {codec.name}.")
    ladder = [point.settings["quality"] for point in codec.points()]
    if codec.name.startswith("jpeg2000"):  # its quality is a rate
        ladder, quality = [np.log(q) for q in ladder], np.log(quality)
    return float(np.clip((quality - ladder[-1]) / (ladder[0] - ladder[-1]), 0, 1))


def resource_map(image: np.ndarray, sent_bytes: int) -> np.ndarray:
    """(h, w) float32: bits that a transform codec spends on each 8x8 block of `image` (H, W, 3), the model of
    `learned.rate`; they add up to the file. SCSC fig. 11."""
    with torch.inference_mode():
        return block_bits(to_tensor(image), torch.tensor([8.0 * sent_bytes]))[0].numpy()


class ScscLink(PictureLink):
    """See the module. link: a DigitalLink, or an EnhancedLink that holds the PCEN. ppen: None for "w/o PPEN".

    adapt: choose the code rate (and, without PCEN, the modulation) for each picture.
    """

    def __init__(
        self,
        codec: Codec | str,
        link: DigitalLink,
        ppen: PPEN | None = None,
        *,
        name: str = "scsc",
        adapt: bool = False,
        target: float = 0.1,
    ) -> None:
        super().__init__(codec, link, adapt=adapt, target=target)
        self.ppen, self.name = ppen, name
        if ppen is not None:
            ppen.eval()
            strength_of(self.codec, self.codec.points()[0].settings["quality"])

    def on(self, radio: DigitalLink) -> ScscLink:
        """See `Link.on`; a DigitalLink gets this system's PCEN."""
        enhancer = getattr(self.radio, "enhancer", None)
        if enhancer is not None and not isinstance(radio, EnhancedLink):
            radio = enhanced(radio, enhancer)
        return super().on(radio)

    def prepared(self, image: np.ndarray, bpp: float, files: dict | None = None) -> np.ndarray:
        """What the codec is given instead of (H, W, 3) uint8 for about that rate. files: see `PictureLink.pack`."""
        if self.ppen is None:
            return image
        strength = once(files, ("strength", id(self.codec), bpp), lambda: self._strength(image, bpp))
        with torch.inference_mode():
            return to_picture(self.ppen(to_tensor(image), torch.tensor([strength])))

    def _strength(self, image: np.ndarray, bpp: float) -> float:
        try:
            return strength_of(self.codec, self.codec.rung(image, bpp).quality)
        except RateError:  # below its lowest rate; the processed picture may still fit
            return 1.0

    def transmit(
        self,
        image: ImageSource,
        *,
        cbr: str | float | Fraction | None = None,
        bpp: float | None = None,
        seed: int = 0,
    ) -> LearnedReceived:
        """See `Link.transmit`; instead of a CBR a rate. Raises RateError where no file fits."""
        picture = read_image(image)
        blob, link = self.pack(picture, cbr=cbr, bpp=_DEFAULT_BPP if cbr is bpp is None else bpp)
        out = self.carry(blob, link, picture.shape, seed)
        kept = {f.name: getattr(out, f.name) for f in fields(Received)}
        if not isinstance(self.codec, ClassicalCodec):  # no transform codec: its bits are elsewhere
            return LearnedReceived(**kept)
        given = self.prepared(picture, 8 * len(blob) / (picture.shape[0] * picture.shape[1]))
        return LearnedReceived(**kept, resources=resource_map(given, len(blob)), resource_unit="bits of a block")

    @property
    def _maker(self) -> tuple:
        return id(self.codec), self.slices, *(() if self.ppen is None else (id(self.ppen),))

    def _encoded(
        self, picture: np.ndarray, bpp: float | None, point: OperatingPoint | str | None, files: dict | None
    ) -> bytes:
        return super()._encoded(self.prepared(picture, bpp, files), bpp, point, files)

    def _within(self, picture: np.ndarray, link: DigitalLink, uses: int, files: dict | None) -> bytes:
        bpp = min(24.0, 8 * payload_limit(link, uses) / (picture.shape[0] * picture.shape[1]))
        return super()._within(self.prepared(picture, bpp, files), link, uses, files)

    def radio_for(self, size: int) -> DigitalLink:
        if not self.adapt:
            return self.radio
        fixed = isinstance(self.radio, EnhancedLink)
        table = [mcs for mcs in MCS_TABLE if not fixed or mcs.modulation == self.radio.modulation]
        mcs = best_mcs(self.radio, size, target=self.target, table=table)
        return replace(self.radio, modulation=mcs.modulation, rate=mcs.rate)
