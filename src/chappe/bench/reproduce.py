"""A paper's printed numbers beside ours, on a data set of the caller's: `chappe evaluate --reproduce sqgan-fig12 DATA`.

Each line says what the paper prints, what we measure, and the difference. What a paper shows only as a figure has no
value of its own; where the paper's codec is not here, the line says which codec of ours stands in or that none does.
The data sets, segmenters and networks differ from the papers': a difference is a difference, not a failure.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chappe.bench.published import Item, load_item
from chappe.codec import list_models
from chappe.errors import InputError, MissingDependency, UsageError

__all__ = ["NAMES", "Bench", "Line", "format_lines", "run", "table"]

SQGAN = "sqgan-street"
STAND_INS = {"BPG": "hevc", "JPEG 2000": "jpeg2000", "JPEG": "jpeg"}
RLASC_RATES = ("0.08", "0.16", "0.32")
JUDGE = "miou:judge"


@dataclass(frozen=True)
class Line:
    """One quantity: the paper's value and ours, either of which may be missing, in the same unit."""

    what: str
    paper: float | None
    ours: float | None
    unit: str = ""
    note: str = ""

    @property
    def difference(self) -> float | None:
        return None if self.paper is None or self.ours is None else self.ours - self.paper


@dataclass(frozen=True)
class Bench:
    """How to measure: `cells(codecs, points, labels)` gives `bench.table.Cell`s of one split."""

    cells: Callable[..., list]


def run(
    name: str,
    data: str | os.PathLike[str] | Sequence[str] | None,
    *,
    split: str | None = None,
    limit: int | None = None,
    every: int = 1,
    jobs: int = 1,
    out: Path | None = None,
    quiet: bool = False,
) -> int:
    """Print the comparison of one item (see `NAMES`) and return 0. Without `data` only the paper's numbers are printed.

    split: by default "val" where there are splits. out: folder in which the measurements are kept and taken up again;
    by default they are thrown away. Raises UsageError for an unknown item or more than one data set.
    """
    from chappe.bench import reproduce_gesco, reproduce_link

    known = (*NAMES, *reproduce_link.NAMES, *reproduce_gesco.NAMES)
    if name not in known:
        raise UsageError(f"--reproduce {name}: is none of {', '.join(known)}.")
    folders = [data] if isinstance(data, (str, os.PathLike)) else list(data or ())
    if len(folders) > 1:
        raise UsageError(f"--reproduce takes one data set, found {len(folders)}.")
    item = load_item(name)
    if not folders:
        print(format_lines(item, _paper_only(item), "no data set given: only what the paper prints"))
        return 0
    from chappe.bench.protocol import default_split, frames

    root = os.fspath(folders[0])
    part = split or default_split(root)
    pictures = frames(root, part, limit=limit, every=every)
    where = f"{Path(os.path.realpath(root)).name}, split {part}, {len(pictures)} pictures; 11 classes, own judge"
    if name in reproduce_link.NAMES:
        bench = reproduce_link.LinkBench(pictures)
        where += f"; {bench.seeds} fades a picture; lost pictures count as grey"
        print(format_lines(item, reproduce_link.NAMES[name](item, bench), where))
        return 0
    if name in reproduce_gesco.NAMES:
        lines = reproduce_gesco.NAMES[name](item, reproduce_gesco.GescoBench(pictures, root))
        print(format_lines(item, lines, where + "; true labels sent"))
        return 0
    with tempfile.TemporaryDirectory(prefix="chappe-") as scratch:
        target = Path(scratch if out is None else out)
        lines = table(name, Bench(_sweeper(root, part, limit, every, jobs, target, quiet)))
    print(format_lines(item, lines, where))
    return 0


def table(name: str, bench: Bench) -> list[Line]:
    """The lines of one item, measured by `bench`."""
    return NAMES[name](load_item(name), bench)


def format_lines(item: Item, lines: Sequence[Line], ours: str) -> str:
    """The item, both data sets and a table of the lines as text."""
    from chappe.cli._common import columns

    rows = [
        (line.what, _text(line.paper), _text(line.ours), _text(line.difference, sign=True), line.unit, line.note)
        for line in lines
    ]
    head = [f"{item.name}: {item.title}", f"paper  {item.paper}", f"       {item.data}", f"ours   {ours}"]
    body = columns(("quantity", "paper", "ours", "difference", "unit", "note"), rows, left=(0, 4, 5)) if rows else []
    return "\n".join([*head, "", *body, "", item.note])


def _sweeper(root: str, part: str, limit, every: int, jobs: int, out: Path, quiet: bool) -> Callable[..., list]:
    from chappe.bench.plan import SweepSpec, make_plan
    from chappe.bench.sweep import run_sweep
    from chappe.bench.table import aggregate, load_rows

    def cells(codecs: Sequence[str], points: Sequence[str], labels: str = "predicted", features: bool = False) -> list:
        spec = SweepSpec(
            data=root, codecs=tuple(codecs), points=tuple(points), splits=(part,), labels=(labels,), limit=limit,
            every=every, features=features,
        )  # fmt: skip
        plan = make_plan(spec)
        path = run_sweep(spec, out, jobs, plan=plan, quiet=quiet)
        return aggregate(load_rows(path, keys=plan.keys()), resamples=100)

    return cells


def _paper_only(item: Item) -> list[Line]:
    lines = []
    for point in item.points:
        rate = ", ".join(f"{value:g} {key}" for key, value in {**point.rates, **point.setting}.items())
        values = point.values or {"rate alone": None}
        lines += [
            Line(f"{point.codec} at {rate}: {key}", value, None, note=point.where) for key, value in values.items()
        ]
    return lines + [Line(fact.what, fact.value, None, fact.unit, fact.where) for fact in item.facts]


def _fig8(item: Item, bench: Bench) -> list[Line]:
    paper = item.points[0]
    total = paper.setting["m_s+m_x"]
    settings = [(round(total - m_x, 2), m_x) for m_x in (0.15, 0.35, 0.55, 0.75, 0.95)]
    cells = _by_point(bench.cells([SQGAN], [_knobs(*pair) for pair in settings]))
    lines = []
    for m_s, m_x in settings:
        cell = cells.get(_knobs(m_s, m_x))
        name = f"m_s {m_s:g}, m_x {m_x:g}"
        lines.append(Line(f"{name}: rate", paper.rates["bpp"], _get(cell, "bpp"), "bpp", "paper: eq. (2); ours: files"))
        lines.append(Line(f"{name}: judge mIoU", None, _get(cell, JUDGE), "%"))
        lines.append(Line(f"{name}: LPIPS (SqueezeNet)", None, _get(cell, "lpips")))
    return lines


def _fig9(item: Item, bench: Bench) -> list[Line]:
    printed = {point.setting["m_s"]: point.rates["bpp_map"] for point in item.points}
    fractions = (0.05, 0.2, 0.35, 0.55, 0.75, 1.0)
    cells = _by_point(bench.cells([SQGAN], [_knobs(m_s, 0.2) for m_s in fractions], "true"))
    lines, kept = [], {}
    for m_s in fractions:
        cell = cells.get(_knobs(m_s, 0.2))
        sections = cell.sections if cell else {}
        size = sum(value for name, value in sections.items() if name.startswith("map"))
        rate = size / _get(cell, "bytes") * _get(cell, "bpp") if size and _get(cell, "bytes") else None
        kept[m_s] = _get(cell, "miou:map")
        lines.append(Line(f"m_s {m_s:g}: rate of the map", printed.get(m_s), rate, "bpp"))
        lines.append(Line(f"m_s {m_s:g}: mIoU of the map", None, kept[m_s], "%"))
    if kept[1.0] is not None and kept[0.55] is not None:
        lines.append(
            Line("mIoU gained from m_s 0.55 to 1", None, kept[1.0] - kept[0.55], "%", "paper: almost constant")
        )
    return lines


def _fig10(item: Item, bench: Bench) -> list[Line]:
    grid = (0.2, 0.55, 1.0)
    cells = _by_point(bench.cells([SQGAN], [_knobs(m_s, m_x) for m_s in grid for m_x in grid]))
    lines = [Line(fact.what, fact.value, None, fact.unit, fact.where) for fact in item.facts]
    for m_s in grid:
        for m_x in grid:
            value = _get(cells.get(_knobs(m_s, m_x)), "lpips")
            lines.append(Line(f"m_s {m_s:g}, m_x {m_x:g}: LPIPS (SqueezeNet)", None, value, "", "paper: LPIPS (VGG)"))
    return lines


def _fig12(item: Item, bench: Bench) -> list[Line]:
    from chappe.bench.table import needed_bpp

    rates = ("0.018", "0.038", "0.08", "0.16", "0.32")
    codecs = _present([SQGAN, "hevc"])
    cells = bench.cells(codecs, rates)
    lowest = bench.cells(["hevc"], [_lowest_point("hevc")]) if "hevc" in codecs else []
    at = {(cell.codec, cell.point): cell for cell in cells}
    part = next(cell.split for cell in cells)
    kept = _get(at.get((SQGAN, "0.018")), JUDGE)
    lines = []
    for point in item.points:
        for key, value in point.values.items():
            name = f"{point.codec} at {point.rates['bpp']:g} bpp: {key}"
            if (point.codec, key) == ("SQ-GAN", "miou"):
                lines.append(Line(name, 100 * value, kept, "%", f"ours: {SQGAN}, judge against truth"))
            elif (point.codec, key) == ("BPG", "psnr"):
                found = _get(at.get(("hevc", "0.038")), "psnr")
                note = "HEVC intra stands in" + ("" if found else "; not all pictures reach the rate")
                lines.append(Line(name, value, found, "dB", note))
            else:
                unit, scale = ("%", 100) if key == "miou" else ("dB", 1) if key == "psnr" else ("", 1)
                note = "FID is not measured here" if key == "fid" else f"{point.codec} is not here"
                lines.append(Line(name, scale * value, None, unit, note))
    goal = _get(at.get((SQGAN, "0.038")), JUDGE)
    ours = {
        "lowest rate of BPG": next((_get(cell, "bpp") for cell in lowest if cell.codec == "hevc"), None),
        "rate at which BPG keeps the meaning that SQ-GAN keeps at 0.038 bpp": (
            None if goal is None else needed_bpp(cells, "hevc", part, goal)
        ),
    }
    for fact in item.facts:
        found = ours.get(fact.what)
        lines.append(Line(fact.what, fact.value, found, fact.unit, "HEVC intra stands in" if found else fact.where))
    return lines


def _rlasc(*keys: str) -> Callable[[Item, Bench], list[Line]]:
    """Curves that the paper only draws: its rates, and `keys` of our codecs at them."""

    def lines(item: Item, bench: Bench) -> list[Line]:
        from chappe.bench.curves import metric

        own, note = _own()
        found = _by_codec(bench.cells(_present([own, *STAND_INS.values()]), RLASC_RATES, features=True))
        out = [Line(f"{p.codec}: works at", p.rates["bpp"], None, "bpp", p.where) for p in item.points]
        for codec, cells in found.items():
            stands = {code: name for name, code in STAND_INS.items()}.get(codec)
            text = f"stands in for {stands}" if stands == "BPG" else "" if stands else note
            for cell in cells:
                for key in keys:
                    value = _get(cell, key.removeprefix("1-"))
                    if value is not None and key.startswith("1-"):
                        value = 1 - value / 100
                    title = f"1 - {metric(key[2:]).title}" if key.startswith("1-") else metric(key).title
                    unit = "" if key.startswith("1-") else metric(key).unit
                    out.append(Line(f"{codec} at {cell.point} bpp: {title}", None, value, unit, text))
        return out

    return lines


def _table2(item: Item, bench: Bench) -> list[Line]:
    from chappe.bench.curves import curves_from_cells
    from chappe.metrics.bd import bd_metric, bd_rate, undominated

    own, note = _own()
    cells = bench.cells(_present([own, *STAND_INS.values()]), RLASC_RATES)
    curves = {curve.codec: curve for curve in curves_from_cells(cells, JUDGE)}
    lines = []
    for fact in item.facts:
        unit, ours, remark = fact.unit, None, "its codec is not here"
        if fact.rival and {fact.rival, own} <= curves.keys():
            a, b = curves[fact.rival], curves[own]
            remark = f"{note}; rival: {fact.rival}"
            try:
                if fact.unit == "%":
                    kept = [undominated(c.bpp, c.value) for c in (a, b)]
                    pairs = [[[v for v, k in zip(row, keep, strict=True) if k] for row in (c.bpp, c.value)]
                             for c, keep in zip((a, b), kept, strict=True)]  # fmt: skip
                    ours = bd_rate(*pairs[0], *pairs[1])
                else:
                    ours = bd_metric(a.bpp, a.value, b.bpp, b.value) / 100
            except InputError:
                remark += "; the curves share no range"
        elif fact.rival:
            remark = f"{fact.rival} does not reach these rates on all pictures"
        lines.append(Line(fact.what, fact.value, ours, unit, remark))
    return lines


NAMES: dict[str, Callable[[Item, Bench], list[Line]]] = {
    "sqgan-fig8": _fig8,
    "sqgan-fig9": _fig9,
    "sqgan-fig10": _fig10,
    "sqgan-fig12": _fig12,
    "rlasc-fig5": _rlasc(JUDGE),
    "rlasc-fig8": _rlasc("feature_distance", "lpips"),
    "rlasc-fig9": _rlasc("1-" + JUDGE, "feature_distance"),
    "rlasc-fig11": _rlasc("psnr", "ssim"),
    "rlasc-table2": _table2,
}


def _own() -> tuple[str, str]:
    """The codec measured for RL-ASC, and what is said of it."""
    built = list_models("rlasc-*")
    return (built[0], "ours") if built else (SQGAN, f"RL-ASC is not built here: {SQGAN} stands in")


def _lowest_point(name: str) -> str:
    """The operating point of the lowest rate."""
    from chappe.bench.codecs import open_codec

    return open_codec(name).points()[0].name


def _present(names: Sequence[str]) -> list[str]:
    """Those of the codecs whose libraries are installed; the first must be."""
    from chappe.bench.codecs import open_codec

    found = []
    for name in names:
        try:
            open_codec(name)
        except MissingDependency:
            if name == names[0]:
                raise
            continue
        found.append(name)
    return found


def _knobs(m_s: float, m_x: float) -> str:
    return f"map=tokens,m_s={m_s:g},m_x={m_x:g}"


def _by_point(cells: Sequence) -> dict:
    return {cell.point: cell for cell in cells if cell.codec == SQGAN}


def _by_codec(cells: Sequence) -> dict[str, list]:
    found: dict[str, list] = {}
    for cell in cells:
        if cell.codec != "original":
            found.setdefault(cell.codec, []).append(cell)
    return found


def _get(cell, key: str) -> float | None:
    return None if cell is None else cell.values.get(key)


def _text(value: float | None, *, sign: bool = False) -> str:
    return "–" if value is None else f"{value:+.4g}" if sign else f"{value:.4g}"
