"""How a learned codec should share its bytes between label map and picture, measured on training frames.

    CHAPPE_DATA=... python tools/rate_slopes.py DATA --codec spic-onepass-street

For every rate and share it codes the frames with the sender's own labels and reads judge mIoU and LPIPS off the decoded
pictures. Prints the whole table and, for each goal, the `goals` entry of the model's config.json. Only training frames
that are neither `val` nor `unseen` are read.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

RATES = (0.015, 0.025, 0.04, 0.08)
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", default=Path(os.environ.get("CHAPPE_DATA", ".")) / "camvid")
    parser.add_argument("--codec", default="spic-onepass-street")
    parser.add_argument("--frames", type=int, default=16, help="training frames, evenly spread (default 16)")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    args = parser.parse_args()
    import torch

    from chappe.codec import OperatingPoint, load
    from chappe.data import street_protocol
    from chappe.errors import RateError
    from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
    from chappe.metrics.semantic import confusion, miou
    from chappe.segment.builtin import load_judge
    from chappe.training.corpus import load_frames

    torch.set_num_threads(1)
    frames = load_frames(args.data)
    picked = np.linspace(0, len(frames) - 1, args.frames).round().astype(int)
    pairs = [street_protocol(frames.images[k], frames.labels[k]) for k in picked]
    codec, judge, network = load(args.codec), load_judge(), SqueezeLPIPS.from_file(lpips_weights_path())
    void = codec.classes - 1
    maps = [codec.segment(image) for image, _ in pairs]
    best: dict[str, list] = {"meaning": [], "looks": []}
    print(f"{args.codec}, {args.frames} training frames, own labels\n  bpp  share  reached  judge mIoU    LPIPS")
    for rate in args.rates:
        found = []
        for share in args.shares:
            total, distances = 0, []
            for (image, truth), labels in zip(pairs, maps, strict=True):
                point = OperatingPoint("try", {"bpp": rate, "map_share": share})
                try:
                    decoded = codec.decode(codec.encode(image, labels=labels, point=point)).image
                except RateError:
                    continue
                total = total + confusion(judge(decoded), truth, codec.classes, ignore=void)
                distances.append(lpips(image, decoded, network))
            if len(distances) == len(pairs):
                found.append((share, miou(total, ignore=void), float(np.mean(distances))))
                print(f"{rate:.3f}  {share:5.2f}  {len(distances):7d}  {100 * found[-1][1]:10.2f}  {found[-1][2]:.4f}")
        if found:
            best["meaning"].append([rate, max(found, key=lambda f: f[1])[0]])
            best["looks"].append([rate, min(found, key=lambda f: f[2])[0]])
    print(json.dumps({"goals": {goal: {"near": table} for goal, table in best.items()}}))


if __name__ == "__main__":
    main()
