"""A camera on a fading uplink, with the pictures of a benchmark: what each frame really costs and really gets.

The policy knows the points on one split (the calibration): their mean sizes, and what each is sure to perform, which
is its share of the ceiling on the worst stretch of frames. The frames that are sent are those of another split, each
with the bytes and the mIoU that were measured on it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from chappe.edge.bounds import capacity, dual_certificate
from chappe.edge.operating import CLOCK, OperatingPointTable
from chappe.edge.policies import DriftPlusPenalty, Policy, State
from chappe.edge.scenario import Arrivals, Channel, Scenario, Server
from chappe.edge.traces import ArrivalTrace, GainTrace
from chappe.edge.tradeoff import default_v
from chappe.errors import ChappeError, InputError

__all__ = ["CameraRun", "CameraStudy", "camera_scenario", "run_camera", "study"]

QUARTERS = 4
BLOCKS = 19  # stretches of the calibration: a further one is worse than all of them with 5 %
CORE_POWER = 1.6  # W of a device's core at full speed, CLOCK
EARLY = 0.98  # of the delay is what the policies work to: their mean swings by about a hundredth around it


@dataclass(frozen=True)
class CameraRun:
    """One policy's run. Powers in W, delays in s from the frame to the end of the server's work on it.

    perf: mean over the frames sent of (mIoU / mean mIoU of the originals), perf_error its standard error over ten
    stretches of pictures; miou: of their summed confusion matrices, 0..1.
    shares: of the frames, by point. quarters: the same for each quarter of the channel's gains, weak to strong; sent:
    the share of all frames that each quarter carries.
    late: share of frames that took longer than the scenario's delay; held: sendings put off since a file was larger
    than the power allowed; unsent: frames still queued at the end.
    """

    name: str
    power: float
    transmit: float
    cpu: float
    delay: float
    late: float
    perf: float
    perf_error: float
    miou: float
    frames: int
    unsent: int
    held: int
    shares: dict[str, float]
    quarters: tuple[dict[str, float], ...]
    sent: tuple[float, ...]


@dataclass(frozen=True)
class CameraStudy:
    """The runs, the adaptive one first. bound: W below which no policy can be that meets the goal on the calibration's
    means; assured: the same for the goal on its worst stretches, which is what the adaptive policy works to. skipped:
    points that were not tried alone, and why; dominated: those that no policy would use, and a point that is no worse
    than each in anything.
    """

    goal: float
    delay: float
    bound: float
    assured: float
    runs: tuple[CameraRun, ...]
    skipped: dict[str, str]
    dominated: dict[str, str]

    def to_json(self) -> dict:
        return asdict(self)

    def meets(self, run: CameraRun) -> bool:
        """Whether the frames sent got the goal in the mean, and were in time in the mean."""
        return run.perf >= self.goal and run.delay <= self.delay


def camera_scenario(
    table: OperatingPointTable,
    *,
    goal: float = 0.8,
    delay: float = 1.0,
    slot: float = 0.25,
    channel: Channel | None = None,
    cores: int = 4,
    server_speed: float = 10e9,
    seed: int = 0,
) -> Scenario:
    """A frame each second, 180 kHz at the edge of coverage (Rayleigh, -140 dB), 23 dBm, `cores` of 2.5 GHz and 1.6 W at
    full speed each, a server of four cores on the mains. `table`: of the calibration, performance relative to its
    ceiling.

    Coding spreads evenly over the cores and takes up to the slot in which the frame is sent; at a speed f of all cores
    together that is kappa f^3 with kappa = 1.6 W / (2.5 GHz)^3 / cores^2, without static power.
    """
    return Scenario(
        table=table,
        slot=slot,
        channel=channel or Channel("rayleigh", gain=1e-14),
        arrivals=Arrivals(rate=slot, kind="periodic"),
        server=Server(speed=server_speed, kappa=0.0, weight=0.0),
        bandwidth=180e3,
        max_power=0.2,
        kappa=CORE_POWER / CLOCK**3 / cores**2,
        cpu=cores * CLOCK,
        goal=goal,
        delay=delay,
        max_items=2.0,
        seed=seed,
    )


def run_camera(
    scenario: Scenario,
    policy: Policy,
    frames: OperatingPointTable,
    slots: int,
    *,
    name: str = "",
    warmup: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> CameraRun:
    """Send the pictures of `frames` (same points as the scenario's table, in the same order), round and round.

    The device codes with the point it chose, sees the size, and sends what its power allows; a frame that does not fit
    is coded again later, and the energy of coding it is spent. Raises InputError where the tables do not fit.
    """
    names = [p.name for p in scenario.table.points]
    if frames.image_bits is None or [p.name for p in frames.points] != names:
        raise InputError("the frames must be measured at the points of the calibration, in the same order.")
    table, slot_s = scenario.table, scenario.slot
    noise, exponent = scenario.bandwidth * scenario.noise, math.log(2) / (slot_s * scenario.bandwidth)
    cycles, work = table.column("device_cycles"), table.column("server_cycles")
    warmup = slots // 10 if warmup is None else warmup
    run = policy.start(scenario)
    gains, arrivals = GainTrace(scenario), ArrivalTrace(scenario)
    device: deque[tuple[int, int]] = deque()  # (slot of arrival, picture)
    server: deque[list] = deque()  # [slot of arrival, cycles to go]
    log, delays, seen = [], [], []
    transmit = cpu = 0.0
    taken = held = 0
    for slot in range(slots):
        gain = gains.next()
        counted = slot >= warmup
        if counted:
            seen.append(gain[0])
        state = State(slot, gain, np.array([float(len(device))]), np.array([sum(job[1] for job in server)]),
                      np.array([float(len(server))]))  # fmt: skip
        action = run.decide(state)
        left = math.inf if scenario.server is None else scenario.server.speed * slot_s
        while server and server[0][1] <= left:
            arrived, cost = server.popleft()
            left -= cost
            if counted:
                delays.append((slot - arrived) * slot_s)
        if server:
            server[0][1] -= left
        point, wanted = int(action.point[0]), int(action.items[0])
        bits, sent = 0.0, 0
        while sent < wanted:
            more = bits + frames.image_bits[device[0][1], point]
            if math.expm1(exponent * more) * noise > scenario.max_power * gain[0]:
                held += counted
                break
            bits, sent = more, sent + 1
            arrived, picture = device.popleft()
            server.append([arrived, work[point]])
            if counted:
                log.append((picture, point, gain[0]))
        if counted:
            transmit += math.expm1(exponent * bits) * noise / gain[0]
            cpu += scenario.kappa * (wanted * cycles[point] / slot_s) ** 3
        for _ in range(int(arrivals.next()[0])):
            device.append((slot, taken % len(frames.names)))
            taken += 1
        run.observe(State(slot, gain, np.array([float(len(device))]), state.backlog, np.array([float(len(server))])),
                    replace(action, items=np.array([float(sent)])))  # fmt: skip
        if progress is not None:
            progress(slot)
    if not log or not delays:
        raise ChappeError(f"{name or 'the policy'} sent no frame in {slots} slots: run longer, or allow more power.")
    span = slots - warmup
    edges = np.quantile(seen, np.arange(1, QUARTERS) / QUARTERS)
    return _summary(name, scenario, frames, log, edges, np.array(delays), transmit / span, cpu / span, held,
                    len(device))  # fmt: skip


def _summary(name, scenario, frames, log, edges, delays, transmit, cpu, held, unsent) -> CameraRun:
    from chappe.metrics.semantic import miou

    picture, point = np.array([entry[:2] for entry in log], np.int64).T
    gain = np.array([entry[2] for entry in log])
    names = [p.name for p in frames.points]
    marks = frames.image_perf[picture, point]
    total = np.einsum("ij,ijkl->kl", _count(picture, point, frames.image_perf.shape), frames.image_counts)
    place = np.searchsorted(edges, gain)
    return CameraRun(
        name=name,
        power=transmit + cpu,
        transmit=transmit,
        cpu=cpu,
        delay=float(delays.mean()),
        late=float((delays > scenario.delay).mean()) if scenario.delay is not None else 0.0,
        perf=float(marks.mean()),
        perf_error=_error(frames, picture, marks),
        miou=miou(total, ignore=len(total) - 1),
        frames=len(log),
        unsent=unsent,
        held=held,
        shares=_shares(names, point),
        quarters=tuple(_shares(names, point[place == i]) for i in range(QUARTERS)),
        sent=tuple(float((place == i).mean()) for i in range(QUARTERS)),
    )


def _error(frames: OperatingPointTable, picture: np.ndarray, marks: np.ndarray, stretches: int = 10) -> float:
    """Standard error of the mean of marks / mean ceiling: a ratio of means, linearised, over stretches of pictures.

    The same pictures come again and again: they, and not the sendings, limit the mean; neighbours resemble each other.
    """
    kinds = np.unique(picture)
    if len(kinds) < 2:
        return math.inf
    each = np.array([marks[picture == i].mean() for i in kinds])
    ceiling = np.ones(len(kinds)) if frames.image_ceiling is None else frames.image_ceiling[kinds]
    rest = each - each.mean() / ceiling.mean() * ceiling
    parts = np.array([part.mean() for part in np.array_split(rest, min(stretches, len(kinds)))])
    return float(parts.std(ddof=1) / math.sqrt(len(parts)) / ceiling.mean())


def _count(picture: np.ndarray, point: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.bincount(picture * shape[1] + point, minlength=shape[0] * shape[1]).reshape(shape)


def _shares(names: list[str], point: np.ndarray) -> dict[str, float]:
    share = np.bincount(point, minlength=len(names)) / max(len(point), 1)
    return {name: float(part) for name, part in zip(names, share, strict=True) if part > 0}


def study(
    calibration: OperatingPointTable,
    frames: OperatingPointTable,
    *,
    v: float | None = None,
    slots: int = 20_000,
    blocks: int = BLOCKS,
    progress: Callable[[str], None] | None = None,
    **scenario,
) -> CameraStudy:
    """The adaptive policy and every fixed point that meets the goal on the calibration, in
    `camera_scenario(**scenario)`.

    Points that either table lacks are passed over. v None: `default_v` of each policy's points. blocks: the policy
    takes a point for what it gets on the worst of so many stretches of the calibration (`assured`), so that the goal
    holds on frames it has not seen; 0: for its mean. A point's cycles are the smaller of the two tables': it is the
    same device, and other work on the machine that measured can only have added. Raises InputError where no point is in
    both.
    """
    if frames.image_bits is None:
        raise InputError("what is sent are single pictures, and the table holds means: give the rows of the benchmark.")
    both = [p.name for p in calibration.points if p.name in {q.name for q in frames.points}]
    if not both:
        raise InputError("no operating point is measured on both splits.")
    sent = frames.relative().take([frames.index(name) for name in both])
    means = _least_cycles(calibration.take([calibration.index(name) for name in both]), sent).relative()
    sure = means.assured(blocks) if blocks else means
    world = camera_scenario(means, **scenario)
    world = replace(world, delay=EARLY * world.delay)
    aim = replace(world, table=sure.undominated())
    bounds = [dual_certificate(w, samples=20_000).bound for w in (replace(world, table=means.undominated()), aim)]
    runs, skipped = [], {}

    def add(name: str, scenario: Scenario, points: tuple[str, ...] | None) -> None:
        if progress is not None:
            progress(name)
        policy = DriftPlusPenalty(v or default_v(scenario), points=points)
        table = sent.take([sent.index(p.name) for p in scenario.table.points])
        runs.append(run_camera(scenario, policy, table, slots, name=name))

    add("adaptive", aim, None)
    room = world.cpu * world.slot / CLOCK
    for point in means.undominated().points:
        seconds = point.device_cycles / CLOCK
        if point.perf < world.goal:
            skipped[point.name] = f"misses the goal by itself ({point.perf:.3f})"
            continue
        alone = replace(world, table=means.take([means.index(point.name)]))
        if seconds > room:
            skipped[point.name] = f"takes {seconds:.2f} s of a core, and a slot has {room:.2f} s on all cores"
        elif (most := capacity(alone)) <= alone.arrivals.rate:
            skipped[point.name] = f"is too large: the power allows {most / world.slot:.2f} frames a second"
        else:
            try:
                add(point.name, alone, (point.name,))
            except ChappeError as error:
                skipped[point.name] = str(error)
    return CameraStudy(world.goal, world.delay / EARLY, *bounds, tuple(runs), skipped, means.dominators())


def _least_cycles(table: OperatingPointTable, other: OperatingPointTable) -> OperatingPointTable:
    """`table` with each point's cycles at the smaller of both tables'."""
    names = ("device_cycles", "server_cycles")
    least = lambda p, q: replace(p, **{name: min(getattr(p, name), getattr(q, name)) for name in names})  # noqa: E731
    return replace(table, points=tuple(least(p, q) for p, q in zip(table.points, other.points, strict=True)))
