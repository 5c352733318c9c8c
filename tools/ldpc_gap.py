"""How far from the information limit our decoder works: dB over it at 1 block error in 100, by size and scheme.

    python tools/ldpc_gap.py                       # all schemes, some minutes
    python tools/ldpc_gap.py --schemes qpsk-1/2

The table in chappe.link.adaptation is the largest of each size. Bit-interleaved QAM over AWGN, steps of 0.2 dB.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from chappe.link.adaptation import bit_information, parse_mcs
from chappe.link.qam import BITS, demap, map_bits
from chappe.link.transport import TransportBlock

SIZES = (3, 10, 35, 120, 370, 1030)  # bytes
SCHEMES = ("qpsk-1/20", "qpsk-1/5", "qpsk-1/2", "qpsk-3/4", "16qam-1/2", "64qam-5/6")


def block_errors(block: TransportBlock, modulation: str, snr_db: float, words: int) -> float:
    """Share of code blocks in error at Es/N0."""
    rng = np.random.default_rng(0)
    noise = torch.Generator().manual_seed(0)
    length = int(block.lengths[0])
    code = next(code for *_, code in block.batches() if code.n == length)
    bits = rng.integers(0, 2, (words, code.k)).astype(np.uint8)
    sent = map_bits(torch.from_numpy(code.encode(bits)), modulation)
    variance = 10 ** (-snr_db / 10)
    heard = sent + torch.view_as_complex(torch.randn(*sent.shape, 2, generator=noise)) * (variance / 2) ** 0.5
    found, _ = code.decode(demap(heard, variance, modulation).reshape(words, -1).numpy())
    return float((found != bits).any(axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemes", nargs="+", default=SCHEMES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    grid = np.arange(-30, 40, 0.01)
    for name in args.schemes:
        mcs = parse_mcs(name)
        limit = grid[np.searchsorted(bit_information(mcs.modulation, grid), float(mcs.rate))]
        for size in SIZES:
            block = TransportBlock(size, mcs.rate, BITS[mcs.modulation])
            gap = 0.3
            while block_errors(block, mcs.modulation, limit + gap, 300) > 0.013:
                gap += 0.2
            print(f"{name:10s} {block.k:5d} bits: limit {limit:6.2f} dB, gap {gap:.1f} dB", flush=True)


if __name__ == "__main__":
    main()
