"""How much fits and how fast to send: information rates of bit-interleaved QAM, choice of modulation and code rate,
and the largest payload for a budget of channel uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch

from chappe.errors import RateError, UsageError
from chappe.link.detection import linear
from chappe.link.digital import DigitalLink
from chappe.link.qam import BITS, axis_levels
from chappe.link.transport import MAX_PAYLOAD, parse_rate

__all__ = ["MCS", "MCS_TABLE", "best_mcs", "bit_information", "outage", "parse_mcs", "payload_limit", "uses_budget"]


@dataclass(frozen=True)
class MCS:
    """A modulation and a code rate."""

    modulation: str
    rate: Fraction

    @property
    def name(self) -> str:
        """'16qam-1/2'."""
        return f"{self.modulation}-{self.rate}"

    @property
    def efficiency(self) -> float:
        """Information bits a symbol."""
        return BITS[self.modulation] * float(self.rate)


def parse_mcs(text: str) -> MCS:
    """'16qam-1/2' -> MCS. Raises UsageError."""
    modulation, _, rate = text.partition("-")
    if modulation not in BITS or not rate:
        raise UsageError(f"{text!r} is no modulation and code rate: write one such as qpsk-1/2, 16qam-3/4, 64qam-5/6.")
    return MCS(modulation, parse_rate(rate))


# Lowest efficiency first; where two would be equal, the lower modulation, which needs less SNR for the same rate.
MCS_TABLE: tuple[MCS, ...] = tuple(
    parse_mcs(name)
    for name in ("qpsk-1/20", "qpsk-1/10", "qpsk-1/5", "qpsk-1/3", "qpsk-1/2", "qpsk-2/3", "qpsk-3/4", "16qam-1/2",
                 "16qam-2/3", "16qam-3/4", "64qam-2/3", "64qam-3/4", "64qam-5/6")
)  # fmt: skip


# Block sizes in bits and dB: the largest of QPSK 1/20 to 64-QAM 5/6, 300 words a point (tools/ldpc_gap.py).
_GAP_BITS, _GAP_DB = (40, 100, 300, 1000, 3000, 8448), (4.3, 3.1, 2.3, 1.7, 1.5, 1.1)


@lru_cache(maxsize=8)
def _curve(modulation: str) -> tuple[np.ndarray, np.ndarray]:
    """SNR in dB, -30 to 40, and the information of one coded bit there, 0 to 1."""
    levels = axis_levels(modulation).double().numpy()
    half = BITS[modulation] // 2
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()
    snr_db = np.arange(-30.0, 40.01, 0.25)
    out = []
    for snr in 10 ** (snr_db / 10):
        variance = 1 / snr
        heard = levels[:, None] + math.sqrt(variance / 2) * nodes  # (sent, node)
        metric = -((heard[..., None] - levels) ** 2) / variance
        total = 0.0
        for j in range(half):
            bit = np.arange(len(levels)) >> (half - 1 - j) & 1
            parts = [np.logaddexp.reduce(metric[..., bit == value], axis=-1) for value in (0, 1)]
            llr = (parts[0] - parts[1]) * (1 - 2 * bit)[:, None]
            total += 1 - (np.logaddexp(0, -llr) @ weights).mean() / math.log(2)
        out.append(min(1.0, max(0.0, total / half)))
    return snr_db, np.maximum.accumulate(out)


def bit_information(modulation: str, snr_db: np.ndarray | float) -> np.ndarray:
    """Mutual information of one coded bit with its LLR, 0 to 1, on AWGN at Es/N0 (bit-interleaved coded modulation).

    G. Caire, G. Taricco, E. Biglieri, IEEE Trans. Inf. Theory 1998, by Gauss-Hermite quadrature.
    """
    return np.interp(snr_db, *_curve(modulation))


def _needed(mcs: MCS, bits: int) -> float:
    """Es/N0 in dB that a code block of `bits` needs on AWGN for about 1 error in 100."""
    snr_db, information = _curve(mcs.modulation)
    ideal = float(np.interp(float(mcs.rate), information, snr_db))
    return ideal + _gap(bits)


def _gap(bits: int) -> float:
    """dB above the information limit where the decoder has 1 block error in 100: _GAP_DB between its measured sizes."""
    return float(np.interp(math.log2(bits), np.log2(_GAP_BITS), _GAP_DB))


def outage(link: DigitalLink, size: int, *, draws: int = 200, seed: int = 0) -> float:
    """Predicted share of payloads of `size` bytes that are lost: those whose fades carry too little information.

    The mean information of the coded bits after a linear detector is turned into the SNR of an AWGN channel with as
    much (MIESM), and compared with what a block of that length needs there; `draws` independent channels.
    """
    if link.spec.law == "erasure":
        return 1 - (1 - link.spec.loss) ** link.channel_uses(size)
    block = link.block(size)
    mcs = MCS(link.modulation if link.spec.complex else "qpsk", parse_rate(link.rate))
    snr_db, information = _curve(mcs.modulation)
    need = _needed(mcs, block.k)
    if link.spec.law == "bsc":
        p = min(max(link.spec.flip, 1e-12), 0.5)
        capacity = 1 + p * math.log2(p) + (1 - p) * math.log2(1 - p)
        return float(np.interp(capacity, information, snr_db) < need)
    if link.spec.law == "awgn":
        draws = 1
    uses = min(link.channel_uses(size), 4096)  # more add nothing to the mean
    lost = 0
    with torch.inference_mode():
        for number in range(draws):
            _, known, _ = link.response(uses, seed + number)
            _, a, sigma2 = link.equivalent(known)
            _, variance = linear("lmmse" if link.detector == "ml" else link.detector,
                                 a.new_zeros(len(a), a.shape[1], 1), a, sigma2)  # fmt: skip
            if link.csi_error and not link.csi_aware:  # what the receiver does not know hurts all the same
                variance = variance * (1 + link.csi_error * link.spec.nt / sigma2[:, None])
            each = bit_information(mcs.modulation, -10 * np.log10(variance.numpy()))
            lost += float(np.interp(each.mean(), information, snr_db)) < need
    return lost / draws


def best_mcs(
    link: DigitalLink,
    size: int,
    *,
    target: float = 0.1,
    table: Sequence[MCS] = MCS_TABLE,
    draws: int = 200,
    seed: int = 1 << 20,
) -> MCS:
    """Link adaptation: the most efficient entry whose predicted loss of `size` bytes is at most `target`.

    The law of the channel is known, not the fade that will come. The lowest entry where none is good enough.
    """
    ordered = sorted(table, key=lambda mcs: mcs.efficiency, reverse=True)
    for mcs in ordered:
        candidate = replace(link, modulation=mcs.modulation, rate=mcs.rate)
        if outage(candidate, size, draws=draws, seed=seed) <= target:
            return mcs
    return ordered[-1]


def uses_budget(cbr: float | Fraction, pixels: int) -> int:
    """Complex channel uses of a picture at a channel bandwidth ratio: floor(cbr x 3 x pixels)."""
    return math.floor(Fraction(cbr) * 3 * pixels)


def payload_limit(link: DigitalLink, uses: int) -> int:
    """The most bytes that `uses` channel uses carry. Raises RateError where not even one does."""
    if link.channel_uses(1) > uses:
        raise RateError(
            f"{uses} channel uses carry nothing: one byte with its check takes {link.channel_uses(1)} at "
            f"{link.modulation} and rate {parse_rate(link.rate)}: allow a larger CBR or a faster MCS."
        )
    low, high = 1, MAX_PAYLOAD
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if link.channel_uses(middle) <= uses else (low, middle - 1)
    return low
