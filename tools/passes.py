"""SPIC's picture by the number of network passes, beside the one-pass receiver of the same bytes.

    python tools/passes.py DATA [--split val unseen] [--every 4] [--bpp 0.04] [--passes 1 2 4 10 20 50] [--begin 1000]

The sender is the same, so the label maps and coarse pictures are too (SPIC's file also holds a seed). Judge mIoU, LPIPS
(SqueezeNet), PSNR and feature distance (SqueezeNet), and 95 % intervals, paired over pictures, of the difference from
one pass. `--system gesco` leaves the coarse picture out for both. `--weights`: another folder than the bundled one.
`--guidance S` counts two passes a step. "mean colours": each class of the map in its mean over training frames.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from chappe import load
from chappe.bench.gesco import Scene, mean_colours
from chappe.bench.protocol import frames
from chappe.metrics import confusion, miou
from chappe.metrics.bootstrap import interval, interval_of_sums
from chappe.metrics.distribution import frechet_distance, squeeze_features
from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
from chappe.metrics.pixel import psnr
from chappe.segment.builtin import load_judge
from chappe.systems.diffusion.codec import load_folder
from chappe.systems.diffusion.config import Sampling
from chappe.systems.diffusion.engine import map_planes

VOID, CLASSES = 11, 12
Receiver = Callable[[np.ndarray, "np.ndarray | None"], np.ndarray]


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture, its true labels, and what arrives of it: labels and the coarse picture (None: not sent)."""

    image: np.ndarray
    truth: np.ndarray
    labels: np.ndarray
    coarse: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Figures:
    """Of one receiver, by picture."""

    matrices: np.ndarray  # (N, 12, 12)
    lpips: np.ndarray
    psnr: np.ndarray
    features: np.ndarray
    seconds: float  # processor seconds a picture

    @property
    def miou(self) -> float:
        return 100 * miou(self.matrices.sum(0), ignore=VOID)


def measure(shots: list[Shot], draw: Receiver, judge, network) -> Figures:
    matrices, far, near, drawn, spent = [], [], [], [], 0.0
    for shot in shots:
        start = time.process_time()
        picture = draw(shot.labels, shot.coarse)
        spent += time.process_time() - start
        matrices.append(confusion(judge(picture), shot.truth, CLASSES, ignore=VOID))
        far.append(lpips(shot.image, picture, network))
        near.append(psnr(shot.image, picture))
        drawn.append(picture)
    features = squeeze_features(drawn, network)
    return Figures(np.stack(matrices), np.array(far), np.array(near), features, spent / len(shots))


def row(name: str, mine: Figures, other: Figures | None, real: np.ndarray) -> str:
    cells = [name, f"{mine.miou:.1f}", "", f"{mine.lpips.mean():.3f}", "", f"{mine.psnr.mean():.2f}", "",
             f"{frechet_distance(mine.features, real):.1f}", f"{mine.seconds:.2f}"]  # fmt: skip
    if other is not None:
        both = np.stack([mine.matrices, other.matrices], 1)
        ends = interval_of_sums(both, lambda s: 100 * (miou(s[0], ignore=VOID) - miou(s[1], ignore=VOID)))
        cells[2] = "{:+.1f} … {:+.1f}".format(*ends)
        cells[4] = "{:+.3f} … {:+.3f}".format(*interval(mine.lpips - other.lpips))
        cells[6] = "{:+.2f} … {:+.2f}".format(*interval(mine.psnr - other.psnr))
    return f"| {' | '.join(cells)} |"


def receivers(args, spic) -> Iterator[tuple[str, Receiver]]:
    engine = spic.engine

    def drawing(sampling: Sampling) -> Receiver:
        return lambda labels, coarse: engine.draw(map_planes(labels, engine.config), sampling, 0, coarse)

    for passes in args.passes:
        steps = passes if args.guidance == 1 else passes // 2
        if steps:
            sampling = Sampling(args.sampler, steps, args.begin, "noised", args.guidance)
            yield f"{passes} passes, {args.sampler} from {args.begin}", drawing(sampling)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--weights")
    parser.add_argument("--system", choices=("spic", "gesco"), default="spic")
    parser.add_argument("--split", nargs="+", default=["val", "unseen"])
    parser.add_argument("--bpp", type=float, default=0.04)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4, 10, 20, 50])
    parser.add_argument("--sampler", default="consistency")
    parser.add_argument("--begin", type=int, default=1000)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    spic = load_folder(args.weights, "spic") if args.weights else load("spic-street")
    one = load("spic-onepass-street")
    first = spic.engine.first
    judge, network = load_judge(), SqueezeLPIPS.from_file(lpips_weights_path())
    training = frames(args.data, "train", every=8)
    paint = mean_colours([Scene(f.image, f.labels_in("street11")) for f in training], VOID)
    for split in args.split:
        shots = []
        for frame in frames(args.data, split, every=args.every):
            labels, coarse, _ = one._received(one.encode(frame.image, bpp=args.bpp))
            coarse = coarse if args.system == "spic" else None
            shots.append(Shot(frame.image, frame.labels_in("street11"), labels, coarse))
        real = squeeze_features([shot.image for shot in shots], network)
        print(f"\n{split}, {len(shots)} pictures, {args.system} at {args.bpp} bpp\n")
        heads = (
            "receiver",
            "judge mIoU %",
            "- one pass",
            "LPIPS",
            "- one pass",
            "PSNR dB",
            "- one pass",
            "feature distance",
        )
        print(f"| {' | '.join((*heads, 's'))} |")
        print("|---|---|---|---|---|---|---|---|---|")
        base = measure(shots, lambda labels, coarse: first(labels, coarse), judge, network)
        print(row("one pass", base, None, real), flush=True)
        print(row("mean colours", measure(shots, lambda labels, _: paint(labels), judge, network), base, real))
        for name, draw in receivers(args, spic):
            print(row(name, measure(shots, draw, judge, network), base, real), flush=True)


if __name__ == "__main__":
    main()
