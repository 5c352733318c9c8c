"""Bytes over QPSK and white noise without any code: every error arrives (the reading that fits RL-ASC's Fig. 12).

For files whose sections check themselves and can do without each other. SNR is Es/N0, as in the paper.
"""

from __future__ import annotations

import math

import numpy as np

from chappe.errors import UsageError

__all__ = ["bit_error_rate", "uncoded_qpsk"]


def bit_error_rate(snr_db: float) -> float:
    """Of Gray-mapped QPSK at Es/N0: Q(sqrt(Es/N0)), 0 to 1/2."""
    return 0.5 * math.erfc(math.sqrt(10 ** (snr_db / 10) / 2))


def uncoded_qpsk(data: bytes, snr_db: float, seed: int, *, protected: int = 0) -> bytes:
    """`data` as a hard decision receives it; the first `protected` bytes come safe (sent in another, coded way).

    Two bits a symbol, the signs of its real and imaginary part; noise of variance N0 / 2 in each.
    """
    if not 0 <= protected <= len(data) or not math.isfinite(snr_db):
        raise UsageError(f"{protected} of {len(data)} bytes cannot be protected at {snr_db} dB")
    bits = np.unpackbits(np.frombuffer(data[protected:], np.uint8))
    amplitude = math.sqrt(0.5)  # of each part, at Es = 1
    noise = np.random.default_rng(seed).normal(0, math.sqrt(0.5 * 10 ** (-snr_db / 10)), bits.size)
    received = (1 - 2.0 * bits) * amplitude + noise < 0
    return data[:protected] + np.packbits(received).tobytes()
