"""The agent pi: what level does concept m get, seeing f(m), s(m) and m (RL-ASC II-C, fig. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.systems.rlasc.config import LEVELS, RLASCConfig

__all__ = ["Facts", "Policy", "greedy_logits"]

_TEMPERATURE = 0.05  # of a greedy start, in units of the concept's spread of lambda R + loss


@dataclass(frozen=True)
class Facts:
    """What the sender knows of T concepts: rates (T, Q) bits per pixel, losses (T, Q) by the sensitivity table."""

    rates: Tensor
    losses: Tensor


class Policy(nn.Module):
    """Two convolutions with ReLU and max-pooling, three fully connected layers with dropout, softmax over Q levels.

    The paper prints "M x 1 logits": Q are needed. Adaptive pooling makes it fit any picture.
    """

    def __init__(self, config: RLASCConfig):
        super().__init__()
        self.config = shape = config.agent
        first, second = shape.convolutions
        self.conv1 = nn.Conv2d(config.channels + 1, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.embedding = nn.Embedding(config.concepts, shape.embedding)
        extra = shape.embedding + shape.see_lambda + (2 * LEVELS if shape.facts else 0)
        width = second * shape.pool[0] * shape.pool[1] + extra
        self.fc1, self.fc2 = nn.Linear(width, shape.hidden[0]), nn.Linear(*shape.hidden)
        self.fc3 = nn.Linear(shape.hidden[1], LEVELS)
        self.dropout = nn.Dropout(shape.dropout)
        nn.init.zeros_(self.fc3.weight)
        nn.init.zeros_(self.fc3.bias)

    def look(self, f: Tensor, cells: Tensor, concepts: Tensor) -> Tensor:
        """The convolutions on {f(m), s(m)}: f (n, h, w), cells (h, w), concepts (T,) -> (T, D)."""
        masks = (cells[None] == concepts[:, None, None]).to(f)[:, None]
        h = torch.cat([f[None] * masks, masks], 1)
        h = F.max_pool2d(F.relu(self.conv1(h)), 2)
        h = F.max_pool2d(F.relu(self.conv2(h)), 2)
        return F.adaptive_avg_pool2d(h, self.config.pool).flatten(1)

    def forward(self, seen: Tensor, concepts: Tensor, lam: Tensor, facts: Facts) -> Tensor:
        """Logits (T, Q). seen: from `look`; lam (T,): what a bit per pixel costs each concept."""
        inputs = [seen, self.embedding(concepts)]
        if self.config.see_lambda:
            inputs.append(lam.clamp(1e-3, 1e4).log()[:, None])
        if self.config.facts:
            inputs += [(lam[:, None] * facts.rates).clamp(max=1e3).log1p(), (facts.losses.clamp(min=0) * 100).log1p()]
        h = self.dropout(F.relu(self.fc1(torch.cat(inputs, 1))))
        h = self.fc3(self.dropout(F.relu(self.fc2(h))))
        return h + greedy_logits(lam, facts) if self.config.start == "greedy" else h


def greedy_logits(lam: Tensor, facts: Facts) -> Tensor:
    """(T, Q) logits whose largest is the Lagrangian choice of `allocate.lagrangian`."""
    cost = lam[:, None] * facts.rates + facts.losses
    spread = (cost.amax(1, keepdim=True) - cost.amin(1, keepdim=True)).clamp(min=1e-12)
    return -(cost - cost.amin(1, keepdim=True)) / (_TEMPERATURE * spread)
