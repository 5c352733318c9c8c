"""The problem of one device in one slot, solved exactly for many devices: which point, and how many items.

    min over m, 0 <= n <= cap_m of  V [ (e^(a_m n) - 1) / r + k_m n^3 ] - w_m n
    with  w_m = base - price s_m + reward (g_m - goal)

with r = h / (B N0), a_m = b_m ln 2 / (slot B), k_m = kappa (c_m / slot)^3. Convex in n for each m: closed forms without
a CPU or without a radio term, else Newton from above, which cannot overshoot. Devices are independent of each
other, so that threads take parts of the arrays and change no bit of the result.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np

from chappe.edge.scenario import Scenario

__all__ = ["Costs", "costs_of", "fifo", "serve", "solve"]

ONE_THREAD = 20_000  # below this many devices, threads cost more than they save


@dataclass(frozen=True, eq=False)
class Costs:
    """A table in the kernel's terms, (M,) float64 each, with the limits of a device.

    a: exponent an item; k: W an item cubed; g: performance; s: server cycles an item (0 without a server); most: items
    that the CPU allows.
    scale: 1 / (B N0), so that r = scale h; max_power in W; max_items; whole: integers only.
    """

    a: np.ndarray
    k: np.ndarray
    g: np.ndarray
    s: np.ndarray
    most: np.ndarray
    scale: float
    max_power: float
    max_items: float
    whole: bool


def costs_of(scenario: Scenario) -> Costs:
    """The kernel's view of a scenario."""
    table, slot = scenario.table, scenario.slot
    cycles = table.column("device_cycles")
    with np.errstate(divide="ignore"):
        most = np.where(cycles > 0, scenario.cpu * slot / np.maximum(cycles, 1e-300), np.inf)
    return Costs(
        a=table.column("bits") * math.log(2) / (slot * scenario.bandwidth),
        k=scenario.kappa * (cycles / slot) ** 3,
        g=table.column("perf"),
        s=table.column("server_cycles") * (scenario.server is not None),
        most=np.minimum(most, scenario.max_items),
        scale=1 / (scenario.bandwidth * scenario.noise),
        max_power=scenario.max_power,
        max_items=float(scenario.max_items),
        whole=scenario.integer,
    )


def _compiled(function: Callable) -> Callable:
    """Machine code that runs beside other threads, kept on disk where numba may write."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder numba may write to
        return numba.njit(nogil=True)(function)


@_compiled
def _room(w, slope, r, limit, power_log, v, a, k, most, whole):
    """(cap, root, least) of one point: most items, where the slope vanishes at the latest, a bound of the objective."""
    cap = min(limit, most, power_log / a)
    if whole:
        cap = float(math.floor(cap + 1e-9))
    # Either term alone reaches the slope w at its own root; together they do before the smaller one.
    root = math.log(w * r / (v * a)) / a
    if k > 0:
        root = min(root, math.sqrt(w / (3 * v * k)))
    return cap, root, slope * min(root + 1.0 if whole else root, cap)  # convex: never below its tangent at 0


@_compiled
def _optimum(w, cap, root, r, v, a, k, whole):
    """(n, value) of one point."""
    n = min(cap, root)
    if k > 0:
        for _ in range(50):
            e = a * math.exp(a * n) / r
            f = e + 3 * k * n * n - w / v
            if f <= 0:
                break  # at the cap, where the slope still asks for more, or converged from above
            step = f / (a * e + 6 * k * n)
            n -= step
            if step <= 1e-8 * n:  # the next step would be of the square of this
                break
    if not whole:
        return n, v * (math.expm1(a * n) / r + k * n**3) - w * n
    best_n, best_value = 0.0, 0.0
    low = float(math.floor(n))
    for candidate in (low, low + 1.0):
        if 0 < candidate <= cap:
            value = v * (math.expm1(a * candidate) / r + k * candidate**3) - w * candidate
            if value < best_value:
                best_n, best_value = candidate, value
    return best_n, best_value


@_compiled
def _best(r, limit, power_log, base, price, reward, goal, v, a, k, g, s, most, whole):
    """(m, n, value) of one device; n = 0 with value 0 where nothing is worth its power.

    The point of the lowest bound goes first; most of the others' bounds then show that they cannot win.
    """
    first, lowest = -1, 0.0
    for m in range(a.size):
        w = base - price * s[m] + reward * (g[m] - goal)
        slope = v * a[m] / r - w
        if slope < 0:
            bound = _room(w, slope, r, limit, power_log, v, a[m], k[m], most[m], whole)[2]
            if bound < lowest:
                first, lowest = m, bound
    if first < 0:
        return 0, 0.0, 0.0
    best_m, best_n, best_value = 0, 0.0, 0.0
    for turn in range(-1, a.size):
        m = first if turn < 0 else turn
        if turn == first:
            continue
        w = base - price * s[m] + reward * (g[m] - goal)
        slope = v * a[m] / r - w
        if slope >= 0 or slope * min(limit, most[m]) >= best_value:
            continue
        cap, root, bound = _room(w, slope, r, limit, power_log, v, a[m], k[m], most[m], whole)
        if bound >= best_value:
            continue
        n, value = _optimum(w, cap, root, r, v, a[m], k[m], whole)
        if value < best_value:
            best_m, best_n, best_value = m, n, value
    return best_m, best_n, best_value


@_compiled
def _solve(first, last, gain, limit, base, price, reward, goal, v, scale, max_power, a, k, g, s, most, whole, point,
           items, value):  # fmt: skip
    for i in range(first, last):
        r = gain[i] * scale
        power_log = math.log1p(max_power * r)
        m, n, f = _best(r, limit[i], power_log, base[i], price[i], reward[i], goal, v, a, k, g, s, most, whole)
        point[i], items[i], value[i] = m, n, f


def solve(
    costs: Costs,
    gain: np.ndarray,
    limit: np.ndarray,
    *,
    base: np.ndarray,
    price: np.ndarray,
    reward: np.ndarray,
    goal: float,
    v: float,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(point (N,) int64, items (N,), value (N,)) for devices with `gain`, at most `limit` items and the weights above.

    All inputs (N,) float64; infinite limits are fine. `threads` None takes the processors there are, for many devices.
    """
    count = len(gain)
    point, items, value = np.empty(count, np.int64), np.empty(count), np.empty(count)

    def part(first: int, last: int) -> None:
        _solve(first, last, gain, limit, base, price, reward, goal, v, costs.scale, costs.max_power, costs.a, costs.k,
               costs.g, costs.s, costs.most, costs.whole, point, items, value)  # fmt: skip

    _spread(part, count, threads)
    return point, items, value


@_compiled
def _serve(first, last, gain, scale, point, items, arrivals, a, k, g, s, queue, backlog, tx, cpu, perf):
    for i in range(first, last):
        m, n = point[i], items[i]
        tx[i] = math.expm1(a[m] * n) / (gain[i] * scale)
        cpu[i] = k[m] * n**3
        perf[i] = n * g[m]
        backlog[i] += n * s[m]
        queue[i] = queue[i] - n + arrivals[i]


def serve(costs: Costs, gain, point, items, arrivals, queue, backlog, out, threads: int | None = None) -> None:
    """One slot in place: `queue` (N,) loses items and gets arrivals, `backlog` (N,) gets server cycles.

    out: (3, N) gets transmit power, CPU power in W, and items x performance.
    """

    def part(first: int, last: int) -> None:
        _serve(first, last, gain, costs.scale, point, items, arrivals, costs.a, costs.k, costs.g, costs.s, queue,
               backlog, out[0], out[1], out[2])  # fmt: skip

    _spread(part, len(queue), threads)


@_compiled
def _leave(waited, histogram, total):
    total[0] += waited
    total[1] += 1
    histogram[min(waited, histogram.size - 1)] += 1


@_compiled
def fifo(now, arrivals, items, cycles, worked, shared, slots, marks, done, middle, tail, given, histogram, total):
    """First in, first out through device and server, with the slot of arrival of every item.

    slots (N, R) int64: slots of arrival of the items done..tail (counters, (N,) int64), of which done..middle are at
    the server, where marks (N, R) is the work that must be done before each is ready. One slot: the server has done
    `worked` (N,) cycles in all, a device gives it `items` of `cycles` each (`given`: in all), `arrivals` come. Items
    that are ready add their slots of waiting to `total` (2,) and to `histogram`. `shared` False: there is no server.
    Returns False, with nothing changed, where the ring is too short.
    """
    size = slots.shape[1]
    for i in range(items.size):
        if tail[i] - done[i] + arrivals[i] > size:
            return False
    for i in range(items.size):
        if shared:
            while done[i] < middle[i] and marks[i, done[i] % size] <= worked[i] * (1 + 1e-12) + 1e-3:
                _leave(now - slots[i, done[i] % size], histogram, total)
                done[i] += 1
        for _ in range(int(items[i])):
            given[i] += cycles[i]
            marks[i, middle[i] % size] = given[i]
            middle[i] += 1
            if not shared:
                _leave(now - slots[i, done[i] % size], histogram, total)
                done[i] += 1
        for _ in range(int(arrivals[i])):
            slots[i, tail[i] % size] = now
            tail[i] += 1
    return True


def _spread(part: Callable[[int, int], None], count: int, threads: int | None) -> None:
    """Run part(first, last) over 0..count in equal shares."""
    workers = threads or (1 if count < ONE_THREAD else _processors())
    if workers == 1:
        part(0, count)
        return
    edges = [count * i // workers for i in range(workers + 1)]
    list(_pool(workers).map(part, edges[:-1], edges[1:]))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers)
