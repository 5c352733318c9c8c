"""What the one-pass codec's coarse picture loses when AV1's encoder does without some of its tools, at equal bytes.

    python tools/av1_settings.py DATA [--split train] [--every 10] [--bpp 0.02 0.04 0.08] [--settings 4 6 4,sb-size=64]

A setting is libaom's speed and options of its own, as Pillow's `advanced` takes them. For each: milliseconds a coding,
and at each rate LPIPS and judge mIoU of the decoded pictures with the segmenter's labels, then 95 % intervals, paired
over pictures, of the difference from the first setting. LPIPS weights from $CHAPPE_DATA.
"""

from __future__ import annotations

import argparse
import time
from unittest import mock

import numpy as np

import chappe
from chappe.bench.protocol import frames
from chappe.metrics import confusion, miou
from chappe.metrics.bootstrap import interval, interval_of_sums
from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
from chappe.segment.builtin import load_judge, load_segmenter
from chappe.systems.spic import coarse, search

VOID, CLASSES = 11, 12
USUAL = ("4", "4,min-partition-size=8", "5,min-partition-size=8", "6")


class Timed:
    """`encode_coarse` at the setting's speed, with its seconds; trials at the fastest speed stay what they are."""

    def __init__(self, setting: str):
        speed, *options = setting.split(",")
        self.speed, self.options, self.seconds = int(speed), dict(o.split("=", 1) for o in options), []

    def __call__(self, small: np.ndarray, quality: int, speed: int | None = None) -> bytes:
        start = time.perf_counter()
        payload = coarse.encode_coarse(small, quality, speed or self.speed)
        if speed is None:
            self.seconds.append(time.perf_counter() - start)
        return payload


def measure(codec, shots: list, bpp: float, setting: str, eyes: tuple) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Confusion matrices (N, C, C), LPIPS (N,) and seconds of each coding."""
    judge, distance = eyes
    timed = Timed(setting)
    matrices, far = [], []
    with mock.patch.object(search, "encode_coarse", timed), mock.patch.object(coarse, "LIMITS", timed.options):
        for frame, labels in shots:
            picture = codec.decode(codec.encode(frame.image, labels=labels, bpp=bpp)).image
            matrices.append(confusion(judge(picture), frame.labels_in("street11"), CLASSES, ignore=VOID))
            far.append(lpips(picture, frame.image, distance))
    return np.array(matrices), np.array(far), timed.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--split", default="train")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.02, 0.04, 0.08])
    parser.add_argument("--settings", nargs="+", default=USUAL, metavar="SPEED[,OPTION=VALUE]")
    args = parser.parse_args()
    codec, segment = chappe.load("spic-onepass-street"), load_segmenter()
    eyes = load_judge(), SqueezeLPIPS.from_file(lpips_weights_path())
    shots = [(frame, segment(frame.image)) for frame in frames(args.data, args.split, every=args.every)]
    print(
        f"{args.split}, {len(shots)} pictures\n\n| bpp | libaom | ms | LPIPS | difference | judge mIoU % | difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for bpp in args.bpp:
        first = None
        for setting in args.settings:
            matrices, far, seconds = measure(codec, shots, bpp, setting, eyes)
            first = first or (matrices, far)
            pairs = np.stack([matrices, first[0]], 1)
            points = interval_of_sums(pairs, lambda t: 100 * (miou(t[0], ignore=VOID) - miou(t[1], ignore=VOID)))
            ends, mean = interval(far - first[1]), 100 * miou(matrices.sum(0), ignore=VOID)
            moved = [f"{ends[0]:+.4f} … {ends[1]:+.4f}", f"{points[0]:+.1f} … {points[1]:+.1f}"]
            if setting == args.settings[0]:
                moved = ["", ""]
            took = f"{1000 * np.median(seconds):.0f}"
            cells = [f"{bpp:g}", setting, took, f"{far.mean():.4f}", moved[0], f"{mean:.1f}", moved[1]]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
