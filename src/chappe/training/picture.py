"""What the training of every receiver that draws street pictures shares: recipe, batches, losses and the descent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from chappe.segment.train import class_weights
from chappe.training import losses
from chappe.training.frames import Frames
from chappe.training.loop import average_gradients
from chappe.training.street import StreetBatches

__all__ = ["STREET_RELEVANCE", "PictureRecipe", "PictureTask"]


STREET_RELEVANCE = (
    "Sky=.2,Building=.3,Pole=.6,Road=.3,Pavement=.4,Tree=.35,SignSymbol=1,Fence=.6,Car=.5,Pedestrian=.9,"
    "Bicyclist=.9,Void=.2"
)


@dataclass(frozen=True)
class PictureRecipe:
    """The shared part of a recipe. `relevance` is a profile `chappe.taxonomy` understands: weights of the l1 loss."""

    batch: int = 2
    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100
    size: tuple[int, int] = (256, 512)
    relevance: str = STREET_RELEVANCE
    pixel_weight: float = 4.0
    perceptual_weight: float = 1.5
    perceptual_crop: float = 0.5  # share of the width each step compares, at a random place
    spectrum_weight: float = 0.3
    meaning_weight: float = 0.25  # cross-entropy of the segmenter's reading of the decoded picture
    segmented_share: float = 0.4  # share of the batches whose labels come from the segmenter
    paste_classes: tuple[str, ...] = ("SignSymbol", "Pedestrian", "Bicyclist")
    paste_most: int = 8
    scene_share: float = 0.12
    seed: int = 0


class PictureTask:
    """`trained` are the parts of `model` that learn, the keys of `ema`; model.config names classes and taxonomy.

    `perceptual`: (fake, real) -> (N,) distances; `segment`: pictures (N, 3, H, W) -> logits (N, C, H, W).
    """

    def __init__(self, model: nn.Module, trained: dict[str, nn.Module], config: PictureRecipe, frames: Frames, *,
                 scenes: Frames | None = None, perceptual: nn.Module | None = None, segment=None):  # fmt: skip
        from chappe.taxonomy import get_taxonomy, relevance

        self.model, self.config, self.frames = model, config, frames
        self.perceptual, self.segment = perceptual, segment
        self.modules, self.ema = trained, tuple(trained)
        self.trained = nn.ModuleList(trained.values())
        self.optimizers = {"net": torch.optim.Adam(self.trained.parameters(), config.lr, config.betas)}
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
        self.weights, self.class_weights = self.weights.to(self.device), self.class_weights.to(self.device)

    @torch.no_grad()
    def sent_labels(self, x: Tensor, y: Tensor, rng: np.random.Generator) -> Tensor:
        """The labels of a sender: the true ones, or in some batches the segmenter's."""
        if self.segment is not None and rng.random() < self.config.segmented_share:
            return self.segment(x).argmax(1)
        return y

    def descend(self, step: int, progress: float, fake: Tensor, x: Tensor, y: Tensor, rng: np.random.Generator) -> dict:
        """One step of the optimiser on the decoded picture `fake` of x with true labels y; the losses, for the log."""
        cfg, optimizer = self.config, self.optimizers["net"]
        rate = cfg.lr * min(1.0, (step + 1) / cfg.warmup) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005)
        for group in optimizer.param_groups:
            group["lr"] = rate
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
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.trained)
        nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        optimizer.step()
        return {k: float(v.detach()) for k, v in figures.items()}
