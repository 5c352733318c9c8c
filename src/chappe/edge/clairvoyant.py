"""Policies that know the statistics beforehand, for comparison: the randomised optimum and the exact delay optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chappe.edge.bounds import channel_law
from chappe.edge.lp import Actions, cmdp_lp, stationary_lp
from chappe.edge.policies import Action, State
from chappe.edge.scenario import Scenario

__all__ = ["CMDPOptimal", "LPRandomised"]


@dataclass(frozen=True)
class LPRandomised:
    """The stationary programme's choice, drawn anew each slot given the channel. `slack`: share of extra service, since
    with none the queue would have no drift; its power is above the programme's by about as much.
    """

    slack: float = 0.02

    def start(self, scenario: Scenario) -> _TableRun:
        from dataclasses import replace

        faster = replace(scenario.arrivals, rate=scenario.arrivals.rate * (1 + self.slack))
        optimum = stationary_lp(replace(scenario, arrivals=faster))
        return _TableRun(scenario, optimum.actions, optimum.share[None])


@dataclass(frozen=True)
class CMDPOptimal:
    """The exact optimum under the scenario's delay, from the occupation-measure programme."""

    def start(self, scenario: Scenario) -> _TableRun:
        optimum = cmdp_lp(scenario)
        return _TableRun(scenario, optimum.actions, optimum.share)


class _TableRun:
    """Draws actions from share (Q, H, A) given queue (the last row for longer ones) and channel state."""

    def __init__(self, scenario: Scenario, actions: Actions, share: np.ndarray) -> None:
        self._levels, _ = channel_law(scenario)
        self._actions, self._sum = actions, np.cumsum(share, 2)
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([scenario.seed, 5])))

    def decide(self, state: State) -> Action:
        h = np.abs(state.gain[:, None] - self._levels).argmin(1)
        q = np.minimum(state.queue, self._sum.shape[0] - 1).astype(np.int64)
        draw = self._rng.random(len(q))[:, None] * self._sum[q, h, -1:]
        action = (draw >= self._sum[q, h]).sum(1)
        items = np.minimum(self._actions.items[action], state.queue)
        return Action(self._actions.point[action], items)

    def observe(self, state: State, action: Action) -> None:
        """Nothing is learnt."""
