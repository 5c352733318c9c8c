"""The measured figures of docs/link.md: payloads lost with each precoder, and what sending costs. About a minute.

python tools/link_figures.py --draws 150
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from chappe.bench.link_schemes import mutual_folder
from chappe.link import ChannelSpec, DigitalLink
from chappe.link.learned.enhanced import enhanced
from chappe.link.learned.store import read_parts

SCHEMES = (("svd-waterfill", "lmmse"), ("svd-waterfill+dft", "lmmse"), ("svd-equal", "lmmse"), ("svd-minmse", "lmmse"),
           ("svd-minmse+dft", "lmmse"), ("none", "lmmse"), ("none", "ml"))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=150, help="payloads a scheme and SNR (default %(default)s)")
    parser.add_argument("--fade-every", type=int, help="channel uses (default: one fade a payload)")
    parser.add_argument("--snr", type=float, nargs="+", default=[2.0, 6.0, 10.0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    payload = rng.bytes(480)
    spec = ChannelSpec("rayleigh", 2, 2, fade_every=args.fade_every)
    trained = read_parts(mutual_folder())[1]["mutual"]  # the bundled mutual-information precoder (docs/scsc.md)
    print("share of 480-byte payloads lost, 2x2 Rayleigh, QPSK, rate 1/2, at", args.snr, "dB")
    for precoder, detector in (*SCHEMES, ("learned", "ml")):
        lost = []
        for snr in args.snr:
            if precoder == "learned":
                link = enhanced(DigitalLink(spec, snr, detector=detector), trained)
            else:
                link = DigitalLink(spec, snr, precoder=precoder, detector=detector)
            lost.append(np.mean([not link.send(payload, seed=seed).ok for seed in range(args.draws)]))
        print(f"{precoder:18s} {detector:6s}", *(f"{share:.3f}" for share in lost), flush=True)
    for name, height, width in (("256x512", 256, 512), ("4096x4096", 4096, 4096)):
        link, blob = DigitalLink("awgn", 1.5), rng.bytes(int(0.3 * height * width / 8))
        start = time.process_time()
        reception = link.send(blob)
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name} at 0.3 bpp over AWGN at 1.5 dB: {reception.blocks} blocks, {reception.channel_uses} uses, "
              f"{reception.iterations:.1f} iterations, {seconds:.2f} s of processor, peak {peak:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
