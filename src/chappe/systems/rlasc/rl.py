"""REINFORCE over an episode of M decisions (RL-ASC eq. 13-22), free of pictures: rewards in, a surrogate loss out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chappe.errors import UsageError

__all__ = ["Baseline", "Reinforce", "returns", "surrogate", "telescope"]


@dataclass(frozen=True)
class Reinforce:
    """How gradients are estimated. The paper's: `Reinforce(credit="episode", baseline="none", entropy=0, rollouts=1)`.

    gamma: discount of eq. (15). credit: `episode` gives every decision the full return G, `to_go` what came after it.
    baseline: `none`; `running`, a moving mean for each place in the episode; `peers`, the mean of the other rollouts of
    the same picture (at least two). entropy: weight of the policies' mean entropy, against early certainty.
    """

    gamma: float = 0.99
    credit: str = "to_go"
    baseline: str = "peers"
    entropy: float = 0.01
    rollouts: int = 2
    momentum: float = 0.95

    def __post_init__(self):
        if self.credit not in ("episode", "to_go") or self.baseline not in ("none", "running", "peers"):
            raise UsageError(f"credit {self.credit!r} with baseline {self.baseline!r} is not known")
        if self.rollouts < (2 if self.baseline == "peers" else 1):
            raise UsageError(f"baseline {self.baseline!r} needs more than {self.rollouts} rollouts")


def telescope(losses: Sequence[float]) -> Tensor:
    """Rewards r(m+1) = L(m) - L(m+1) (eq. 14): (M + 1,) losses -> (M,). Undiscounted they add up to L(0) - L(M)."""
    values = torch.as_tensor(losses, dtype=torch.float64)
    return values[:-1] - values[1:]


def returns(rewards: Tensor, gamma: float, credit: str) -> Tensor:
    """(..., M) rewards -> (..., M) what each decision is credited with.

    `episode`: G of eq. (15), the same everywhere (its discount counts from the first reward, gamma^0, which scales the
    paper's by 1 / gamma). `to_go`: sum over k >= m of gamma^(k - m) r_k.
    """
    out = torch.zeros_like(rewards)
    total = torch.zeros_like(rewards[..., 0])
    for m in range(rewards.shape[-1] - 1, -1, -1):
        total = rewards[..., m] + gamma * total
        out[..., m] = total
    return out[..., :1].expand_as(rewards).clone() if credit == "episode" else out


class Baseline(nn.Module):
    """Moving mean of the returns at each place m of an episode; a module, so that it is saved and resumed."""

    def __init__(self, places: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(places, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(places, dtype=torch.int64))

    @torch.no_grad()
    def update(self, places: Tensor, values: Tensor) -> None:
        """values (K, T) seen at `places` (T,), each at most once."""
        seen = self.count[places]
        rate = torch.clamp(1.0 / (seen + 1.0), min=1 - self.momentum)
        self.mean[places] += rate * (values.mean(0) - self.mean[places])
        self.count[places] += 1


def surrogate(log_probs: Tensor, rewards: Tensor, entropies: Tensor, places: Tensor, config: Reinforce,
              baseline: Baseline) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(loss, returns): descending `loss` ascends J (eq. 20, 21), averaged over rollouts.

    log_probs, rewards, entropies (K, T): K rollouts of T decisions; places (T,): which m each decision belongs to. The
    gradient of the loss is -(1 / K) sum_k sum_m (G - b) grad log pi - entropy sum_m grad H.
    """
    credited = returns(rewards.to(torch.float64), config.gamma, config.credit)
    if config.baseline == "peers":
        others = (credited.sum(0) - credited) / (len(credited) - 1)
    elif config.baseline == "running":
        others = baseline.mean[places].expand_as(credited)
        baseline.update(places, credited)
    else:
        others = torch.zeros_like(credited)
    advantage = (credited - others).to(log_probs)
    loss = -(advantage.detach() * log_probs).sum(1).mean() - config.entropy * entropies.sum(1).mean()
    return loss, credited
