"""Throughput and error rate of our LDPC decoders beside Sionna's, same code, same noise, one thread.

    python tools/ldpc_speed.py                       # needs chappe[link]; --words 200 for finer error rates
    python tools/ldpc_speed.py --scales --words 200  # min-sum alone, at several normalisation factors

QPSK over AWGN, SNR = Es/N0. Speed is information bits by processor second at that SNR; ours stop at the first word that
satisfies all checks. The last line is ours far below the waterfall, where no word stops early.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from chappe.link.ldpc import MIN_SUM, LDPCCode, ldpc_code
from chappe.link.sionna_adapter import SionnaLDPC


def words(code: LDPCCode, snr_db: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(B, k) bits and the (B, n) LLRs that a QPSK receiver has of them."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, code.k)).astype(np.uint8)
    sigma2 = 10 ** (-snr_db / 10)
    sent = (1 - 2.0 * code.encode(bits)) * np.sqrt(0.5)
    heard = sent + rng.normal(scale=np.sqrt(sigma2 / 2), size=sent.shape)
    return bits, (4 * np.sqrt(0.5) * heard / sigma2).astype(np.float32)


def timed(decoder, llr: np.ndarray, iterations: int, **options) -> tuple[np.ndarray, float]:
    start = time.process_time()
    found = decoder.decode(llr, iterations, **options)[0]
    return found, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--n", type=int, default=8192)
    parser.add_argument("--snr", type=float, nargs="+", default=[0.75, 1.0, 1.25, 1.5])
    parser.add_argument("--words", type=int, default=48)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scales", action="store_true", help="min-sum alone, normalisation 0.65 to 0.9")
    args = parser.parse_args()
    torch.set_num_threads(1)
    code = ldpc_code(args.k, args.n, 2)
    code.decode(words(code, 3.0, 1, 0)[1])  # compiles
    print(f"k = {code.k}, n = {code.n}, base graph {code.graph}, Z = {code.z}, {args.iterations} iterations")
    if args.scales:
        for scale in (0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
            rates = []
            for snr in args.snr:
                bits, llr = words(code, snr, args.words, args.seed)
                found, _ = timed(code, llr, args.iterations, scale=scale)
                rates.append(f"{(found != bits).any(axis=1).mean():.3f}")
            print(f"scale {scale:.2f}: BLER " + " ".join(rates) + f" at {args.snr} dB")
        return
    theirs = SionnaLDPC(code)
    theirs.decode(words(code, 3.0, 1, 0)[1], args.iterations)
    for snr in args.snr:
        bits, llr = words(code, snr, args.words, args.seed)
        line = f"Es/N0 {snr:5.2f} dB:"
        for name, decoder in (("corrected", code), ("min-sum", code), ("Sionna", theirs)):
            options = {"scale": MIN_SUM} if name == "min-sum" else {}
            found, seconds = timed(decoder, llr, args.iterations, **options)
            bler, speed = (found != bits).any(axis=1).mean(), bits.size / seconds / 1e6
            line += f"  {name} BLER {bler:.3f}, {speed:.3f} Mbit/s"
        print(line, flush=True)
    bits, llr = words(code, args.snr[0] - 2, args.words, args.seed)
    print(f"corrected, every word all iterations: {bits.size / timed(code, llr, args.iterations)[1] / 1e6:.3f} Mbit/s")


if __name__ == "__main__":
    main()
