"""Any bytes over a noisy channel: 5G LDPC, QAM, MIMO, and a check that says what arrived.

    link = DigitalLink(channel="rayleigh2x2", snr_db=6, modulation="16qam", rate="1/2")
    reception = link.send(blob, seed=0)
    reception.payload          # the same bytes, or None: the check failed
    reception.cbr(pixels)      # channel uses by 3 x pixels

Below some SNR a digital link loses everything: that cliff is not smoothed over. A payload whose check fails is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import torch

from chappe.errors import UsageError
from chappe.link.channels import ChannelSpec, Fading, disturb, parse_channel, propagate
from chappe.link.detection import DETECTORS, detect
from chappe.link.ldpc import MIN_SUM
from chappe.link.precoding import PRECODERS, precoder
from chappe.link.qam import bits_per_symbol, map_bits
from chappe.link.scrambling import C_INIT, gold
from chappe.link.transport import TransportBlock, parse_rate

__all__ = ["DECODERS", "SNR_TEXT", "DigitalLink", "Reception"]

SNR_TEXT = {
    "antenna": "SNR = P/sigma^2: mean power of one transmit antenna by noise power of one receive antenna, E|H|^2 = 1",
    "total": "SNR = Nt P/sigma^2: mean power of all transmit antennas by noise power of one receive antenna, E|H|^2=1",
}
DECODERS = {"corrected": 0.0, "minsum": MIN_SUM}
_USES_AT_ONCE = 1 << 16  # bounds the memory of the channel, whatever the payload
_KEPT = 1 << 15  # bytes of the payloads whose coded bits are kept
_SHOWN = 2048  # received symbols kept to look at


@dataclass(frozen=True, eq=False)
class Reception:
    """What came out of the link for one payload.

    payload: the bytes, or None where a check failed. undetected: the checks held and the bytes are wrong all the same.
    blocks, block_errors: code blocks (erasure: packets), and those whose check failed; all of them where only the
    payload's own failed.
    ber: wrong share of the payload and check bits after decoding; raw_ber: of the coded bits before it. channel_uses:
    see `unit`: "complex" (a complex symbol on every antenna at once), "bit" (bsc) or "packet" (erasure). iterations:
    mean of the decoder. constellation: up to 2048 equalised symbols, complex64. text: how the SNR is defined.
    """

    payload: bytes | None
    undetected: bool
    blocks: int
    block_errors: int
    ber: float
    raw_ber: float
    channel_uses: int
    unit: str
    size: int
    snr_db: float | None
    text: str
    iterations: float
    constellation: np.ndarray

    @property
    def ok(self) -> bool:
        """Whether the check held."""
        return self.payload is not None

    def cbr(self, pixels: int) -> float | None:
        """Channel bandwidth ratio: complex channel uses by 3 x pixels (SCSC section II-A); None for bits, packets."""
        return self.channel_uses / (3 * pixels) if self.unit == "complex" else None


@dataclass(frozen=True)
class DigitalLink:
    """Payload -> CRC, code blocks, 5G LDPC, scrambling -> QAM -> precoder -> channel -> detector -> LLRs -> and back.

    channel: `<law>[NtxNr]` (`chappe.link.channels.LAWS`) or a ChannelSpec. snr: "antenna" or "total" (`SNR_TEXT`).
    rate: of the code, 1/1000 to 5/6. precoder, detector: `PRECODERS`, `DETECTORS`. llr: "app" or "maxlog".
    decoder: "corrected" or "minsum". csi_error: variance of the error in each entry of the channel that both ends know;
    csi_aware: the receiver knows that variance (Rayleigh's prior) and reckons with it. scrambling: c_init of 5G's
    sequence, which starts anew with every payload, or None. Raises UsageError.
    """

    channel: str | ChannelSpec = "rayleigh2x2"
    snr_db: float = 6.0
    modulation: str = "qpsk"
    rate: str | float | Fraction = "1/2"
    precoder: str = "svd-minmse+dft"
    detector: str = "lmmse"
    llr: str = "app"
    snr: str = "antenna"
    csi_error: float = 0.0
    csi_aware: bool = False
    decoder: str = "corrected"
    iterations: int = 20
    scrambling: int | None = C_INIT

    def __post_init__(self) -> None:
        spec = parse_channel(self.channel)
        bits_per_symbol(self.modulation)
        parse_rate(self.rate)
        for name, value, known in (("precoder", self.precoder, PRECODERS), ("detector", self.detector, DETECTORS),
                                   ("LLR rule", self.llr, ("app", "maxlog")), ("SNR", self.snr, tuple(SNR_TEXT)),
                                   ("decoder", self.decoder, tuple(DECODERS))):  # fmt: skip
            if value not in known:
                raise UsageError(f"There is no {name} {value!r}; there are {', '.join(known)}.")
        if spec.complex and not (isinstance(self.snr_db, (int, float)) and -50 <= self.snr_db <= 100):
            raise UsageError(f"An SNR is a number of dB from -50 to 100, not {self.snr_db!r}.")
        if not 0 <= self.csi_error <= 10 or not 1 <= self.iterations <= 1000:
            raise UsageError("csi_error is 0 to 10 and iterations 1 to 1000.")
        if self.scrambling is not None and not 0 <= self.scrambling < 1 << 31:
            raise UsageError(f"The start of a scrambling sequence has 31 bits, not {self.scrambling!r}.")

    @cached_property
    def spec(self) -> ChannelSpec:
        return parse_channel(self.channel)

    @property
    def streams(self) -> int:
        """Symbols a channel use."""
        return self.spec.nt if self.precoder == "none" else min(self.spec.nt, self.spec.nr)

    @property
    def sigma2(self) -> float:
        """Noise variance of one receive antenna where every transmit antenna has power 1."""
        return (self.spec.nt if self.snr == "total" else 1) * 10 ** (-self.snr_db / 10)

    @property
    def text(self) -> str:
        """How the channel's quality is defined, in one line."""
        if self.spec.complex:
            return SNR_TEXT[self.snr]
        if self.spec.law == "bsc":
            return f"each bit is wrong with probability {self.spec.flip:g}; a channel use is one bit"
        return f"each packet of {self.spec.packet} bytes is lost with probability {self.spec.loss:g}; uses are packets"

    def block(self, size: int) -> TransportBlock:
        """The transport block that carries `size` bytes."""
        if not self.spec.complex:
            return TransportBlock(size, parse_rate(self.rate), 1)
        return TransportBlock(size, parse_rate(self.rate), bits_per_symbol(self.modulation), self.streams)

    def channel_uses(self, size: int) -> int:
        """Channel uses of a payload of `size` bytes; grows with the size."""
        if self.spec.law == "erasure":
            return -(-size // self.spec.packet)
        block = self.block(size)
        return block.coded_bits // (block.m * block.streams)

    def send(self, payload: bytes, *, seed: int = 0) -> Reception:
        """Carry one payload. The same seed gives the same fades and noise, whatever modulation and rate."""
        return self.send_all([payload], seed=seed)[0]

    def send_all(self, payloads: Sequence[bytes], *, seed: int = 0) -> tuple[Reception, ...]:
        """Carry several payloads one after another, a transport block each: what is lost is simply missing.

        All of them meet one continuous channel: with `fade_every=None` they share one fade.
        """
        data = [bytes(payload) for payload in payloads]
        if not data:
            raise UsageError("There is nothing to send: give at least one payload.")
        if self.spec.law == "erasure":
            return self._packets(data, seed)
        blocks = [self.block(len(payload)) for payload in data]
        coded = np.concatenate([self._coded(block, payload) for block, payload in zip(blocks, data, strict=True)])
        llr, shown = self._flip(coded, seed) if self.spec.law == "bsc" else self._air(coded, seed)
        out, start = [], 0
        for block, payload in zip(blocks, data, strict=True):
            part = slice(start, start + block.coded_bits)
            out.append(self._receive(block, payload, coded[part], llr[part], shown))
            start = part.stop
        return tuple(out)

    def send_over(self, payload: bytes, h: torch.Tensor, *, seed: int = 0) -> Reception:
        """`send` over one channel h (1, Nr, Nt) that holds throughout and is known: what training draws."""
        block = self.block(len(payload))
        coded = self._coded(block, payload)
        response = (h, h, block.coded_bits // (block.m * block.streams))
        llr, shown = self._air(coded, seed, response)
        return self._receive(block, payload, coded, llr, shown)

    def _coded(self, block: TransportBlock, payload: bytes) -> np.ndarray:
        """(n,) the bits that are sent."""
        coded = (_encode if len(payload) <= _KEPT else TransportBlock.encode)(block, payload)
        return coded if self.scrambling is None else coded ^ gold(self.scrambling, len(coded))

    def _receive(self, block: TransportBlock, payload: bytes, coded: np.ndarray, llr: np.ndarray, shown) -> Reception:
        raw_ber = float(((llr < 0) != coded).mean())
        if self.scrambling is not None:
            np.negative(llr, out=llr, where=gold(self.scrambling, len(llr)).view(bool))
        result = block.decode(llr, iterations=self.iterations, scale=DECODERS[self.decoder])
        sent = np.unpackbits(np.frombuffer(payload, np.uint8))
        errors = int((~result.block_ok).sum())
        return Reception(
            payload=result.payload,
            undetected=result.payload not in (None, payload),
            blocks=block.blocks,
            block_errors=block.blocks if result.payload is None and not errors else errors,
            ber=float((result.bits[: len(sent)] != sent).mean()),
            raw_ber=raw_ber,
            channel_uses=block.coded_bits // (block.m * block.streams),
            unit="complex" if self.spec.complex else "bit",
            size=len(payload),
            snr_db=float(self.snr_db) if self.spec.complex else None,
            text=self.text,
            iterations=float(result.iterations.mean()),
            constellation=shown,
        )

    def response(self, uses: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        """The true channels and those that both ends know, (B, Nr, Nt) each, and the uses that each holds for."""
        fades = torch.Generator().manual_seed(2 * seed)
        drawn = Fading(self.spec).draw(uses, fades)
        return drawn.h, disturb(drawn.h, self.csi_error, fades), drawn.per

    def equivalent(self, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """For known channels (B, Nr, Nt): precoder G (B, Nt, Ns), and what the receiver takes for H G and sigma2."""
        sigma2 = torch.full((len(known),), self.sigma2)
        g = precoder(self.precoder, known, sigma2)
        if self.csi_error and self.csi_aware:  # the mean and the spread of H ~ CN(0, 1) given its estimate
            shrink = 1 / (1 + self.csi_error)
            return g, shrink * known @ g, sigma2 + self.csi_error * shrink * self.spec.nt
        return g, known @ g, sigma2

    def air(
        self, x: torch.Tensor, h: torch.Tensor, known: torch.Tensor, noise: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Symbols x (B, Ns, K) over true channels h, of which both ends know `known`: LLRs (B, Ns, K, m) and equalised
        symbols (B, Ns, K)."""
        g, a, noise2 = self.equivalent(known)
        y = self.disturbed(g @ x, h, noise)
        return detect(self.detector, y, a, noise2, self.modulation, self.llr)

    def disturbed(self, z: torch.Tensor, h: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        """y (B, Nr, K) of what the antennas send, z (B, Nt, K)."""
        return propagate(z, h, torch.full((len(h),), self.sigma2), noise)

    def _air(self, coded: np.ndarray, seed: int, response=None) -> tuple[np.ndarray, np.ndarray]:
        """(n,) coded bits -> their LLRs and a sample of equalised symbols; symbol i goes to stream i mod Ns.

        response: as from `response`, in place of what the seed draws.
        """
        m, streams = bits_per_symbol(self.modulation), self.streams
        uses = len(coded) // (m * streams)
        noise = torch.Generator().manual_seed(2 * seed + 1)
        with torch.inference_mode():
            h, known, per = response or self.response(uses, seed)
            llr, shown = np.empty(len(coded), np.float32), []
            for start, count, block in _pieces(uses, per):
                part = slice(start * m * streams, (start + count) * m * streams)
                x = map_bits(torch.from_numpy(coded[part]), self.modulation).reshape(-1, min(per, count), streams).mT
                soft, symbols = self.air(x, h[block], known[block], noise)
                llr[part] = soft.transpose(1, 2).reshape(-1).numpy()
                if len(shown) * 64 < _SHOWN:
                    shown.append(symbols.mT.reshape(-1)[:_SHOWN].numpy())
        return llr, np.concatenate(shown)[:_SHOWN]

    def _flip(self, coded: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        heard = coded ^ (np.random.default_rng([seed, 1]).random(len(coded)) < self.spec.flip)
        sure = math.log(max(1 - self.spec.flip, 1e-9) / max(self.spec.flip, 1e-9))
        return ((1 - 2.0 * heard) * sure).astype(np.float32), np.zeros(0, np.complex64)

    def _packets(self, data: list[bytes], seed: int) -> tuple[Reception, ...]:
        rng, spec, out = np.random.default_rng([seed, 2]), self.spec, []
        for payload in data:
            if not payload:
                raise UsageError("A payload has at least one byte.")
            lost = rng.random(self.channel_uses(len(payload))) < spec.loss
            missing = sum(min(spec.packet, len(payload) - i * spec.packet) for i in np.flatnonzero(lost))
            share = missing / len(payload) / 2  # bits that are guessed are wrong half of the time
            out.append(Reception(None if lost.any() else payload, False, len(lost), int(lost.sum()), share, share,
                                 len(lost), "packet", len(payload), None, self.text, 0.0,
                                 np.zeros(0, np.complex64)))  # fmt: skip
        return tuple(out)


_encode = lru_cache(maxsize=16)(TransportBlock.encode)  # a payload is often sent many times, over other fades


def _pieces(uses: int, per: int):
    """(first use, uses, slice of responses) that cover all uses, none with more than about 2^16 of them.

    A response that holds for longer than that is met again in the next piece; a last one that is not used up is a
    piece of its own.
    """
    start = 0
    while start < uses:
        block, inside = divmod(start, per)
        left = uses - start
        if per > _USES_AT_ONCE or inside or left < per:
            count = min(per - inside, left, _USES_AT_ONCE)
            yield start, count, slice(block, block + 1)
        else:
            blocks = min(max(1, _USES_AT_ONCE // per), left // per)
            count = blocks * per
            yield start, count, slice(block, block + blocks)
        start += count
