"""Training stage I: encoder, decoder and discriminator together (RL-ASC III-C, algorithm 1), and the recipes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from chappe.errors import UsageError
from chappe.nn.condition import one_hot
from chappe.segment.train import class_weights
from chappe.systems.rlasc.config import LEVELS
from chappe.systems.rlasc.discriminator import MultiScaleDiscriminator, discriminator_loss, generator_loss
from chappe.systems.rlasc.model import RLASC, concept_cells
from chappe.systems.rlasc.quantizer import RateTable
from chappe.training import losses
from chappe.training.frames import Frames
from chappe.training.loop import average_gradients
from chappe.training.picture import STREET_RELEVANCE
from chappe.training.street import StreetBatches, near_map

__all__ = ["AutoencoderTask", "TrainConfig", "random_levels", "stage_config"]


@dataclass(frozen=True)
class TrainConfig:
    """Stage I. The defaults are the paper's as far as it says them; `stage_config` has the street recipe."""

    batch: int = 8
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    warmup: int = 0
    decay: bool = False  # cosine, to 1/200
    size: tuple[int, int] = (256, 512)
    levels: str = "top"  # every concept at the highest level (paper), or `random`
    sigma: tuple[float, float] = (2.0, 2.0)  # of eq. (25), from the first step to the last
    rounding: tuple[float, float] = (0.5, 0.5)  # range of the quantiser's rounding, see `quantizer.hard_values`
    rate_weight: float = 0.0  # of the expected bits per pixel (`RateTable`)
    rate_ramp: float = 0.0  # share of the steps in which it grows to that: else features die before they are used
    pixel_weight: float = 0.0
    relevance: str = ""  # a profile `chappe.taxonomy` understands: weights of the pixel loss; "": all 1
    perceptual_weight: float = 10.0  # lambda_1
    perceptual_crop: float = 1.0
    classification_weight: float = 1.0  # lambda_2
    gan_weight: float = 1.0
    gan_start: float = 0.0  # share of the steps before the discriminator begins
    disc_width: int = 64
    spectrum_weight: float = 0.0
    meaning_weight: float = 0.0  # cross-entropy of the segmenter's reading of the decoded picture
    near_maps: bool = False  # label maps coarsened as the near-lossless coder does
    segmented_share: float = 0.0  # share of the batches whose labels come from the segmenter
    paste_classes: tuple[str, ...] = ()
    paste_most: int = 0
    scene_share: float = 0.0
    seed: int = 0


def stage_config(name: str) -> TrainConfig:
    """The recipe of a preset."""
    if name != "street":
        return TrainConfig()
    return TrainConfig(
        batch=2, lr=5e-4, betas=(0.9, 0.99), warmup=100, decay=True, levels="random", sigma=(2.0, 4.0),
        rounding=(0.32, 0.5), rate_weight=0.5, rate_ramp=0.3, pixel_weight=4.0, relevance=STREET_RELEVANCE,
        perceptual_weight=1.5, perceptual_crop=0.5, classification_weight=0.02, gan_weight=0.0, disc_width=24,
        spectrum_weight=0.3, meaning_weight=0.25, near_maps=True, segmented_share=0.4,
        paste_classes=("SignSymbol", "Pedestrian", "Bicyclist"), paste_most=8, scene_share=0.12,
    )  # fmt: skip


def random_levels(count: int, concepts: int, rng: np.random.Generator) -> Tensor:
    """(N, M) int64: a level for each concept of each picture; half of them follow the picture's own level."""
    base = rng.integers(0, LEVELS, (count, 1))
    own = rng.integers(0, LEVELS, (count, concepts))
    return torch.from_numpy(np.where(rng.random((count, concepts)) < 0.5, base, own))


class AutoencoderTask:
    """Stage I over a `RLASC`. `perceptual`: (fake, real) -> (N,) distances; `segment`: pictures (N, 3, H, W) -> logits
    (N, C, H, W). `decide`, for stage III: (f, cells, rng) -> (N, M) levels in place of the recipe's.
    """

    name = "rlasc-autoencoder"
    ema = ("net",)

    def __init__(self, model: RLASC, config: TrainConfig, frames: Frames, *, scenes: Frames | None = None,
                 perceptual: nn.Module | None = None, segment=None):  # fmt: skip
        from chappe.taxonomy import get_taxonomy, relevance

        if config.levels not in ("top", "random"):
            raise UsageError(f"levels are drawn top or random, not {config.levels!r}")
        self.model, self.config = model, config
        self.perceptual, self.segment, self.decide = perceptual, segment, None
        taxonomy = get_taxonomy(model.config.taxonomy)
        self.concepts, self.void = len(taxonomy), taxonomy.void
        self.rates = RateTable(model.config.channels)
        self.disc = MultiScaleDiscriminator(self.concepts, config.disc_width) if config.gan_weight else nn.Module()
        self.modules = {"net": model, "rates": self.rates, "disc": self.disc}
        self.trained = nn.ModuleList([model, self.rates])
        self.optimizers = {"net": torch.optim.Adam(self.trained.parameters(), config.lr, config.betas)}
        if config.gan_weight:
            self.optimizers["disc"] = torch.optim.Adam(self.disc.parameters(), config.lr, config.betas)
        weights = relevance(config.relevance, taxonomy) if config.relevance else np.ones(self.concepts)
        self.weights = torch.tensor(weights, dtype=torch.float32)
        self.class_weights = class_weights(frames, self.void) if config.meaning_weight else torch.zeros(0)
        protected = np.nonzero(relevance("sqgan-image", taxonomy) >= 0.55)[0]
        self.batches = StreetBatches(
            frames, config.batch, self.void, config.size, scenes, config.scene_share,
            paste=tuple(taxonomy.classes.index(c) for c in config.paste_classes),
            protected=tuple(int(k) for k in protected), paste_most=config.paste_most,
        )  # fmt: skip

    def prepare(self, accelerator) -> None:
        self.device = accelerator.device
        for module in (self.trained, self.disc, self.perceptual, self.segment):
            if isinstance(module, nn.Module):
                module.to(self.device, memory_format=torch.channels_last)  # a tenth less time a step on CPUs
        self.weights, self.class_weights = self.weights.to(self.device), self.class_weights.to(self.device)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        cfg = self.config
        rate = cfg.lr * min(1.0, (step + 1) / max(1, cfg.warmup))
        if cfg.decay:
            rate *= 0.5 * (1 + math.cos(math.pi * progress)) + 0.005
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        x, y = self.batches.tensors(rng, self.device)
        x = x.contiguous(memory_format=torch.channels_last)
        labels = self.received(x, y, rng)
        cells = concept_cells(labels, self.model.config)
        sigma = cfg.sigma[0] * (cfg.sigma[1] / cfg.sigma[0]) ** progress
        self.trained.train()
        levels = self.levels(x, cells, rng).to(self.device)
        grid = levels.gather(1, cells.flatten(1)).view_as(cells)
        fake, f, shares = self.model(x, cells, grid, labels, sigma, rng.uniform(*cfg.rounding))
        terms = self.terms(fake, f, shares, x, y, cells, grid, rng)
        if "rate" in terms and cfg.rate_ramp:
            terms["rate"] = (terms["rate"][0] * min(1.0, progress / cfg.rate_ramp), terms["rate"][1])
        adversarial = cfg.gan_weight > 0 and progress >= cfg.gan_start
        if adversarial:
            regions = one_hot(labels, self.concepts)
            self.disc.train().requires_grad_(False)
            terms["gan"] = (cfg.gan_weight, generator_loss(self.disc(fake, regions)))
        self._descend("net", sum(weight * value for weight, value in terms.values()), self.trained)
        figures = {name: value for name, (_, value) in terms.items()}
        if adversarial:
            self.disc.requires_grad_(True)
            figures["disc"] = discriminator_loss(self.disc(x, regions), self.disc(fake.detach(), regions))
            self._descend("disc", figures["disc"], self.disc)
        return {k: float(v.detach()) for k, v in figures.items()}

    def received(self, x: Tensor, y: Tensor, rng: np.random.Generator) -> Tensor:
        """The label maps that the far end gets."""
        sent = y
        if self.segment is not None and rng.random() < self.config.segmented_share:
            with torch.no_grad():
                sent = self.segment(x).argmax(1)
        return near_map(sent, self.concepts, rng) if self.config.near_maps else sent

    def levels(self, x: Tensor, cells: Tensor, rng: np.random.Generator) -> Tensor:
        """(N, M) level of each concept."""
        if self.decide is not None:
            with torch.no_grad():
                return self.decide(self.model.encoder(x), cells, rng)
        if self.config.levels == "top":
            return torch.full((len(x), self.concepts), LEVELS - 1)
        return random_levels(len(x), self.concepts, rng)

    def terms(self, fake, f, shares, x, y, cells, grid, rng) -> dict[str, tuple[float, Tensor]]:
        """Name -> (weight, loss)."""
        cfg, terms = self.config, {}
        terms["classes"] = (cfg.classification_weight, self.model.classification_loss(f, cells))
        if cfg.pixel_weight:
            terms["pixel"] = (cfg.pixel_weight, losses.weighted_pixel_loss(fake, x, y, self.weights, "l1"))
        if cfg.rate_weight:
            pixels = x.shape[2] * x.shape[3]
            terms["rate"] = (cfg.rate_weight, self.rates(shares, grid).mean() / pixels)
        if self.perceptual is not None:
            distance = losses.perceptual_loss(fake, x, self.perceptual, cfg.perceptual_crop, rng)
            terms["lpips"] = (cfg.perceptual_weight, distance)
        if cfg.spectrum_weight:
            terms["spectrum"] = (cfg.spectrum_weight, losses.spectrum_loss(fake, x, rng))
        if self.segment is not None and cfg.meaning_weight:
            meaning = losses.meaning_loss(fake, y, self.segment, self.class_weights, rng)
            terms["meaning"] = (cfg.meaning_weight, meaning)
        return terms

    def _descend(self, name: str, loss: Tensor, module: nn.Module) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(module)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        self.optimizers[name].step()
