"""One policy in one scenario, slot by slot: decide, serve, arrive. Sums are streamed; nothing of size T x N is kept."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from chappe.edge.bounds import capacity
from chappe.edge.kernel import Costs, costs_of, fifo, serve
from chappe.edge.policies import Action, Policy, State
from chappe.edge.report import Report, Totals, report_of
from chappe.edge.scenario import Scenario
from chappe.edge.server import server_power
from chappe.edge.traces import ArrivalTrace, GainTrace
from chappe.errors import UsageError

__all__ = ["World", "simulate"]

RING = 64
RING_LIMIT = 1 << 24  # items in all rings, 256 MB
STAMPED = 4096  # most devices whose items are stamped unless asked for


def simulate(
    scenario: Scenario,
    policy: Policy,
    slots: int,
    *,
    warmup: int | None = None,
    timestamps: bool | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    watch: Callable[[State, Action], None] | None = None,
) -> Report:
    """Run `slots` slots and report on those after `warmup` (default a tenth).

    timestamps: note the arrival of every item (whole items only; default for up to 4096 devices); given up, with no
    delay by items, where an overload makes the queues too long. progress(slot) and watch(state, action) are called
    in every slot. The same seed gives the same report bit for bit, whatever `threads`, but for `seconds`. Raises
    UsageError.
    """
    if slots < 2:
        raise UsageError(f"a run has at least 2 slots, found {slots}.")
    warmup = slots // 10 if warmup is None else warmup
    if not 0 <= warmup < slots - 1:
        raise UsageError(f"a warm-up is shorter than the run of {slots} slots, found {warmup}.")
    if timestamps is None:
        timestamps = scenario.integer and scenario.devices <= STAMPED
    if timestamps and not scenario.integer:
        raise UsageError("only whole items have timestamps: set integer in the scenario, or leave them out.")
    started = time.perf_counter()
    run = policy.start(scenario)
    world = World(scenario, timestamps=timestamps, threads=threads)
    totals = Totals(slots, len(scenario.table))
    for slot in range(slots):
        if slot == warmup:
            world.forget_delays()
            totals.by_point[:] = 0
        state = world.state()
        action = run.decide(state)
        if watch is not None:
            watch(state, action)
        totals.by_point += np.bincount(action.point, action.items, len(totals.by_point))
        totals.put(slot, **world.step(action))
        run.observe(world.state(), action)
        if progress is not None:
            progress(slot)
    return report_of(scenario, totals, warmup=warmup, waiting=world.waiting_items(), left=world.left,
                     delays=world.delays(), overload=capacity(scenario) <= scenario.arrivals.rate,
                     seconds=time.perf_counter() - started)  # fmt: skip


class World:
    """The queues of all devices and of the server, and what moves them."""

    def __init__(self, scenario: Scenario, *, timestamps: bool = False, threads: int | None = None) -> None:
        count = scenario.devices
        self.scenario, self.costs, self.threads = scenario, costs_of(scenario), threads
        self.slot = 0
        self.queue, self.backlog, self.waiting = np.zeros(count), np.zeros(count), np.zeros(count)
        self.left = 0.0
        self._out = np.empty((3, count))
        self._gains, self._arrivals = GainTrace(scenario), ArrivalTrace(scenario)
        self._gain = self._gains.next()
        self._fifo = _Fifo(count, scenario.server is not None) if timestamps else None

    def state(self) -> State:
        """What the policy sees now. The arrays are the world's own until the next step: do not change them."""
        return State(self.slot, self._gain, self.queue, self.backlog, self.waiting)

    def step(self, action: Action) -> dict[str, float]:
        """Serve and let arrive; sums over devices of W, items and items x performance, `queued` as before the step."""
        _check(action, self.queue, self.costs)
        queued = self.queue.sum() + self.waiting.sum()
        arrivals = self._arrivals.next()
        speed, worked = self._work(action)
        self.left += action.items.sum() if self.scenario.server is None else 0.0
        serve(
            self.costs,
            self._gain,
            action.point,
            action.items,
            arrivals,
            self.queue,
            self.backlog,
            self._out,
            self.threads,
        )
        if self.scenario.server is not None:
            self.waiting += action.items
        if self._fifo is not None:
            cycles = self.costs.s[action.point]
            if not self._fifo.step(self.slot, arrivals, action.items, cycles, worked):
                self._fifo = None
            elif self.scenario.server is not None:
                self.waiting = (self._fifo.middle - self._fifo.done).astype(np.float64)
                self.left = float(self._fifo.done.sum())
        transmit, cpu, perf = self._out.sum(1)
        self.slot += 1
        self._gain = self._gains.next()
        return {"transmit": transmit, "cpu": cpu, "perf": perf, "served": action.items.sum(), "arrived": arrivals.sum(),
                "server": speed, "queued": queued}  # fmt: skip

    def _work(self, action: Action) -> tuple[float, np.ndarray]:
        """(server power in W, cycles done for each device) of this slot; backlog and waiting shrink accordingly."""
        server, slot = self.scenario.server, self.scenario.slot
        if server is None:
            return 0.0, self.backlog
        want = self.backlog / slot
        if action.speeds is None:
            speeds = want * min(1.0, server.speed / max(want.sum(), 1e-300))
        else:
            speeds = np.minimum(action.speeds, want)
        done = np.minimum(speeds * slot, self.backlog)
        share = np.divide(done, self.backlog, out=np.zeros_like(done), where=self.backlog > 0)
        gone = self.waiting * share
        self.waiting = self.waiting - gone
        self.left += gone.sum()
        self.backlog -= done
        return server_power(server, float(speeds.sum())), done

    def waiting_items(self) -> float:
        """Items in all queues now."""
        return float(self.queue.sum() + self.waiting.sum())

    def forget_delays(self) -> None:
        if self._fifo is not None:
            self._fifo.forget()

    def delays(self) -> tuple[float, float] | None:
        """(mean, 95 % quantile) in slots of the items that left since `forget_delays`, where they were stamped."""
        return None if self._fifo is None else self._fifo.delays()


class _Fifo:
    """The slots of arrival of all items in the queues: see `kernel.fifo`."""

    def __init__(self, count: int, shared: bool) -> None:
        self._shared = shared
        self._slots, self._marks = np.zeros((count, RING), np.int64), np.zeros((count, RING))
        self.done, self.middle, self.tail = (np.zeros(count, np.int64) for _ in range(3))
        self._given, self._worked = np.zeros(count), np.zeros(count)
        self.forget()

    def forget(self) -> None:
        self._histogram, self._total = np.zeros(1 << 16, np.int64), np.zeros(2, np.int64)

    def step(self, now: int, arrivals, items, cycles, worked) -> bool:
        """False where the queues have become too long to keep."""
        if self._shared:
            self._worked += worked
        while not fifo(now, arrivals, items, cycles, self._worked, self._shared, self._slots, self._marks, self.done,
                       self.middle, self.tail, self._given, self._histogram, self._total):  # fmt: skip
            if self._slots.size * 2 > RING_LIMIT:
                return False
            self._grow()
        return True

    def _grow(self) -> None:
        """Twice the ring, every item at its counter modulo the new size."""
        size = self._slots.shape[1]
        for name in ("_slots", "_marks"):
            old = getattr(self, name)
            new = np.zeros((len(old), 2 * size), old.dtype)
            index = self.done[:, None] + np.arange(size)
            np.put_along_axis(new, index % (2 * size), np.take_along_axis(old, index % size, 1), 1)
            setattr(self, name, new)

    def delays(self) -> tuple[float, float] | None:
        if not self._total[1]:
            return None
        rank = np.searchsorted(np.cumsum(self._histogram), 0.95 * self._total[1])
        return float(self._total[0] / self._total[1]), float(rank)


def _check(action: Action, queue: np.ndarray, costs: Costs) -> None:
    """A policy of somebody else's must not serve what is not there."""
    items = action.items
    if items.shape != queue.shape or action.point.shape != queue.shape:
        raise UsageError(f"an action is for {len(queue)} devices, found {action.point.shape} and {items.shape}.")
    if not (items >= 0).all() or (items > queue + 1e-9).any():
        raise UsageError("an action serves from 0 items to what is queued: the policy asked for another number.")
    if costs.whole and (items != np.floor(items)).any():
        raise UsageError("the scenario has whole items, and the policy asked for a part of one.")
