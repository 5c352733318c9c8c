"""Pictures over a link: the contract, and any codec over the digital link.

from chappe.link import DigitalLink, PictureLink
far = PictureLink("jpeg2000", DigitalLink("rayleigh2x2", snr_db=6)).transmit("street.jpg", cbr="1/12", seed=0)
far.decoded                # a chappe.codec.Decoded, or None: lost
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from chappe.codec import Codec, Decoded, OperatingPoint
from chappe.errors import ChappeError, RateError, UsageError
from chappe.image import read_image
from chappe.link.adaptation import best_mcs, payload_limit, uses_budget
from chappe.link.digital import DigitalLink, Reception
from chappe.link.transport import parse_rate

if TYPE_CHECKING:
    from chappe.codec import ImageSource

__all__ = ["LOST_GREY", "Link", "PictureLink", "Received", "encode_within", "once", "open_codec", "parse_cbr"]

LOST_GREY = 128  # what a receiver shows of a lost picture, for figures that need one
_ATTEMPTS = 6


@dataclass(frozen=True, eq=False)
class Received:
    """One picture that went through a link.

    decoded: picture and labels, or None where it was lost. receptions: one for each transport block. sent_bytes: of
    the file. height, width: of the picture sent. why: why it was lost, in a few words, else None.
    """

    decoded: Decoded | None
    receptions: tuple[Reception, ...]
    sent_bytes: int
    height: int
    width: int
    link: DigitalLink
    why: str | None

    @property
    def lost(self) -> bool:
        return self.decoded is None

    @property
    def channel_uses(self) -> int:
        return sum(reception.channel_uses for reception in self.receptions)

    @property
    def cbr(self) -> float | None:
        """Complex channel uses by 3 x pixels; None for channels of bits or packets."""
        if self.receptions[0].unit != "complex":
            return None
        return self.channel_uses / (3 * self.height * self.width)

    @property
    def blocks(self) -> int:
        return sum(reception.blocks for reception in self.receptions)

    @property
    def block_errors(self) -> int:
        return sum(reception.block_errors for reception in self.receptions)

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8: the decoded picture, or mid-grey where it was lost."""
        if self.decoded is not None:
            return self.decoded.image
        return np.full((self.height, self.width, 3), LOST_GREY, np.uint8)


class Link(ABC):
    """Pictures from one end to the other over a noisy channel. A codec knows no link; a link knows no benchmark.

    radio: the channel, its SNR and, where bits are sent, how; links that have one can be put `on` another.
    """

    name: str
    radio: DigitalLink

    @abstractmethod
    def transmit(self, image: ImageSource, *, cbr: str | float | Fraction | None = None, seed: int = 0) -> Received:
        """Send one picture with at most `cbr` complex channel uses by 3 x pixels. The seed decides fades and noise."""

    def on(self, radio: DigitalLink) -> Link:
        """The same system over another channel, or at another SNR. Raises UsageError for one that has no radio."""
        raise UsageError(f"{self.name} is not made for a radio that can be replaced.")


class PictureLink(Link):
    """A codec over a `DigitalLink`, the separate source and channel coding that every learned link is compared with.

    codec: a Codec, or a name of `chappe models` or `chappe.classical.NAMES`. adapt: choose modulation and rate for
    each picture with `best_mcs` (target: share of pictures lost). bpp: the most bits a pixel of a file; without a CBR
    the rate that is asked for. fill: lower the code rate until the file takes all of the channel uses allowed. A file
    with slices goes as one transport block a slice, each with the file's header, and what arrives of it is decoded;
    `slices` asks the codec for that many.
    """

    def __init__(
        self,
        codec: Codec | str,
        link: DigitalLink,
        *,
        adapt: bool = False,
        target: float = 0.1,
        slices: int | None = None,
        bpp: float | None = None,
        fill: bool = False,
    ) -> None:
        if adapt and fill:
            raise UsageError("A link either adapts its code rate to the channel or fills its budget with it.")
        self.codec = open_codec(codec) if isinstance(codec, str) else codec
        self.radio, self.adapt, self.target, self.slices, self.bpp, self.fill = link, adapt, target, slices, bpp, fill
        self.name = f"{self.codec.name} over {link.spec.name}"

    @property
    def link(self) -> DigitalLink:
        """The same as `radio`."""
        return self.radio

    def on(self, radio: DigitalLink) -> PictureLink:
        """See `Link.on`."""
        other = copy(self)
        other.radio = radio
        return other

    def transmit(
        self,
        image: ImageSource,
        *,
        cbr: str | float | Fraction | None = None,
        bpp: float | None = None,
        point: OperatingPoint | str | None = None,
        seed: int = 0,
    ) -> Received:
        """See `Link.transmit`; instead of a CBR, a rate or an operating point of the codec, or none for its default.

        Raises RateError where the codec has no file that fits the CBR.
        """
        picture = read_image(image)
        blob, link = self.pack(picture, cbr=cbr, bpp=bpp, point=point)
        return self.carry(blob, link, picture.shape, seed)

    def pack(
        self,
        picture: np.ndarray,
        *,
        cbr: str | float | Fraction | None = None,
        bpp: float | None = None,
        point: OperatingPoint | str | None = None,
        files: dict | None = None,
    ) -> tuple[bytes, DigitalLink]:
        """The file of (H, W, 3) uint8, and the link that will carry it: what does not depend on the fade.

        files: those made of this picture before, of any PictureLink, to which this one is added. Raises RateError.
        """
        if cbr is None:
            bpp = self.bpp if bpp is None and point is None else bpp
            key = (*self._maker, bpp, str(point))
            blob = once(files, key, lambda: self._encoded(picture, bpp, point, files))
            return blob, self.radio_for(len(blob))
        if bpp is not None or point is not None:
            raise UsageError("give one of a CBR, a rate and an operating point.")
        height, width = picture.shape[:2]
        uses = uses_budget(parse_cbr(cbr), height * width)
        link = self.radio
        if not link.spec.complex:
            raise UsageError(f"{link.spec.name} has no complex channel uses, so there is no CBR: give a rate.")
        if self.adapt:  # a first guess at the size is enough: what is lost depends little on it
            link = self.radio_for(payload_limit(link, uses))
        key = (*self._maker, self.bpp, uses, link.modulation, parse_rate(link.rate), link.streams)
        blob = once(files, key, lambda: self._within(picture, link, uses, files))
        return blob, _filled(link, blob, uses) if self.fill else link

    @property
    def _maker(self) -> tuple:
        """What makes files of pictures: two links with equal ones make the same."""
        return id(self.codec), self.slices

    def _encoded(
        self, picture: np.ndarray, bpp: float | None, point: OperatingPoint | str | None, files: dict | None
    ) -> bytes:
        if self.slices is not None:
            base = OperatingPoint("custom") if point is None else self.codec.find_point(point)
            rate = {} if bpp is None else {"bpp": bpp}
            point, bpp = OperatingPoint(base.name, {**base.settings, **rate, "slices": self.slices}), None
        return self.codec.encode(picture, bpp=bpp, point=point)

    def _within(self, picture: np.ndarray, link: DigitalLink, uses: int, files: dict | None) -> bytes:
        return encode_within(self.codec, picture, link, uses, slices=self.slices, most=self.bpp)

    def carry(
        self, blob: bytes, link: DigitalLink, shape: tuple[int, ...], seed: int, *, decoded: dict | None = None
    ) -> Received:
        """Send a file that is already made of a picture of `shape`, and decode what arrives.

        decoded: what was decoded before, of any PictureLink, to which this is added.
        """
        parts = _slices(blob)
        receptions = link.send_all(parts, seed=seed)
        arrived = [reception.payload for reception in receptions if reception.payload is not None]
        out, why = None, None
        if not arrived:
            failed, total = (sum(getattr(r, key) for r in receptions) for key in ("block_errors", "blocks"))
            why = f"{failed} of {total} {'packets' if link.spec.law == 'erasure' else 'code blocks'} failed"
        else:
            whole = _joined(arrived) if len(parts) > 1 else arrived[0]
            try:
                out = once(decoded, (id(self.codec), whole), lambda: self.codec.decode(whole))
            except ChappeError as error:  # too few slices, or wrong bytes that passed the check
                why = f"what arrived does not decode: {error}"
        return Received(out, receptions, sum(map(len, parts)), shape[0], shape[1], link, why)

    def radio_for(self, size: int) -> DigitalLink:
        if not self.adapt:
            return self.radio
        mcs = best_mcs(self.radio, size, target=self.target)
        return replace(self.radio, modulation=mcs.modulation, rate=mcs.rate)


def once(known: dict | None, key: tuple, make: Callable[[], Any]) -> Any:
    """What `make()` gives or raises, from `known` where it was made before."""
    if known is None:
        return make()
    if key not in known:
        try:
            known[key] = make()
        except ChappeError as error:
            known[key] = error
    if isinstance(known[key], ChappeError):
        raise known[key]
    return known[key]


def open_codec(name: str) -> Codec:
    """A model of the registry or a classical codec. Raises UsageError if there is none of that name."""
    from chappe import classical
    from chappe.codec import full_name, list_models, load

    if name in classical.NAMES:
        return classical.load(name)
    if full_name(name) not in list_models():
        raise UsageError(f"There is no codec {name!r}; there are {', '.join((*list_models(), *classical.NAMES))}.")
    return load(name)


def parse_cbr(cbr: str | float | Fraction) -> Fraction:
    """'1/12' or 0.02 as a fraction. Raises UsageError outside 0 to 10."""
    try:
        value = Fraction(cbr)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        value = Fraction(0)
    if not 0 < value <= 10:
        raise UsageError(f"{cbr!r} is not a channel bandwidth ratio: give one such as 1/12 or 0.02.")
    return value


def encode_within(
    codec: Codec,
    image: np.ndarray,
    link: DigitalLink,
    uses: int,
    *,
    slices: int | None = None,
    most: float | None = None,
) -> bytes:
    """The codec's file of (H, W, 3) uint8 that `link` carries in at most `uses` channel uses and that comes near them.

    slices: for codecs that have them, each its own transport block. most: bits a pixel asked for at most. Where the
    budget exceeds what the codec can use, a file near its largest. Raises RateError where no file is small enough.
    """

    def encode(bpp: float) -> bytes:
        if slices is None:
            return codec.encode(image, bpp=bpp)
        return codec.encode(image, point=OperatingPoint("custom", {"bpp": bpp, "slices": slices}))

    bpp = min(most or 24.0, 8 * payload_limit(link, uses) / (image.shape[0] * image.shape[1]))
    best, low, high, refused, large = None, 0.0, math.inf, None, False
    for _ in range(_ATTEMPTS):
        try:
            blob = encode(bpp)
            needed = _uses(link, blob)
        except RateError as error:
            if large:  # below a file that is too large there is none
                break
            refused, high = error, bpp
        else:
            if needed <= uses:
                best, low = blob, bpp
                if high - low < 0.1 * low or not refused:
                    break
            else:
                large, high = True, min(high, bpp)
                bpp *= 0.99 * uses / needed  # codecs come near a rate, from both sides
                continue
        bpp = (low + high) / 2
    if best is None:
        raise refused or RateError(
            f"{codec.name} has no file that fits {uses} channel uses at {link.modulation} and rate {link.rate}: allow "
            "a larger CBR or a faster MCS."
        )
    return best


def _filled(link: DigitalLink, blob: bytes, uses: int) -> DigitalLink:
    """The link at the lowest code rate, in steps of 1/10000, at which it carries the file in so many uses."""
    low, high = 9, math.ceil(10_000 * parse_rate(link.rate))
    first = high
    while high - low > 1:
        middle = (low + high) // 2
        fits = _uses(replace(link, rate=Fraction(middle, 10_000)), blob) <= uses
        low, high = (low, middle) if fits else (middle, high)
    return link if high == first else replace(link, rate=Fraction(high, 10_000))


def _uses(link: DigitalLink, blob: bytes) -> int:
    return sum(link.channel_uses(len(part)) for part in _slices(blob))


def _slices(blob: bytes) -> list[bytes]:
    from chappe.bitstream import packets

    try:
        return packets.split(blob)
    except ChappeError:  # no slices, or not a chappe file
        return [blob]


def _joined(arrived: list[bytes]) -> bytes:
    from chappe.bitstream import packets

    return packets.join(arrived)
