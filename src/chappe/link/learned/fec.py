"""What the channel code does to a picture, from measured curves: the cheap stand-in for the decoder in training.

A curve of block errors over AWGN is measured once with the real encoder and decoder. A fade is turned into the SNR of
an AWGN channel whose coded bits carry as much information (MIESM), and the curve gives its loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from chappe.link.adaptation import MCS, bit_information
from chappe.link.digital import DigitalLink
from chappe.link.transport import TransportBlock

__all__ = ["FecModel", "measure"]

_GRID = np.arange(-30.0, 40.01, 0.05)


@dataclass(frozen=True, eq=False)
class FecModel:
    """Share of code blocks lost, `bler` (n,), at Es/N0 `snr_db` (n,) on AWGN: one MCS, blocks of about `k` bits."""

    mcs: MCS
    k: int
    snr_db: np.ndarray
    bler: np.ndarray

    def effective_snr(self, variance: np.ndarray) -> np.ndarray:
        """(...,) dB of the AWGN channel with as much information as streams with noise variances (..., Ns)."""
        mean = bit_information(self.mcs.modulation, -10 * np.log10(variance)).mean(-1)
        return np.interp(mean, bit_information(self.mcs.modulation, _GRID), _GRID)

    def loss(self, variance: np.ndarray, size: np.ndarray | int) -> np.ndarray:
        """Probability that a file of `size` bytes is lost whose streams have noise variances (..., Ns)."""
        block = np.interp(self.effective_snr(variance), self.snr_db, self.bler)
        return 1 - (1 - block) ** np.maximum(1, np.ceil(8 * np.asarray(size) / self.k))


@lru_cache(maxsize=16)
def measure(mcs: MCS, size: int = 1000, words: int = 24, seed: int = 0) -> FecModel:
    """The curve of blocks of `size` bytes, `words` a point, in steps of 0.25 dB from all lost to none lost."""
    block = TransportBlock(size, mcs.rate, DigitalLink(modulation=mcs.modulation).block(1).m)
    payload = np.random.default_rng(seed).bytes(size)
    near = float(np.interp(float(mcs.rate), bit_information(mcs.modulation, _GRID), _GRID))
    rows = [(near - 1.0, 1.0)]
    for step in range(40):
        snr = near + 0.25 * step
        link = DigitalLink("awgn", snr, mcs.modulation, mcs.rate)
        lost = np.mean([not link.send(payload, seed=seed + i).ok for i in range(words)])
        rows.append((snr, float(lost)))
        if lost == 0:
            break
    snr_db, bler = np.array(rows).T
    bler = np.maximum.accumulate(bler[::-1])[::-1]
    return FecModel(mcs, math.ceil(8 * size / block.blocks), snr_db, bler)
