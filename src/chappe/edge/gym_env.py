"""One device as a Gymnasium environment, so that a learned policy can be judged by the same bounds as all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chappe.edge.policies import Action
from chappe.edge.scenario import Scenario
from chappe.edge.simulation import World
from chappe.errors import MissingDependency, UsageError

__all__ = ["make_env"]

LONGEST = 1000.0  # items that an observation can show
MISSED = 1e6


def make_env(scenario: Scenario, *, slots: int = 1000, price_perf: float, price_delay: float):
    """A `gymnasium.Env` of one device without a server.

    Observation: float32 (queue in items up to 1000, log of gain / path gain, total of items x (goal - performance)).
    Action: Discrete, 0 for nothing, else (point, items) in the order of `actions`; more than queue or power allow is
    cut.
    Reward: -(W + price_perf x items x (goal - performance) + price_delay x queue), the Lagrangian of the problem. An
    episode is truncated after `slots`; it never terminates. Raises MissingDependency without Gymnasium, UsageError for
    a scenario with more devices, a server or fractional items.
    """
    try:
        import gymnasium
    except ImportError as error:
        raise MissingDependency("the environment needs Gymnasium: pip install 'chappe[edge]'.") from error
    if scenario.devices != 1 or scenario.server is not None or not scenario.integer:
        raise UsageError("an environment is of one device with whole items and no server: change the scenario.")

    class EdgeEnv(gymnasium.Env):
        """See `make_env`."""

        metadata: dict = {"render_modes": []}  # noqa: RUF012

        def __init__(self) -> None:
            tops = [int(min(scenario.max_items, most)) for most in World(scenario).costs.most]
            self.actions = [(0, 0)] + [(m, n) for m, top in enumerate(tops) for n in range(1, top + 1)]
            low, high = np.array([0, -60, -MISSED], np.float32), np.array([LONGEST, 20, MISSED], np.float32)
            self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
            self.action_space = gymnasium.spaces.Discrete(len(self.actions))
            self._world, self._missed, self._count = World(scenario), 0.0, 0

        def reset(self, *, seed: int | None = None, options: dict | None = None):
            super().reset(seed=seed)
            seed = int(self.np_random.integers(1 << 31))
            self._world, self._missed, self._count = World(replace(scenario, seed=seed)), 0.0, 0
            return self._look(), {}

        def step(self, action):
            point, wanted = self.actions[int(action)]
            items = min(wanted, int(self._world.queue[0]), self._most(point))
            queue = float(self._world.queue[0])
            sums = self._world.step(Action(np.array([point]), np.array([float(items)])))
            power = float(sums["transmit"] + sums["cpu"])
            missed = items * scenario.goal - float(sums["perf"])
            self._missed += missed
            self._count += 1
            reward = -(power + price_perf * missed + price_delay * queue)
            info = {"power": power, "items": items, "queue": queue}
            return self._look(), reward, False, self._count >= slots, info

        def _most(self, point: int) -> int:
            costs, gain = self._world.costs, float(self._world.state().gain[0])
            return int(np.log1p(costs.max_power * costs.scale * gain) / costs.a[point] + 1e-9)

        def _look(self) -> np.ndarray:
            state = self._world.state()
            ratio = float(np.clip(np.log(state.gain[0] / scenario.channel.gain), -60, 20))
            return np.array([min(state.queue[0], LONGEST), ratio, np.clip(self._missed, -MISSED, MISSED)], np.float32)

    return EdgeEnv()
