"""`chappe edge`: power, bits and cycles at the edge: simulate a policy, sweep the trade-off, certify the bound."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

from chappe.cli._common import check_output, columns, say
from chappe.errors import UsageError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "edge",
        help="spend power, bits and cycles so that the task succeeds on time",
        description="Devices on fading uplinks choose how to code each item and when to send it, so that mean power is "
        "least at a mean task performance and a mean delay.",
        epilog="example: chappe edge sweep --table results/camvid/rows.jsonl --split val --delay 1 2 5 -o tradeoff.png",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    one = _action(actions, "simulate", "run one policy and report on it", _simulate)
    one.add_argument("--policy", default="slow_z", metavar="NAME", help=f"{_policies()} (default %(default)s)")
    one.add_argument("--v", type=_positive, help="weight of power against backlog (default: from the prices)")
    one.add_argument("--slots", type=_count, default=10_000, help="default %(default)s")
    one.add_argument("--delay", type=_positive, metavar="S", help="most mean delay in s (default: none)")
    many = _action(actions, "sweep", "run policies at several V and delays, beside the certified bound", _sweep)
    many.add_argument("--policies", nargs="+", default=["slow_z"], metavar="NAME", help=_policies())
    many.add_argument("--v", type=_positive, nargs="+", default=[None], help="default: from the prices")
    many.add_argument("--delay", type=_positive, nargs="+", default=[None], metavar="S", help="most mean delays in s")
    many.add_argument("--slots", type=_count, default=10_000, help="default %(default)s")
    many.add_argument("-o", "--out", metavar="PNG", help="draw power against delay")
    bound = _action(actions, "bound", "certify the least power that any policy needs", _bound)
    bound.add_argument("--samples", type=_count, default=200_000, help="channel states drawn (default %(default)s)")
    camera = _action(actions, "camera", "a camera at one frame a second sends the pictures of a benchmark", _camera,
                     scenario=False)  # fmt: skip
    _table(camera, required=True)
    camera.add_argument("--calibrate", default="val", metavar="SPLIT", help="known to the policy (default %(default)s)")
    camera.add_argument("--run", dest="run_split", default="unseen", metavar="SPLIT", help="sent (default %(default)s)")
    camera.add_argument(
        "--goal", type=_positive, default=0.8, help="share of the originals' mIoU (default %(default)s)"
    )
    camera.add_argument("--stretches", type=int, default=19, metavar="N", help="a point counts for what it gets on the "
                        "worst of N stretches of the calibration, 0: for its mean (default %(default)s)")  # fmt: skip
    camera.add_argument(
        "--delay", type=_positive, default=1.0, metavar="S", help="most mean delay (default %(default)s)"
    )
    camera.add_argument("--cores", type=_count, default=4, help="of the device, 2.5 GHz each (default %(default)s)")
    _channel(camera, gain_db=-140.0)
    camera.add_argument("--v", type=_positive, help="weight of power against backlog (default: from the prices)")
    camera.add_argument("--slots", type=_count, default=20_000, help="of 0.25 s (default %(default)s)")
    camera.add_argument("--seed", type=int, default=0)
    camera.add_argument("-o", "--out", metavar="PNG", help="draw power against what the frames got")
    relevance = actions.add_parser("relevance", help="class weights from what bits do for each class in a benchmark",
                                   allow_abbrev=False)  # fmt: skip
    relevance.add_argument("rows", metavar="ROWS", help="rows.jsonl of chappe evaluate")
    relevance.add_argument("--codec", required=True, metavar="NAME", help="whose curve is read")
    relevance.add_argument("--split", metavar="NAME", help="this split only")
    relevance.add_argument("--strength", type=float, default=1.0, metavar="X",
                           help="how far to go there from uniform weights, 0..1 (default %(default)g)")  # fmt: skip
    relevance.add_argument("-o", "--profile", metavar="FILE", help="also write the profile: chappe encode "
                           '--relevance "$(cat FILE)" takes it')  # fmt: skip
    relevance.set_defaults(run=run, do=_relevance)


def run(args: argparse.Namespace) -> int:
    for path in (getattr(args, name, None) for name in ("out", "json", "profile")):
        if path:
            check_output(path)
    if getattr(args, "out", None) and not args.out.lower().endswith(".png"):
        raise UsageError(f"{args.out}: plots are written as .png: end the name in it.")
    return args.do(args)


def _action(actions, name: str, text: str, do, *, scenario: bool = True) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", allow_abbrev=False)
    parser.add_argument("--json", metavar="FILE", help="also write everything as JSON (-: to stdout, no table)")
    parser.add_argument("--quiet", action="store_true", help="print the results only")
    parser.set_defaults(run=run, do=do)
    if scenario:
        _table(parser)
        _world(parser)
    return parser


def _table(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    group = parser.add_argument_group("operating points")
    group.add_argument("--table", required=required, metavar="FILE", help="rows.jsonl or results.json of "
                       "chappe evaluate, or JSON with operating_points (default: six published points)")  # fmt: skip
    group.add_argument("--codecs", nargs="+", metavar="NAME", help="these only")
    group.add_argument("--labels", choices=("predicted", "true"), default="predicted", help="default %(default)s")


def _world(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scenario, in SI units")
    group.add_argument("--split", metavar="NAME", help="of the benchmark")
    goal = group.add_mutually_exclusive_group()
    goal.add_argument("--goal", type=float, help="least mean performance of the items served (default 0.95)")
    goal.add_argument("--goal-share", type=_positive, metavar="X", help="the same as a share of what originals get")
    group.add_argument("--devices", type=_count, default=16, help="default %(default)s")
    group.add_argument("--slot", type=_positive, default=0.05, metavar="S", help="default %(default)s")
    group.add_argument("--rate", type=_positive, default=1.0, help="items a slot and device (default %(default)s)")
    group.add_argument("--arrivals", choices=("poisson", "bernoulli", "periodic", "bursty"), default="poisson")
    _channel(group, gain_db=-120.0)
    group.add_argument("--shadowing-db", type=float, default=0.0, help="spread of the devices' path gains")
    group.add_argument("--bandwidth", type=_positive, default=2.5e6, metavar="HZ", help="default %(default)g")
    group.add_argument("--noise", type=_positive, default=1.25e-20, metavar="W/HZ", help="default %(default)g")
    group.add_argument("--max-power", type=_positive, default=3.5, metavar="W", help="default %(default)s")
    group.add_argument("--cpu", type=_positive, default=1.4e9, metavar="HZ", help="of a device (default %(default)g)")
    group.add_argument("--kappa", type=float, default=1.097e-27, help="W/Hz^3 of a device (default %(default)g)")
    group.add_argument("--server", type=_positive, metavar="HZ", help="speed of a shared server (default: none)")
    group.add_argument("--server-kappa", type=float, default=1.097e-27, help="W/Hz^3 (default %(default)g)")
    group.add_argument("--max-items", type=_positive, default=4.0, help="in a slot (default %(default)g)")
    group.add_argument("--fluid", action="store_true", help="items may be split")
    group.add_argument("--seed", type=int, default=0)


def _channel(group, *, gain_db: float) -> None:
    kinds = ("rayleigh", "rician", "bins", "tdl-a", "tdl-c")
    group.add_argument("--channel", choices=kinds, default="rayleigh", help="default %(default)s")
    group.add_argument("--gain-db", type=float, default=gain_db, metavar="DB", help="path gain (default %(default)s)")
    group.add_argument("--k-factor", type=float, default=0.0, help="of a rician channel")
    group.add_argument("--correlation", type=float, default=0.0, help="of rayleigh, rician, bins from slot to slot")
    group.add_argument("--speed", type=float, default=1.0, metavar="M/S", help="of tdl (default %(default)s)")
    group.add_argument("--carrier", type=_positive, default=3.5e9, metavar="HZ", help="of tdl (default %(default)g)")
    group.add_argument("--delay-spread", type=float, default=100e-9, metavar="S", help="of tdl (default %(default)g)")
    group.add_argument("--snr-db", type=float, metavar="DB", help="of tdl: gains that carry the same over the band at "
                       "this mean SNR (default: the mean over the band)")  # fmt: skip


def _channel_of(args: argparse.Namespace, **more):
    from chappe.edge.scenario import Channel

    return Channel(args.channel, 10 ** (args.gain_db / 10), args.k_factor, correlation=args.correlation,
                   speed=args.speed, carrier=args.carrier, delay_spread=args.delay_spread, snr_db=args.snr_db,
                   **more)  # fmt: skip


def _scenario(args: argparse.Namespace):
    from chappe.edge.operating import published_table, read_table
    from chappe.edge.scenario import Arrivals, Scenario, Server

    if args.table is None:
        table = published_table()
    elif args.table.endswith(".jsonl") or args.split or args.codecs:
        table = read_table(args.table, split=args.split, codecs=args.codecs, labels=args.labels)
    else:
        table = read_table(args.table)
    for name, why in table.left_out.items():
        say(f"without {name}: {why}", quiet=args.quiet)
    goal = 0.95 if args.goal is None else args.goal
    if args.goal_share is not None:
        table, goal = table.relative(), args.goal_share
    return Scenario(
        table=table.undominated(),
        devices=args.devices,
        slot=args.slot,
        channel=_channel_of(args, shadowing_db=args.shadowing_db),
        arrivals=Arrivals(args.rate, args.arrivals),
        server=None if args.server is None else Server(args.server, args.server_kappa),
        bandwidth=args.bandwidth,
        noise=args.noise,
        max_power=args.max_power,
        kappa=args.kappa,
        cpu=args.cpu,
        goal=goal,
        max_items=args.max_items,
        integer=not args.fluid,
        seed=args.seed,
    )  # fmt: skip


class _Bar:
    """Progress of long runs on a terminal: what runs, and how far."""

    def __init__(self, slots: int, quiet: bool) -> None:
        self._slots, self._bar, self._what = slots, None, None
        self._off = quiet or not sys.stderr.isatty()

    def __call__(self, what: str, slot: int) -> None:
        if self._off:
            return
        if what != self._what or slot == 0:
            from tqdm import tqdm

            self.close()
            self._what, self._bar = what, tqdm(total=self._slots, desc=what, unit="slot", leave=False)
        self._bar.update(1)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _simulate(args: argparse.Namespace) -> int:
    from chappe.edge.simulation import simulate
    from chappe.edge.tradeoff import default_v, policy_of

    scenario = replace(_scenario(args), delay=args.delay)
    v = args.v or default_v(scenario)
    bar = _Bar(args.slots, args.quiet)
    report = simulate(scenario, policy_of(args.policy, v), args.slots, progress=lambda slot: bar(args.policy, slot))
    bar.close()
    each = 1e6 * report.seconds / report.slots / report.devices
    lines = [
        ("verdict", report.verdict),
        ("power", f"{report.power:.6g} W a device +- {1.96 * report.power_error:.2g}"),
        ("  transmit, cpu, server", f"{report.transmit:.4g}, {report.cpu:.4g}, {report.server:.4g} W"),
        ("delay", f"{_seconds(report.delay_little)} (Little), {_seconds(report.delay_items)} (items), "
                  f"95 % within {_seconds(report.delay_p95)}"),
        ("performance", "–" if report.perf is None else f"{report.perf:.4f} an item served, goal {scenario.goal:.4g}"),
        ("backlog", f"{report.backlog:.4g} items a device"),
        ("items", f"{report.arrived:.10g} arrived, {report.left:.10g} left, {report.waiting:.10g} wait"),
        ("points", ", ".join(f"{name} {part:.0%}" for name, part in report.share.items() if part > 0.005)),
        ("time", f"{report.seconds:.1f} s, {each:.2f} us a device and slot"),
    ]  # fmt: skip
    data = {"scenario": scenario.describe(), "policy": args.policy, "v": v, "report": report.to_json()}
    _print(args, [f"{name:24s} {text}" for name, text in lines], data)
    return 0


def _sweep(args: argparse.Namespace) -> int:
    from chappe.edge.tradeoff import sweep

    scenario = _scenario(args)
    bar = _Bar(args.slots, args.quiet)
    outcomes, certificate = sweep(scenario, args.policies, vs=args.v, delays=args.delay, slots=args.slots, progress=bar)
    bar.close()
    head = ("policy", "V", "asked", "delay", "power mW", "charged", "perf", "verdict")
    rows = [
        (o.policy, _or(o.v, "g"), _seconds(o.target), _seconds(o.report.delay_little), f"{1e3 * o.report.power:.3f}",
         f"{1e3 * o.charged:.3f}", _or(o.report.perf, ".4f"), o.report.verdict)
        for o in outcomes
    ]  # fmt: skip
    bound = certificate.bound / scenario.devices
    lines = [*columns(head, rows, left=(0, 7)), f"no policy needs less than {1e3 * bound:.3f} mW a device (certified)"]
    _print(args, lines, {"scenario": scenario.describe(), "bound": bound, "runs": [o.to_json() for o in outcomes]})
    if args.out:
        from chappe.edge.plot import tradeoff_png
        from chappe.files import atomic_write_bytes

        atomic_write_bytes(args.out, tradeoff_png(outcomes, title=f"performance at least {scenario.goal:.4g}"))
        say(f"written {args.out}", quiet=args.quiet)
    return 0


def _bound(args: argparse.Namespace) -> int:
    from chappe.edge.bounds import capacity, dual_certificate

    scenario = _scenario(args)
    certificate = dual_certificate(scenario, samples=args.samples)
    count = scenario.devices
    numbers = {
        "bound": certificate.bound / count,
        "value": certificate.value / count,
        "error": certificate.error / count,
        "capacity": capacity(scenario),
        "price_item": float(certificate.item.mean()),
        "price_perf": float(certificate.perf.mean()),
    }
    lines = [
        f"no policy needs less than {1e3 * numbers['bound']:.4f} mW a device "
        f"({1e3 * numbers['value']:.4f} less three standard errors of {1e3 * numbers['error']:.4f})",
        f"capacity {numbers['capacity']:.4g} items a slot; "
        f"an item a slot more costs {1e3 * numbers['price_item']:.4g} mW, "
        f"0.01 more performance {10 * scenario.arrivals.rate * numbers['price_perf']:.4g} mW",
    ]
    _print(args, lines, {"scenario": scenario.describe(), **numbers})
    return 0


def _camera(args: argparse.Namespace) -> int:
    from chappe.edge.camera import study
    from chappe.edge.operating import read_table

    tables = [read_table(args.table, split=split, codecs=args.codecs, labels=args.labels)
              for split in (args.calibrate, args.run_split)]  # fmt: skip
    found = study(*tables, v=args.v, slots=args.slots, blocks=max(args.stretches, 0), goal=args.goal,
                  delay=args.delay, channel=_channel_of(args), cores=args.cores, seed=args.seed,
                  progress=lambda name: say(f"running {name}", quiet=args.quiet))  # fmt: skip
    head = ("policy", "power mW", "radio", "cpu", "delay s", "share of ceiling", "mIoU %", "meets")
    rows = [
        (r.name, f"{1e3 * r.power:.2f}", f"{1e3 * r.transmit:.2f}", f"{1e3 * r.cpu:.2f}", f"{r.delay:.3f}",
         f"{r.perf:.3f} +- {1.96 * r.perf_error:.3f}", f"{100 * r.miou:.1f}", "yes" if found.meets(r) else "no")
        for r in found.runs
    ]  # fmt: skip
    lines = columns(head, rows, left=(0,))
    first = found.runs[0]
    places = ("weakest", "weak", "strong", "strongest")
    for place, shares, part in zip(places, first.quarters, first.sent, strict=True):
        text = ", ".join(
            f"{name} {part:.0%}" for name, part in sorted(shares.items(), key=lambda kv: -kv[1]) if part > 0.01
        )
        lines.append(f"adaptive, {place} quarter of channels: {part:.0%} of the frames{': ' + text if text else ''}")
    good = [r for r in found.runs[1:] if found.meets(r)]
    if good and found.meets(first):
        best = min(good, key=lambda r: r.power)
        saved = 1 - first.power / best.power
        word = "less" if saved >= 0 else "more"
        lines.append(
            f"adaptive needs {abs(saved):.1%} {word} power than the best fixed point that meets both ({best.name})"
        )
    lines.append(f"no policy needs less than {1e3 * found.bound:.2f} mW with the calibration's means (certified), "
                 f"{1e3 * found.assured:.2f} mW with what is assured")  # fmt: skip
    for name, by in found.dominated.items():
        say(f"without {name}: {by} is as good or better in bits, cycles and mIoU", quiet=args.quiet)
    for name, why in found.skipped.items():
        say(f"without {name}: {why}", quiet=args.quiet)
    _print(args, lines, found.to_json())
    if args.out:
        from chappe.edge.plot import camera_png
        from chappe.files import atomic_write_bytes

        atomic_write_bytes(
            args.out, camera_png(found, title=f"one frame a second, mean delay at most {args.delay:g} s")
        )
        say(f"written {args.out}", quiet=args.quiet)
    return 0


def _relevance(args: argparse.Namespace) -> int:
    from pathlib import Path

    from chappe.bench.table import load_rows
    from chappe.edge.relevance import relevance_from_rows
    from chappe.files import atomic_write_bytes

    found = relevance_from_rows(load_rows(Path(args.rows)), args.codec, split=args.split).softened(args.strength)
    if args.profile:
        atomic_write_bytes(args.profile, (found.text() + "\n").encode())
    print(found.text())
    return 0


def _print(args: argparse.Namespace, lines: list[str], data: dict) -> None:
    if args.json:
        from chappe.files import atomic_write_bytes

        atomic_write_bytes(args.json, (json.dumps(data, indent=1) + "\n").encode())
    if args.json != "-":
        print("\n".join(lines))


def _policies() -> str:
    return "slow_z, placeholder, tune, plain, paper, fixed:POINT, maxrate, threshold, greedy, lp, cmdp"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} s"


def _or(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
