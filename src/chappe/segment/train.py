"""Training of the segmenter and of the judge: weighted cross-entropy plus a soft-IoU term, AdamW, one cosine."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chappe.segment.judge_model import JudgeConfig, JudgeNet
from chappe.segment.model import SegConfig, SegNet
from chappe.training.frames import Augment, Frames, to_tensors
from chappe.training.loop import LoopConfig, average_gradients, train

__all__ = ["SegmenterTask", "class_weights", "judge_main", "main", "soft_iou_loss"]


def class_weights(frames: Frames, classes: int) -> Tensor:
    """1 / ln(1.06 + share) as ENet weighs rare classes, scaled to a share-weighted mean of 1. Shape (classes,)."""
    counts = sum(np.bincount(y.ravel(), minlength=256)[:classes] for y in frames.labels).astype(np.float64)
    share = counts / counts.sum()
    weights = 1.0 / np.log(1.06 + share)
    return torch.tensor(weights / (weights * share).sum(), dtype=torch.float32)


def soft_iou_loss(logits: Tensor, target: Tensor, void: int) -> Tensor:
    """1 - mean soft IoU over the classes present in the batch; logits (N, C, H, W), target (N, H, W)."""
    classes = logits.shape[1]
    valid = (target != void).unsqueeze(1)
    prob = logits.softmax(1) * valid
    truth = F.one_hot(target.clamp(max=classes - 1), classes).permute(0, 3, 1, 2) * valid
    inter = (prob * truth).sum((0, 2, 3))
    union = (prob + truth).sum((0, 2, 3)) - inter
    present = truth.sum((0, 2, 3)) > 0
    return 1 - (inter[present] / union[present].clamp_min(1.0)).mean()


class SegmenterTask:
    """`frames` are real; `scenes`, when given, replace a share `scene_share` of each batch.

    The shape of `config` decides which network is trained.
    """

    ema = ("net",)

    def __init__(self, frames: Frames, *, config: SegConfig | JudgeConfig, batch: int = 6, lr: float = 2e-3,
                 seed: int = 0, scenes: Frames | None = None, scene_share: float = 0.15,
                 size: tuple[int, int] = (256, 512), zoom: tuple[float, float] = (0.75, 1.12)):  # fmt: skip
        torch.manual_seed(seed)
        self.frames, self.scenes, self.scene_share = frames, scenes, scene_share
        judge = isinstance(config, JudgeConfig)
        self.name = "judge" if judge else "segmenter"
        self.net = (JudgeNet if judge else SegNet)(config).to(memory_format=torch.channels_last)
        self.modules = {"net": self.net}
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=lr, weight_decay=1e-2)
        self.optimizers = {"net": self.optimizer}
        self.batch, self.lr = batch, lr
        self.void = config.classes
        self.augment = Augment(size=size, zoom=zoom, void=self.void)
        self.weights = class_weights(frames, config.classes)
        self.device = torch.device("cpu")

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        self.net.to(self.device)
        self.weights = self.weights.to(self.device)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        pairs = []
        for _ in range(self.batch):
            source = self.scenes if self.scenes and rng.random() < self.scene_share else self.frames
            k = int(rng.integers(len(source)))
            pairs.append(self.augment(source.images[k], source.labels[k], rng))
        x, y = to_tensors([p[0] for p in pairs], [p[1] for p in pairs])
        x, y = x.to(self.device), y.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress)) + 1e-6
        self.net.train()
        logits = self.net(x.contiguous(memory_format=torch.channels_last))
        ce = F.cross_entropy(logits, y, weight=self.weights, ignore_index=self.void)
        iou = soft_iou_loss(logits, y, self.void)
        loss = ce + 0.5 * iou
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.net)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        return {"ce": ce.item(), "iou_loss": iou.item()}


def main(argv: list[str] | None = None) -> int:
    """`chappe train segmenter --data DIR --out DIR`: trains on split `train` of DIR plus procedural scenes."""
    return _main("segmenter", SegConfig(), argv)


def _main(name: str, config: SegConfig | JudgeConfig, argv: list[str] | None, **defaults) -> int:
    parser = argparse.ArgumentParser(prog=f"chappe train {name}", description=f"Train the {name}.")
    parser.add_argument(
        "--data", required=True, type=Path, help="data set folder (CamVid layout or any other chappe reads)"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the checkpoint, the log and the weights")
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--scenes", type=int, default=300, help="procedural scenes to mix in (0: none)")
    parser.add_argument("--minutes", type=float, help="stop, resumably, after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="torch threads (0: leave as is)")
    zoom = defaults.pop("zoom", (0.75, 1.12))
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    from chappe.training.corpus import load_frames, load_scenes
    from chappe.training.export import save_model

    frames = load_frames(args.data)
    scenes = load_scenes(args.scenes) if args.scenes else None
    task = SegmenterTask(frames, config=config, batch=args.batch, lr=args.lr, scenes=scenes, seed=args.seed, zoom=zoom)
    ema = train(task, LoopConfig(args.out, args.steps, args.seed, minutes=args.minutes, ema_decay=0.998))
    if ema is None:  # stopped before its end: the same command goes on from here
        return 0
    save_model(args.out / "weights", ema["net"], {"kind": name, **config.to_dict()})
    return 0


def judge_main(argv: list[str] | None = None) -> int:
    """`chappe train judge --data DIR --out DIR`: the judge, on real frames alone and with a seed of its own."""
    return _main("judge", JudgeConfig(), argv, steps=2400, scenes=0, seed=77, zoom=(0.62, 1.05))
