"""What the one-pass codec's coarse picture loses when AV1's encoder does without some of its tools, at equal bytes.

    python tools/av1_settings.py DATA [--split train] [--every 10] [--bpp 0.02 0.04 0.08] [--espnetv2]
                                 [--settings 4 6 4,min-partition-size=8]

A setting is libaom's speed and options of its own, as Pillow's `advanced` takes them. For each: milliseconds a coding,
and at each rate LPIPS and mIoU of the decoded pictures with the segmenter's labels, by the judge and by the stranger
ESPNetv2, then 95 % intervals, paired over pictures, of the difference from the first setting. LPIPS and ESPNetv2
weights from $CHAPPE_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from unittest import mock

import numpy as np

import chappe
from chappe.bench.protocol import frames
from chappe.metrics import confusion, miou
from chappe.metrics.bootstrap import interval, interval_of_sums
from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
from chappe.segment.builtin import load_judge, load_segmenter
from chappe.systems.spic import search
from chappe.systems.spic.coarse import encode_coarse

VOID, CLASSES = 11, 12
USUAL = ("4", "4,min-partition-size=8", "5", "6")


class Timed:
    """`encode_coarse` at the setting's speed, with its seconds; trials at the fastest speed stay what they are."""

    def __init__(self, setting: str):
        speed, *options = setting.split(",")
        self.speed, self.options, self.seconds = int(speed), dict(o.split("=", 1) for o in options), []

    def __call__(self, small: np.ndarray, quality: int, speed: int | None = None) -> bytes:
        start = time.perf_counter()
        payload = encode_coarse(small, quality, speed or self.speed, None if speed else self.options)
        if speed is None:
            self.seconds.append(time.perf_counter() - start)
        return payload


def measure(codec, shots: list, bpp: float, setting: str, distance, eyes: dict[str, Callable]):
    """Confusion matrices (N, C, C) by eye, LPIPS (N,) and seconds of each coding."""
    timed = Timed(setting)
    matrices, far = {name: [] for name in eyes}, []
    with mock.patch.object(search, "encode_coarse", timed):
        for frame, labels in shots:
            picture = codec.decode(codec.encode(frame.image, labels=labels, bpp=bpp)).image
            for name, eye in eyes.items():
                matrices[name].append(confusion(eye(picture), frame.labels_in("street11"), CLASSES, ignore=VOID))
            far.append(lpips(picture, frame.image, distance))
    return {name: np.array(found) for name, found in matrices.items()}, np.array(far), timed.seconds


def line(found: tuple, first: tuple | None) -> list[str]:
    """Cells of a row: milliseconds, LPIPS and mIoU by eye, each with the interval of what it moved."""
    matrices, far, seconds = found
    cells = [f"{1000 * np.median(seconds):.0f}", f"{far.mean():.4f}"]
    if first is not None:
        low, high = interval(far - first[1])
        cells[-1] += f" [{low:+.4f}, {high:+.4f}]"
    for name, matrix in matrices.items():
        cells.append(f"{100 * miou(matrix.sum(0), ignore=VOID):.1f}")
        if first is not None:
            pairs = np.stack([matrix, first[0][name]], 1)
            ends = interval_of_sums(pairs, lambda t: 100 * (miou(t[0], ignore=VOID) - miou(t[1], ignore=VOID)))
            cells[-1] += f" [{ends[0]:+.1f}, {ends[1]:+.1f}]"
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--split", default="train")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.02, 0.04, 0.08])
    parser.add_argument("--settings", nargs="+", default=USUAL, metavar="SPEED[,OPTION=VALUE]")
    parser.add_argument("--espnetv2", action="store_true")
    args = parser.parse_args()
    codec, segment, eyes = chappe.load("spic-onepass-street"), load_segmenter(), {"judge": load_judge()}
    distance = SqueezeLPIPS.from_file(lpips_weights_path())
    if args.espnetv2:
        from chappe.bench.espnetv2 import load_espnetv2

        eyes["ESPNetv2"] = load_espnetv2()
    shots = [(frame, segment(frame.image)) for frame in frames(args.data, args.split, every=args.every)]
    heads = ["bpp", "libaom", "ms", "LPIPS", *(f"{name} mIoU %" for name in eyes)]
    print(f"{args.split}, {len(shots)} pictures\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for bpp in args.bpp:
        first = None
        for setting in args.settings:
            found = measure(codec, shots, bpp, setting, distance, eyes)
            print(f"| {bpp:g} | {setting} | {' | '.join(line(found, first))} |", flush=True)
            first = first or found


if __name__ == "__main__":
    main()
