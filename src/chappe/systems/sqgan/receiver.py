"""The receiver's own training stage: de-masking and decoder of G_x, for tokens and maps that arrive in part.

Not in the paper. Encoder, score net and codebook stay as they are, so what is sent does not change. The receiver meets
masks steered by random class relevance, tokens and maps lost on the way, and the finer tokens of a second quantiser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chappe.nn.masking import select
from chappe.systems.sqgan.model import SQGAN
from chappe.training.frames import Frames, to_tensors
from chappe.training.picture import PictureRecipe, PictureTask
from chappe.training.street import near_map

__all__ = ["ReceiverConfig", "ReceiverTask", "residual_codebook"]


@dataclass(frozen=True)
class ReceiverConfig(PictureRecipe):
    """The street recipe of this stage."""

    warmup: int = 50
    fraction_mu: float = -1.2  # log-normal masking fraction, one per picture
    fraction_sigma: float = 0.65
    steered_share: float = 0.5  # share of the batches whose masks follow random class relevance
    loss_share: float = 0.4  # share of the batches that lose tokens, up to 60 % of them
    map_lost_share: float = 0.04  # share of the batches without map
    finer_share: float = 0.3  # share of the batches in which part of the tokens come with their finer index


class ReceiverTask(PictureTask):
    """See the module and `PictureTask`."""

    name = "sqgan-receiver"

    def __init__(self, model: SQGAN, config: ReceiverConfig, frames: Frames, **others):
        model.requires_grad_(False).eval()
        trained = {"adm": model.image.adm, "decoder": model.image.decoder}
        super().__init__(model, trained, config, frames, **others)
        self.trained.requires_grad_(True)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        stream = self.model.image
        x, y = self.batches.tensors(rng, self.device)
        with torch.no_grad():
            sent = self.sent_labels(x, y, rng)
            received = near_map(sent, self.void + 1, rng)
            if rng.random() < self.config.map_lost_share:
                received = torch.full_like(received, self.void)
            scores, indices, finer = stream.symbols(x, self.model.condition(sent))
            mask, finer = self.arrived(scores, sent, finer, rng)
        self.trained.train()
        fake = stream.from_indices(indices, mask, self.model.condition(received), finer)
        return self.descend(step, progress, fake, x, y, rng)

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
