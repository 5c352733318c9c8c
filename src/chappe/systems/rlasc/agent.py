"""Training stage II: the agent, by REINFORCE on real bytes and decoded pictures (RL-ASC II-C, algorithm 2); and
stage III, in which the autoencoder follows it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from chappe.bitstream.concepts import ConceptPrior, cell_concepts
from chappe.errors import UsageError
from chappe.systems.rlasc.engine import TiledEngine
from chappe.systems.rlasc.picture import Concepts
from chappe.systems.rlasc.policy import Facts, Policy
from chappe.systems.rlasc.reward import Criterion
from chappe.systems.rlasc.rl import Baseline, Reinforce, surrogate, telescope
from chappe.systems.rlasc.training import AutoencoderTask
from chappe.training.loop import average_gradients
from chappe.training.street import StreetBatches

__all__ = ["AgentTask", "AgentTraining", "Episode", "FinetuneTask", "agent_config", "sampled_levels"]


@dataclass(frozen=True)
class AgentTraining:
    """Stage II. The defaults are the paper's; `agent_config("street")` is the better recipe."""

    reinforce: Reinforce = field(default_factory=lambda: Reinforce(0.99, "episode", "none", 0.0, 1))
    lr: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    lam: tuple[float, float] = (1.0, 1.0)  # price of a bit per pixel, log-uniform, one a picture
    eta: float = 10.0
    reward: str = "telescoping"  # a decode after each decision (eq. 13), or `terminal`: one, after the last
    coder: str = "huffman"
    size: tuple[int, int] = (256, 512)
    seed: int = 0

    def __post_init__(self):
        if self.reward not in ("telescoping", "terminal"):
            raise UsageError(f"rewards are telescoping or terminal, not {self.reward!r}")
        if not 0 < self.lam[0] <= self.lam[1]:
            raise UsageError(f"lambda is drawn between two positive numbers, not {self.lam}")


def agent_config(name: str) -> AgentTraining:
    """The recipe of a preset."""
    if name != "street":
        return AgentTraining()
    return AgentTraining(
        Reinforce(gamma=1.0), lr=3e-4, lam=(0.3, 30.0), eta=1.0, reward="terminal", coder="range"
    )  # fmt: skip


class Episode:
    """One picture as the MDP: T decisions in label order, each the level of a concept (RL-ASC II-C).

    At the start every concept has level 0, which is the paper's coarsest level l_1 (it sends nothing).
    """

    def __init__(self, engine: TiledEngine, image: np.ndarray, labels: np.ndarray, criterion: Criterion, *,
                 prior: ConceptPrior | None = None, coder: str = "range"):  # fmt: skip
        config = engine.config
        self.engine, self.labels, self.criterion = engine, labels, criterion
        cells = cell_concepts(labels, config.concepts, config.vote)
        self.concepts = Concepts(engine.analyse(image), cells, labels.size, config.concepts, prior, coder)
        self._reference = criterion.reference(image)
        self._known: dict[bytes, float] = {}

    @property
    def steps(self) -> int:
        return len(self.concepts.numbers)

    def quality(self, levels: np.ndarray) -> float:
        """L_S + eta L_P of the picture decoded at levels (T,); each allocation is decoded once."""
        key = np.asarray(levels, np.int8).tobytes()
        if key not in self._known:
            picture = self.engine.restore(*self.concepts.received(levels), self.concepts.cells, self.labels)
            self._known[key] = self.criterion.quality(picture, self._reference)
        return self._known[key]

    def rewards(self, levels: np.ndarray, lam: float, how: str) -> Tensor:
        """(T,) rewards of eq. (14). `terminal`: the rate as it is spent, the gain in quality after the last decision;
        undiscounted they add up to the same."""
        bits = np.array([self.concepts.rates[row, level] for row, level in enumerate(levels)])
        if how == "telescoping":
            stages = [np.where(np.arange(self.steps) < m, levels, 0) for m in range(self.steps + 1)]
            spent = np.concatenate([[0.0], np.cumsum(bits)])
            return telescope([lam * r + self.quality(stage) for r, stage in zip(spent, stages, strict=True)])
        rewards = torch.from_numpy(-lam * bits)
        rewards[-1] += self.quality(np.zeros(self.steps, int)) - self.quality(levels)
        return rewards


class AgentTask:
    """REINFORCE over pictures. `sensitivity`: the table behind the facts that the policy sees."""

    ema = ("policy",)

    def __init__(self, policy: Policy, engine: TiledEngine, config: AgentTraining, batches: StreetBatches,
                 criterion: Criterion, sensitivity: np.ndarray, prior: ConceptPrior | None = None):  # fmt: skip
        self.policy, self.engine, self.config, self.batches = policy, engine, config, batches
        self.criterion, self.sensitivity, self.prior = replace(criterion, eta=config.eta), sensitivity, prior
        self.name = f"rlasc-agent-{criterion.task.name}"
        self.baseline = Baseline(engine.config.concepts, config.reinforce.momentum)
        self.modules = {"policy": policy, "baseline": self.baseline}
        self.optimizers = {"policy": torch.optim.Adam(policy.parameters(), config.lr, config.betas)}

    def prepare(self, accelerator) -> None:
        self.policy.to("cpu")  # an episode is mostly the engine's work; the policy is small

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        images, labels = self.batches.arrays(rng)
        losses, figures = [], []
        for image, label in zip(images, labels, strict=True):
            criterion = {"prior": self.prior, "coder": self.config.coder}
            episode = Episode(self.engine, image, label, self.criterion, **criterion)
            low, high = np.log(self.config.lam)
            loss, row = self.episode(episode, float(np.exp(rng.uniform(low, high))))
            losses.append(loss)
            figures.append(row)
        optimizer = self.optimizers["policy"]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).mean().backward()
        average_gradients(self.policy)
        nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        optimizer.step()
        return {key: float(np.mean([row[key] for row in figures])) for key in figures[0]}

    def episode(self, episode: Episode, lam: float) -> tuple[Tensor, dict[str, float]]:
        """(surrogate loss, figures) of one picture."""
        rollouts, concepts = self.config.reinforce.rollouts, episode.concepts
        self.policy.train()
        numbers = torch.from_numpy(concepts.numbers.astype(np.int64))
        facts = _facts(concepts, self.sensitivity)
        grid = torch.from_numpy(concepts.cells.astype(np.int64))
        seen = self.policy.look(torch.from_numpy(concepts.features).permute(2, 0, 1), grid, numbers)
        logits = self.policy(seen, numbers, torch.full((episode.steps,), lam), facts)
        policy = torch.distributions.Categorical(logits=logits)
        actions = policy.sample((rollouts,))
        rewards = torch.stack([episode.rewards(a.numpy(), lam, self.config.reward) for a in actions])
        entropy = policy.entropy().expand(rollouts, -1)
        loss, _ = surrogate(policy.log_prob(actions), rewards, entropy, numbers, self.config.reinforce, self.baseline)
        bits = concepts.rates[np.arange(episode.steps), actions[0].numpy()].sum()
        figures = {"return": rewards.sum(1).mean(), "bpp": torch.as_tensor(bits), "entropy": policy.entropy().mean()}
        return loss, {name: float(value.detach()) for name, value in figures.items()}


class FinetuneTask:
    """Stage III: in turn a step of stage I with the levels that the agent samples, and a step of the agent."""

    name = "rlasc-finetune"
    ema = ("net", "policy")

    def __init__(self, autoencoder: AutoencoderTask, agent: AgentTask):
        self.autoencoder, self.agent = autoencoder, agent
        self.modules = autoencoder.modules | agent.modules
        self.optimizers = autoencoder.optimizers | agent.optimizers
        autoencoder.decide = self._decide

    def prepare(self, accelerator) -> None:
        self.autoencoder.prepare(accelerator)
        self.agent.prepare(accelerator)

    def step(self, step: int, progress: float, rng: np.random.Generator) -> dict[str, float]:
        figures = self.autoencoder.step(step, progress, rng)
        self.autoencoder.model.eval()
        return figures | self.agent.step(step, progress, rng)

    def _decide(self, f: Tensor, cells: Tensor, rng: np.random.Generator) -> Tensor:
        task, rows = self.agent, []
        low, high = np.log(task.config.lam)
        for features, grid in zip(f.cpu(), cells.cpu().numpy().astype(np.uint8), strict=True):
            pixels, count = grid.size * 64, self.autoencoder.concepts
            array = features.permute(1, 2, 0).contiguous().numpy()
            concepts = Concepts(array, grid, pixels, count, task.prior, task.config.coder)
            lam = float(np.exp(rng.uniform(low, high)))
            rows.append(sampled_levels(task.policy, concepts, task.sensitivity, lam))
        return torch.from_numpy(np.stack(rows))


@torch.no_grad()
def sampled_levels(policy: Policy, concepts: Concepts, sensitivity: np.ndarray, lam: float) -> np.ndarray:
    """(M,) levels drawn from the policy; 0 for concepts without a cell."""
    numbers = torch.from_numpy(concepts.numbers.astype(np.int64))
    grid = torch.from_numpy(concepts.cells.astype(np.int64))
    seen = policy.look(torch.from_numpy(concepts.features).permute(2, 0, 1), grid, numbers)
    logits = policy(seen, numbers, torch.full((len(numbers),), lam), _facts(concepts, sensitivity))
    levels = np.zeros(concepts.concepts, np.int64)
    levels[concepts.numbers] = torch.distributions.Categorical(logits=logits).sample().numpy()
    return levels


def _facts(concepts: Concepts, sensitivity: np.ndarray) -> Facts:
    tables = concepts.rates, concepts.losses(sensitivity)
    return Facts(*(torch.from_numpy(a.astype(np.float32)) for a in tables))
