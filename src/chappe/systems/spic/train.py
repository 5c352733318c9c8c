"""Training of the one-pass receiver: weighted l1, LPIPS, and the meaning a frozen segmenter reads; no GAN.

The coarse picture goes through the real AV1 codec in every batch, the label map is degraded as the near-lossless coder
does, and some batches get the segmenter's labels instead of the true ones.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from chappe.systems.spic.coarse import decode_coarse, encode_coarse, shrink
from chappe.systems.spic.config import CODEC_DEFAULTS, OnePassConfig
from chappe.systems.spic.onepass import OnePass
from chappe.training.frames import Frames, to_tensors
from chappe.training.loop import LoopConfig, train
from chappe.training.picture import PictureRecipe, PictureTask
from chappe.training.street import load_perceptual, load_teacher, near_map

__all__ = ["OnePassTask", "TrainConfig", "export", "main"]


@dataclass(frozen=True)
class TrainConfig(PictureRecipe):
    """The street recipe."""

    quality: tuple[int, int] = (5, 45)  # of the coarse AV1 picture, drawn for each
    speeds: tuple[int, ...] = (6, 8, 10)  # of its encoder: the sender's own is too slow to train with
    lost_share: float = 0.05  # share of the batches without coarse picture, and of those without map


class OnePassTask(PictureTask):
    """See `PictureTask`."""

    name = "spic-onepass"

    def __init__(self, model: OnePass, config: TrainConfig, frames: Frames, **others):
        super().__init__(model, {"net": model}, config, frames, **others)

    def prepare(self, accelerator) -> None:
        super().prepare(accelerator)
        self.model.to(memory_format=torch.channels_last)  # a sixth less time a step on CPUs

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        images, labels = self.batches.arrays(rng)
        coarse = self._coarse(images, rng)
        x, y = (t.to(self.device) for t in to_tensors(images, labels))
        received = near_map(self.sent_labels(x, y, rng), self.void + 1, rng)
        lost = rng.random()  # a receiver that has only one of the two draws what it can
        if lost < self.config.lost_share:
            coarse = torch.zeros_like(coarse)
        elif lost < 2 * self.config.lost_share:
            received = torch.full_like(received, self.void)
        self.model.train()
        fake = self.model(coarse.contiguous(memory_format=torch.channels_last), received)
        return self.descend(step, progress, fake, x, y, rng)

    def _coarse(self, images: list[np.ndarray], rng: np.random.Generator) -> Tensor:
        """What the receiver gets of each picture: (N, 3, H/4, W/4) in [-1, 1]."""
        out = []
        for image in images:
            small = shrink(image)
            quality, speed = int(rng.integers(*self.config.quality)), int(rng.choice(self.config.speeds))
            out.append(decode_coarse(encode_coarse(small, quality, speed), *small.shape[:2]))
        return to_tensors(out, [np.zeros((1, 1), np.uint8)] * len(out))[0].to(self.device)


def main(argv: list[str] | None = None) -> int:
    """`chappe train onepass --data DIR --out DIR`: the one-pass receiver, then its weights in OUT/weights."""
    parser = argparse.ArgumentParser(prog="chappe train onepass", description=main.__doc__)
    parser.add_argument("--data", required=True, type=Path, help="data set folder (CamVid layout or any other)")
    parser.add_argument("--out", required=True, type=Path, help="folder for the checkpoint, the log and the weights")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, help="pictures a step (default 2)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="training size (default 256 512)")
    parser.add_argument("--scenes", type=int, default=200, help="procedural scenes to mix in (0: none)")
    parser.add_argument("--lpips", type=Path, help="LPIPS SqueezeNet weights (default: $CHAPPE_DATA/weights)")
    parser.add_argument("--no-lpips", action="store_true", help="train without a perceptual loss (for tests)")
    parser.add_argument("--minutes", type=float, help="stop, resumably, after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: leave as is)")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    from chappe.training.corpus import load_frames, load_scenes

    overrides = {"batch": args.batch, "size": tuple(args.size) if args.size else None, "seed": args.seed}
    config = replace(TrainConfig(), **{k: v for k, v in overrides.items() if v is not None})
    torch.manual_seed(args.seed)
    model = OnePass()
    task = OnePassTask(
        model, config, load_frames(args.data), scenes=load_scenes(args.scenes) if args.scenes else None,
        perceptual=None if args.no_lpips else load_perceptual(args.lpips), segment=load_teacher(model.config.taxonomy),
    )  # fmt: skip
    ema = train(task, LoopConfig(args.out, args.steps, args.seed, minutes=args.minutes))
    if ema is not None:  # None: stopped before its end; the same command goes on from here
        export(args.out, ema["net"], model.config, config, task.frames)
    return 0


def class_colours(frames: Frames, classes: int) -> list[list[int]]:
    """Mean colour of each of `classes` over all pixels of `frames`, RGB 0 to 255; mid-grey for one that has none."""
    total, count = np.zeros((classes, 3)), np.zeros(classes)
    for image, labels in zip(frames.images, frames.labels, strict=True):
        count += np.bincount(labels.ravel(), minlength=classes)[:classes]
        for k in range(3):
            total[:, k] += np.bincount(labels.ravel(), image[..., k].ravel().astype(float), classes)[:classes]
    mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], 128)
    return np.rint(mean).astype(int).tolist()


def export(out: Path, state: dict[str, Tensor], shape: OnePassConfig, recipe: TrainConfig, frames: Frames) -> None:
    """Write OUT/weights: float16 generator, codec settings with the colours of `frames`' classes, recipe."""
    from chappe.training.export import save_model

    config = {"kind": "spic-onepass", **shape.to_dict()}
    codec = CODEC_DEFAULTS | {"colours": class_colours(frames, shape.classes + 1)}
    save_model(out / "weights", state, config, codec=codec, recipe=asdict(recipe))
