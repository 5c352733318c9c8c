"""Training of the one-pass receiver: weighted l1, LPIPS, and the meaning a frozen segmenter reads; no GAN.

The coarse picture goes through the real AV1 codec in every batch, the label map is degraded as the near-lossless coder
does, and some batches get the segmenter's labels instead of the true ones.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from chappe.segment.train import class_weights
from chappe.systems.spic.coarse import decode_coarse, encode_coarse, shrink
from chappe.systems.spic.config import CODEC_DEFAULTS, OnePassConfig
from chappe.systems.spic.onepass import OnePass
from chappe.training import losses
from chappe.training.frames import Frames, to_tensors
from chappe.training.loop import LoopConfig, average_gradients, train
from chappe.training.street import StreetBatches, load_perceptual, load_teacher, near_map

__all__ = ["OnePassTask", "TrainConfig", "export", "main"]


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. `relevance` is a profile `chappe.taxonomy` understands: weights of the l1 loss."""

    batch: int = 2
    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100
    size: tuple[int, int] = (256, 512)
    quality: tuple[int, int] = (5, 45)  # of the coarse AV1 picture, drawn for each
    speeds: tuple[int, ...] = (6, 8, 10)  # of its encoder: the sender's own is too slow to train with
    pixel_weight: float = 4.0
    relevance: str = (
        "Sky=.2,Building=.3,Pole=.6,Road=.3,Pavement=.4,Tree=.35,SignSymbol=1,Fence=.6,Car=.5,Pedestrian=.9,"
        "Bicyclist=.9,Void=.2"
    )
    perceptual_weight: float = 1.5
    perceptual_crop: float = 0.5  # share of the width each step compares, at a random place
    spectrum_weight: float = 0.3
    meaning_weight: float = 0.25  # cross-entropy of the segmenter's reading of the decoded picture
    lost_share: float = 0.05  # share of the batches without coarse picture, and of those without map
    segmented_share: float = 0.4  # share of the batches whose labels come from the segmenter
    paste_classes: tuple[str, ...] = ("SignSymbol", "Pedestrian", "Bicyclist")
    paste_most: int = 8
    scene_share: float = 0.12
    seed: int = 0


class OnePassTask:
    """`perceptual`: (fake, real) -> (N,) distances; `segment`: pictures (N, 3, H, W) -> logits (N, C, H, W)."""

    name = "spic-onepass"
    ema = ("net",)

    def __init__(self, model: OnePass, config: TrainConfig, frames: Frames, *, scenes: Frames | None = None,
                 perceptual: nn.Module | None = None, segment=None):  # fmt: skip
        from chappe.taxonomy import get_taxonomy, relevance

        self.model, self.config, self.frames = model, config, frames
        self.perceptual, self.segment = perceptual, segment
        self.modules = {"net": model}
        self.optimizers = {"net": torch.optim.Adam(model.parameters(), config.lr, config.betas)}
        self.void = model.config.classes
        name = model.config.taxonomy
        classes = get_taxonomy(name).classes
        self.weights = torch.tensor(relevance(config.relevance, name), dtype=torch.float32)
        self.class_weights = class_weights(frames, self.void)
        self.batches = StreetBatches(
            frames, config.batch, self.void, config.size, scenes, config.scene_share,
            paste=tuple(classes.index(c) for c in config.paste_classes),
            protected=tuple(int(k) for k in np.nonzero(relevance("sqgan-image", name) >= 0.55)[0]),
            paste_most=config.paste_most,
        )  # fmt: skip

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        for module in (self.model, self.perceptual, self.segment):
            if isinstance(module, nn.Module):
                module.to(self.device)
        self.model.to(memory_format=torch.channels_last)  # a sixth less time a step on CPUs
        self.weights, self.class_weights = self.weights.to(self.device), self.class_weights.to(self.device)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        cfg = self.config
        rate = cfg.lr * min(1.0, (step + 1) / cfg.warmup) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005)
        for group in self.optimizers["net"].param_groups:
            group["lr"] = rate
        images, labels = self.batches.arrays(rng)
        coarse = self._coarse(images, rng)
        x, y = (t.to(self.device) for t in to_tensors(images, labels))
        sent = y
        if self.segment is not None and rng.random() < cfg.segmented_share:
            with torch.no_grad():
                sent = self.segment(x).argmax(1)
        received = near_map(sent, self.void + 1, rng)
        lost = rng.random()  # a receiver that has only one of the two draws what it can
        if lost < cfg.lost_share:
            coarse = torch.zeros_like(coarse)
        elif lost < 2 * cfg.lost_share:
            received = torch.full_like(received, self.void)
        self.model.train()
        fake = self.model(coarse.contiguous(memory_format=torch.channels_last), received)
        pixel = losses.weighted_pixel_loss(fake, x, y, self.weights, "l1")
        loss, figures = cfg.pixel_weight * pixel, {"pixel": pixel}
        if self.perceptual is not None:
            figures["lpips"] = losses.perceptual_loss(fake, x, self.perceptual, cfg.perceptual_crop, rng)
            loss = loss + cfg.perceptual_weight * figures["lpips"]
        if cfg.spectrum_weight:
            figures["spectrum"] = losses.spectrum_loss(fake, x, rng)
            loss = loss + cfg.spectrum_weight * figures["spectrum"]
        if self.segment is not None and cfg.meaning_weight:
            figures["meaning"] = losses.meaning_loss(fake, y, self.segment, self.class_weights, rng)
            loss = loss + cfg.meaning_weight * figures["meaning"]
        optimizer = self.optimizers["net"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        return {k: float(v.detach()) for k, v in figures.items()}

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
