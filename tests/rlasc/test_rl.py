"""REINFORCE against brute force: every trajectory enumerated; and learning where the optimum is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from chappe.errors import UsageError
from chappe.systems.rlasc.allocate import lagrangian
from chappe.systems.rlasc.rl import Baseline, Reinforce, returns, surrogate, telescope

STEPS, LEVELS = 3, 3
PLACES = torch.arange(STEPS)


def _payoff(seed: int = 0) -> dict[tuple[int, ...], torch.Tensor]:
    """Rewards of a toy MDP for every trajectory; a step's reward depends on all decisions so far."""
    rng = np.random.default_rng(seed)
    value = {prefix: rng.normal() for k in range(STEPS) for prefix in product(range(LEVELS), repeat=k + 1)}
    return {
        path: torch.tensor([value[path[: k + 1]] for k in range(STEPS)]).double()
        for path in product(range(LEVELS), repeat=STEPS)
    }


def _true_gradient(logits, payoff, gamma, entropy=0.0):
    """Of J = sum over trajectories of P(trajectory) x discounted reward, by autograd."""
    logits = logits.clone().requires_grad_(True)
    logs = logits.log_softmax(1)
    discount = gamma ** torch.arange(STEPS).double()
    j = sum(logs[PLACES, list(p)].sum().exp() * (discount * r).sum() for p, r in payoff.items())
    j = j - entropy * (logs.exp() * logs).sum()
    (gradient,) = torch.autograd.grad(j, logits)
    return gradient


def _estimated_gradient(logits, payoff, config):
    """Minus the gradient of the surrogate, averaged over all sets of rollouts by their probability."""
    logits = logits.clone().requires_grad_(True)
    logs = logits.log_softmax(1)
    entropies = -(logs.exp() * logs).sum(1)
    total = torch.zeros(())
    baseline = Baseline(STEPS, config.momentum)
    baseline.mean[:] = torch.tensor([0.7, -1.3, 0.4])
    for rolls in product(payoff, repeat=config.rollouts):
        chosen = torch.stack([logs[PLACES, list(p)] for p in rolls])
        rewards = torch.stack([payoff[p] for p in rolls])
        mean = baseline.mean.clone()
        loss, _ = surrogate(chosen, rewards, entropies.expand(len(rolls), -1), PLACES, config, baseline)
        baseline.mean[:] = mean
        total = total + chosen.detach().sum().exp() * loss
    (gradient,) = torch.autograd.grad(total, logits)
    return -gradient


@pytest.mark.parametrize(
    "config",
    [
        Reinforce(0.9, "episode", "none", 0.0, 1),  # the paper's
        Reinforce(1.0, "to_go", "none", 0.0, 1),
        Reinforce(1.0, "to_go", "running", 0.0, 1),
        Reinforce(0.9, "episode", "running", 0.3, 1),
        Reinforce(1.0, "to_go", "peers", 0.1, 2),
    ],
)
def test_the_expected_gradient_is_that_of_the_objective(config):
    logits = torch.tensor(np.random.default_rng(1).normal(size=(STEPS, LEVELS)))
    payoff = _payoff()
    torch.testing.assert_close(
        _estimated_gradient(logits, payoff, config), _true_gradient(logits, payoff, config.gamma, config.entropy)
    )


def test_returns_follow_their_definition():
    rewards = torch.tensor(np.random.default_rng(2).normal(size=(2, 5)))
    for gamma in (1.0, 0.8):
        whole, to_go = returns(rewards, gamma, "episode"), returns(rewards, gamma, "to_go")
        for k in range(2):
            for m in range(5):
                assert whole[k, m] == pytest.approx(float(sum(gamma**j * rewards[k, j] for j in range(5))))
                assert to_go[k, m] == pytest.approx(float(sum(gamma ** (j - m) * rewards[k, j] for j in range(m, 5))))


def test_rewards_telescope():
    losses = [3.0, 2.5, 2.75, 1.0]
    assert telescope(losses).tolist() == [0.5, -0.25, 1.75]
    assert returns(telescope(losses), 1.0, "episode")[0] == losses[0] - losses[-1]


def test_the_running_baseline_is_a_mean_that_forgets():
    baseline = Baseline(3, 0.5)
    seen = [1.0, 3.0, 8.0, 2.0]
    for value in seen:
        baseline.update(torch.tensor([1]), torch.tensor([[value]]).double())
    assert baseline.mean[1] == (((1 + 3) / 2 + 8) / 2 + 2) / 2
    assert baseline.mean[0] == 0 and baseline.count.tolist() == [0, 4, 0]


def _learn(pay, config: Reinforce, shape: tuple[int, int], steps: int, rate: float) -> torch.Tensor:
    """Logits after REINFORCE; pay: actions (T,) -> rewards (T,)."""
    torch.manual_seed(0)
    logits = torch.zeros(shape, requires_grad=True)
    optimizer = torch.optim.Adam([logits], rate)
    baseline, places = Baseline(shape[0], config.momentum), torch.arange(shape[0])
    for _ in range(steps):
        policy = torch.distributions.Categorical(logits=logits)
        actions = policy.sample((config.rollouts,))
        rewards = torch.stack([torch.as_tensor(pay(a.numpy())).double() for a in actions])
        entropy = policy.entropy().expand(config.rollouts, -1)
        loss, _ = surrogate(policy.log_prob(actions), rewards, entropy, places, config, baseline)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.detach()


@pytest.mark.parametrize(
    "config", [Reinforce(1.0, "episode", "none", 0.0, 4), Reinforce(baseline="running", rollouts=4)]
)
def test_a_bandit_ends_at_its_best_arm(config):
    arms = np.array([0.1, 0.3, 1.0, 0.7])
    logits = _learn(lambda a: arms[a], config, (1, 4), 250, 0.1)
    assert logits.softmax(1)[0, 2] > 0.9


def test_a_picture_of_additive_concepts_ends_at_the_lagrangian_optimum():
    rng = np.random.default_rng(4)
    rates = np.cumsum(rng.uniform(0, 0.4, (4, 3)), 1) - 0.1
    losses = -np.cumsum(rng.uniform(0, 0.6, (4, 3)), 1)
    best = lagrangian(np.maximum(rates, 0), losses, 1.0)
    rows = np.arange(4)
    pay = lambda a: -np.maximum(rates, 0)[rows, a] - losses[rows, a]  # noqa: E731
    logits = _learn(pay, Reinforce(gamma=1.0, entropy=0.0, rollouts=8), (4, 3), 400, 0.05)
    assert logits.argmax(1).tolist() == best.tolist() and len(set(best.tolist())) > 1


@pytest.mark.parametrize("bad", [{"credit": "all"}, {"baseline": "best"}, {"baseline": "peers", "rollouts": 1}])
def test_unknown_switches_are_refused(bad):
    with pytest.raises(UsageError):
        Reinforce(**bad)
