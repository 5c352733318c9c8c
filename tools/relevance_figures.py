"""Whether class relevance that was learned from the task beats that set by hand, at equal bytes.

    CHAPPE_DATA=... python tools/relevance_figures.py [--bpp 0.012 0.015] [--every 3] [--train 20] [--save FILE]

Learned on training frames only, with the built-in segmenter as the task (the judge is never asked): `gradient`, the
loss that repairing a pixel of each class would save (`balanced`: all classes alike), and `omission`, what the mIoU
loses when a class gets the last bits (`per pixel`: divided by its area). Which of the two of a kind, and how far to go
from uniform weights towards it, is chosen by what the segmenter reads in the training frames. Then the judge reads the
decoded pictures of `val` and `unseen`, coded with the segmenter's labels under each profile. Differences are paired,
with 95 % bootstrap intervals over pictures. --profiles FILE takes weights that --save kept.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import cache
from pathlib import Path

import numpy as np

VOID, CLASSES = 11, 12
STEPS = (0.3, 1.0)  # of the way from uniform weights


def coded(codec, image, labels, bpp: float, profile: str):
    """(decoded picture, bytes) at a rate under a profile."""
    from chappe.codec import OperatingPoint

    blob = codec.encode(image, labels=labels, point=OperatingPoint("measured", {"bpp": bpp, "relevance": profile}))
    return codec.decode(blob).image, len(blob)


def learn(codec, segmenter, data: Path, count: int, bpp: float) -> dict[str, str]:
    """Profiles by name, from `count` training frames, evenly spread."""
    from chappe.data import street_protocol
    from chappe.edge.relevance import relevance_from_gradient, relevance_from_omission
    from chappe.metrics import confusion, miou
    from chappe.training.corpus import load_frames

    frames = load_frames(data)
    picked = np.linspace(0, len(frames) - 1, count).round().astype(int)
    shots = [street_protocol(frames.images[k], frames.labels[k]) for k in picked]
    maps = [segmenter(image) for image, _ in shots]
    pairs = [
        (image, coded(codec, image, labels, bpp, "uniform")[0], truth)
        for (image, truth), labels in zip(shots, maps, strict=True)
    ]

    @cache
    def measure(profile: str) -> np.ndarray:
        return sum(
            confusion(segmenter(coded(codec, image, labels, bpp, profile)[0]), truth, CLASSES, ignore=VOID)
            for (image, truth), labels in zip(shots, maps, strict=True)
        )

    found = {
        "gradient": relevance_from_gradient(segmenter.net, pairs),
        "gradient, balanced": relevance_from_gradient(segmenter.net, pairs, balanced=True),
        "omission": relevance_from_omission(measure),
        "omission, per pixel": relevance_from_omission(measure, area=True),
    }
    for name, one in found.items():
        print(f"{name}: gains " + ", ".join(f"{k} {v:.3g}" for k, v in one.gains.items()), flush=True)

    def score(name: str, profile: str) -> float:
        value = 100 * miou(measure(profile), ignore=VOID)
        print(f"training frames, segmenter's mIoU: {value:.2f} {name}", flush=True)
        return value

    score("uniform", "rest=1")
    score("by hand", "sqgan-image")
    profiles = {}
    for kind in ("gradient", "omission"):
        steps = {
            f"{name} x {part:g}": one.softened(part).text()
            for name, one in found.items()
            for part in STEPS
            if name.startswith(kind)
        }
        best = max(steps, key=lambda step: score(step, steps[step]))
        profiles[best] = steps[best]
    return profiles


def compare(codec, judge, segmenter, shots, bpp: float, profiles: dict[str, str]) -> None:
    """Print a row for each profile: bytes, judge mIoU, paired differences, IoU of each class."""
    from chappe.metrics import confusion, miou, per_class_iou
    from chappe.metrics.bootstrap import interval_of_sums
    from chappe.taxonomy import get_taxonomy

    matrices, sizes = {}, {}
    for name, profile in profiles.items():
        found = [coded(codec, frame.image, labels, bpp, profile) for frame, _, labels in shots]
        sizes[name] = np.mean([size for _, size in found])
        matrices[name] = np.stack(
            [confusion(judge(image), truth, CLASSES, ignore=VOID)
             for (image, _), (_, truth, _) in zip(found, shots, strict=True)]
        )  # fmt: skip
    score = lambda matrix: miou(matrix, ignore=VOID)  # noqa: E731

    def against(name: str, base: str) -> str:
        if name == base:
            return "-"
        both = np.stack([matrices[name], matrices[base]], 1)
        difference = lambda total: 100 * (score(total[0]) - score(total[1]))  # noqa: E731
        low, high = interval_of_sums(both, difference)
        return f"{difference(both.sum(0)):+.2f} ({low:+.2f} to {high:+.2f})"

    classes = get_taxonomy("street11").classes[:VOID]
    print(f"\n{bpp} bpp\n| profile | bytes | judge mIoU | against uniform | against by hand | {' | '.join(classes)} |")
    print("|---" * (5 + len(classes)) + "|")
    for name in profiles:
        total = matrices[name].sum(0)
        each = " | ".join(f"{100 * v:.1f}" for v in per_class_iou(total)[:VOID])
        print(
            f"| {name} | {sizes[name]:.1f} | {100 * score(total):.2f} | {against(name, 'uniform')} | "
            f"{against(name, 'by hand')} | {each} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")), help="holds camvid/")
    parser.add_argument("--codec", default="sqgan-street")
    parser.add_argument("--split", nargs="+", default=["val", "unseen"])
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.012, 0.015])
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--train", type=int, default=20, help="training frames to learn on (default %(default)s)")
    parser.add_argument("--save", type=Path, help="keep the learned profiles as JSON")
    parser.add_argument("--profiles", type=Path, help="take learned profiles that --save kept")
    args = parser.parse_args()
    import torch

    from chappe import load
    from chappe.bench.protocol import frames
    from chappe.files import atomic_write_bytes
    from chappe.segment.builtin import load_judge, load_segmenter

    torch.set_num_threads(1)
    codec, judge, segmenter = load(args.codec), load_judge(), load_segmenter()
    if args.profiles:
        learned = json.loads(args.profiles.read_text())
    else:
        learned = learn(codec, segmenter, args.data / "camvid", args.train, args.bpp[0])
    for name, text in learned.items():
        print(f"{name}: {text}", flush=True)
    if args.save:
        atomic_write_bytes(args.save, (json.dumps(learned, indent=1) + "\n").encode())
    profiles = {"uniform": "uniform", "by hand": "sqgan-image", **learned}
    for split in args.split:
        shots = [
            (frame, frame.labels_in("street11"), segmenter(frame.image))
            for frame in frames(args.data / "camvid", split, every=args.every)
        ]
        print(f"\n{split}: {len(shots)} frames, {args.codec}, the segmenter's labels")
        for bpp in args.bpp:
            compare(codec, judge, segmenter, shots, bpp, profiles)


if __name__ == "__main__":
    main()
