"""The receiver's own training stage: de-masking and decoder of G_x, for tokens and maps that arrive in part.

Not in the paper. Encoder, score net and codebook stay as they are, so what is sent does not change. The receiver meets
masks steered by random class relevance, tokens and maps lost on the way, and the finer tokens of a second quantiser.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.nn.masking import select
from chappe.segment.train import class_weights
from chappe.systems.sqgan.model import SQGAN
from chappe.training import losses
from chappe.training.frames import Frames, to_tensors
from chappe.training.loop import average_gradients
from chappe.training.street import StreetBatches, near_map

__all__ = ["ReceiverConfig", "ReceiverTask", "residual_codebook"]


@dataclass(frozen=True)
class ReceiverConfig:
    """The street recipe of this stage."""

    batch: int = 2
    lr: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 50
    size: tuple[int, int] = (256, 512)
    fraction_mu: float = -1.2  # log-normal masking fraction, one per picture
    fraction_sigma: float = 0.65
    steered_share: float = 0.5  # share of the batches whose masks follow random class relevance
    loss_share: float = 0.4  # share of the batches that lose tokens, up to 60 % of them
    map_lost_share: float = 0.04  # share of the batches without map
    finer_share: float = 0.3  # share of the batches in which part of the tokens come with their finer index
    segmented_share: float = 0.4  # share of the batches whose labels come from the segmenter
    relevance: str = (
        "Sky=.2,Building=.3,Pole=.6,Road=.3,Pavement=.4,Tree=.35,SignSymbol=1,Fence=.6,Car=.5,Pedestrian=.9,"
        "Bicyclist=.9,Void=.2"
    )
    pixel_weight: float = 4.0
    perceptual_weight: float = 1.5
    perceptual_crop: float = 0.5
    spectrum_weight: float = 0.3
    meaning_weight: float = 0.25
    paste_classes: tuple[str, ...] = ("SignSymbol", "Pedestrian", "Bicyclist")
    paste_most: int = 8
    scene_share: float = 0.12
    seed: int = 0


class ReceiverTask:
    """See the module. `perceptual`: (fake, real) -> (N,) distances; `segment`: pictures (N, 3, H, W) -> logits."""

    name = "sqgan-receiver"
    ema = ("adm", "decoder")

    def __init__(self, model: SQGAN, config: ReceiverConfig, frames: Frames, *, scenes: Frames | None = None,
                 perceptual: nn.Module | None = None, segment=None):  # fmt: skip
        from chappe.taxonomy import get_taxonomy, relevance

        self.model, self.config = model, config
        self.perceptual, self.segment = perceptual, segment
        model.requires_grad_(False).eval()
        self.modules = {"adm": model.image.adm, "decoder": model.image.decoder}
        self.parts = nn.ModuleList(self.modules.values()).requires_grad_(True)
        self.optimizers = {"net": torch.optim.Adam(self.parts.parameters(), config.lr, config.betas)}
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

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        cfg, stream = self.config, self.model.image
        rate = cfg.lr * min(1.0, (step + 1) / cfg.warmup) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005)
        for group in self.optimizers["net"].param_groups:
            group["lr"] = rate
        x, y = self.batches.tensors(rng, self.device)
        with torch.no_grad():
            sent = y
            if self.segment is not None and rng.random() < cfg.segmented_share:
                sent = self.segment(x).argmax(1)
            received = near_map(sent, self.void + 1, rng)
            if rng.random() < cfg.map_lost_share:
                received = torch.full_like(received, self.void)
            scores, indices, finer = stream.symbols(x, self.model.condition(sent))
            mask, finer = self.arrived(scores, sent, finer, rng)
        self.parts.train()
        fake = stream.from_indices(indices, mask, self.model.condition(received), finer)
        pixel = losses.weighted_pixel_loss(fake, x, y, self.weights, "l1")
        loss, figures = cfg.pixel_weight * pixel, {"pixel": pixel}
        if self.perceptual is not None:
            figures["lpips"] = losses.perceptual_loss(fake, x, self.perceptual, cfg.perceptual_crop, rng)
            loss = loss + cfg.perceptual_weight * figures["lpips"]
        figures["spectrum"] = losses.spectrum_loss(fake, x, rng)
        loss = loss + cfg.spectrum_weight * figures["spectrum"]
        if self.segment is not None:
            figures["meaning"] = losses.meaning_loss(fake, y, self.segment, self.class_weights, rng)
            loss = loss + cfg.meaning_weight * figures["meaning"]
        optimizer = self.optimizers["net"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.parts)
        nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
        optimizer.step()
        return {k: float(v.detach()) for k, v in figures.items()}

    def arrived(
        self, scores: Tensor, labels: Tensor, finer: Tensor | None, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """What reaches the receiver: mask (N, 1, h, w) of ones, finer indices (N, h, w) with -1 where not sent."""
        cfg, (n, _, h, w) = self.config, scores.shape
        if rng.random() < cfg.steered_share:
            factors = torch.tensor(np.exp2(rng.uniform(-2, 2, self.void + 1)), dtype=scores.dtype, device=scores.device)
            scores = scores * F.adaptive_avg_pool2d(factors[labels.clamp(max=self.void)][:, None], (h, w))
        fraction = np.clip(np.exp(rng.normal(cfg.fraction_mu, cfg.fraction_sigma, n)), 0.03, 1.0)
        complete = finer is not None and rng.random() < cfg.finer_share
        if complete:  # finer tokens are sent after all others
            fraction[:] = 1.0
        mask = select(scores, torch.tensor(fraction, dtype=torch.float32, device=scores.device))
        if rng.random() < cfg.loss_share:
            mask = mask * (torch.rand_like(mask) >= rng.uniform(0.0, 0.6))
        if not complete:
            return mask, None
        chosen = select(scores, torch.tensor(rng.uniform(0.1, 1.0, n), dtype=torch.float32, device=scores.device))
        return mask, torch.where((chosen * mask)[:, 0] > 0, finer, -1)


@torch.no_grad()
def residual_codebook(model: SQGAN, frames: Frames, rounds: int = 15, seed: int = 0) -> Tensor:
    """k-means (Lloyd) of what the first quantiser leaves of all tokens of `frames`: (codes, code_dim)."""
    from chappe.data import street_protocol

    stream, left = model.image, []
    for image, labels in zip(frames.images, frames.labels, strict=True):
        x, y = to_tensors(*([a] for a in street_protocol(image, labels)))
        normed, scores = stream.scored(x, model.condition(y))
        tokens = stream.project(normed * scores).permute(0, 2, 3, 1).flatten(0, 2)
        left.append(tokens - stream.quantizer.codebook[stream.quantizer.search(tokens)])
    points = torch.cat(left)
    codes = stream.shape.residual
    start = torch.from_numpy(np.random.default_rng(seed).choice(len(points), codes, replace=len(points) < codes))
    book = points[start].clone()
    for _ in range(rounds):
        near = torch.cat([(book.square().sum(1) - 2 * part @ book.T).argmin(1) for part in points.split(16384)])
        count = torch.bincount(near, minlength=codes).clamp_min(1).unsqueeze(1)
        moved = torch.zeros_like(book).index_add_(0, near, points) / count
        book = torch.where(torch.bincount(near, minlength=codes).unsqueeze(1) > 0, moved, book)
    return book
