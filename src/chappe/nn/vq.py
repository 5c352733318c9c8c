"""Vector quantisation with an EMA codebook that stays alive.

Measured on this data, a naive EMA codebook of 1024 x 32 falls from 1024 used codes to 14 within 500 steps. What
holds: tokens are layer-normalised before the projection, the codebook starts from data, and codes that a window of
steps leaves (almost) unused restart at random tokens. Perplexity, not the count of used codes, is what is logged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Quantized", "VectorQuantizer"]


@dataclass(frozen=True)
class Quantized:
    codes: Tensor  # (N, D, h, w), straight-through
    indices: Tensor  # (N, h, w) int64
    loss: Tensor  # scalar: commitment (and codebook) terms over the selected tokens
    perplexity: Tensor  # scalar: exp of the entropy of the window's histogram


class VectorQuantizer(nn.Module):
    """Nearest codeword in the l2 sense (SQ-GAN eq. 1), tokens (N, D, h, w), mask (N, 1, h, w) of the selected ones.

    `update`: `ema` (SQ-GAN code: decay .99, Laplace smoothing) or `gradient` (its paper). Only selected tokens move the
    codebook. `frozen` stops every movement, also in train mode (the fine-tuning stage needs a truly frozen G_s).
    """

    def __init__(self, codes: int, dim: int, *, decay: float = 0.99, commit: float = 0.25, update: str = "ema",
                 window: int = 40, min_share: float = 0.08):  # fmt: skip
        super().__init__()
        self.decay, self.commit, self.update = decay, commit, update
        self.window, self.min_share = window, min_share
        self.frozen = False
        self.codebook = nn.Parameter(
            torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes), requires_grad=update == "gradient"
        )
        self.register_buffer("size", torch.ones(codes))
        self.register_buffer("total", torch.zeros(codes, dim))
        self.register_buffer("usage", torch.zeros(codes))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))  # steps in this window; -1 never, 0 at start
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    def search(self, tokens: Tensor) -> Tensor:
        """(M, D) -> (M,) index of the nearest codeword."""
        book = self.codebook.detach()
        return (book.square().sum(1) - 2 * tokens @ book.T).argmin(1)

    def lookup(self, indices: Tensor) -> Tensor:
        """(N, h, w) int64 -> codewords (N, D, h, w)."""
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def forward(self, tokens: Tensor, mask: Tensor) -> Quantized:
        n, d, h, w = tokens.shape
        flat = tokens.permute(0, 2, 3, 1).reshape(-1, d)
        chosen = mask.reshape(-1) > 0
        learn = self.training and not self.frozen
        if learn and not self.ready:
            self._start(flat.detach()[chosen])
        indices = self.search(flat.detach())
        if learn:
            self._learn(flat.detach()[chosen], indices[chosen])
        codes = F.embedding(indices, self.codebook)
        share = chosen.sum().clamp_min(1) * d
        gap = (flat - codes.detach())[chosen].square().sum() / share * self.commit
        if self.update == "gradient":
            gap = gap + (flat.detach() - codes)[chosen].square().sum() / share
        straight = flat + (codes - flat).detach()
        p = self.usage / self.usage.sum().clamp_min(1)
        perplexity = torch.exp(-(p * (p + 1e-10).log()).sum())
        return Quantized(straight.reshape(n, h, w, d).permute(0, 3, 1, 2), indices.reshape(n, h, w), gap, perplexity)

    @torch.no_grad()
    def _start(self, tokens: Tensor) -> None:
        self._place(torch.arange(len(self.codebook), device=tokens.device), tokens)
        self.ready.fill_(True)

    @torch.no_grad()
    def _place(self, which: Tensor, tokens: Tensor) -> None:
        """Put the codes `which` at randomly drawn tokens, jittered where there are fewer tokens than codes."""
        pick = torch.randint(len(tokens), (len(which),), device=tokens.device)
        new = tokens[pick] + 0.01 * tokens.std() * torch.randn_like(tokens[pick])
        if _distributed():  # every process restarts the same codes at the same tokens
            torch.distributed.broadcast(new, 0)
        self.codebook.data[which] = new
        self.size[which] = 1.0
        self.total[which] = new

    @torch.no_grad()
    def _learn(self, tokens: Tensor, indices: Tensor) -> None:
        hits = torch.bincount(indices, minlength=len(self.codebook)).to(tokens)
        sums = torch.zeros_like(self.codebook).index_add_(0, indices, tokens)
        if _distributed():
            torch.distributed.all_reduce(hits)
            torch.distributed.all_reduce(sums)
        self.usage.mul_(1 - 1 / self.window).add_(hits)
        if self.update == "ema":
            self.size.mul_(self.decay).add_(hits, alpha=1 - self.decay)
            self.total.mul_(self.decay).add_(sums, alpha=1 - self.decay)
            mass = self.size.sum()
            smooth = (self.size + 1e-5) / (mass + 1e-5 * len(self.size)) * mass
            moved = self.size > 1e-3
            self.codebook.data[moved] = (self.total / smooth.unsqueeze(1))[moved]
        self.seen += 1
        if self.seen % self.window == 0:
            idle = (self.usage < self.min_share * self.usage.mean()).nonzero().flatten()
            if len(idle):
                self._place(idle, tokens)
                self.usage[idle] = self.usage.mean()


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
