"""Operating points: what one item costs in bits and cycles at each way of coding it, and how well the task does then.

Performance must be averageable over items, so the mIoU of a benchmark enters as the mean of the mIoU of each picture,
never as that of the summed confusion matrices. Cycles are measured seconds of one thread times a clock: they are those
of the machine that measured, and a scenario's CPU speeds are to be read in that unit. Seconds are medians over the
items, since other work on that machine only ever adds, to some of them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from chappe.errors import InputError
from chappe.files import read_bytes

__all__ = [
    "CLOCK",
    "OperatingPoint",
    "OperatingPointTable",
    "published_table",
    "read_table",
    "table_from_cells",
    "table_from_gib",
    "table_from_rows",
]

CLOCK = 2.5e9  # Hz, nominal: seconds of a benchmark times this are the cycles of a point


@dataclass(frozen=True)
class OperatingPoint:
    """One way to code an item. Bits and cycles an item, `perf` in the unit of `metric`, higher better.

    bits_var: over items; perf_ci: half the 95 % interval of the mean; images: how many it was measured on (0: not).
    """

    name: str
    bits: float
    device_cycles: float
    server_cycles: float
    perf: float
    bits_var: float = 0.0
    perf_ci: float = 0.0
    metric: str = ""
    dataset: str = ""
    images: int = 0

    def __post_init__(self) -> None:
        numbers = (self.bits, self.device_cycles, self.server_cycles, self.perf, self.bits_var, self.perf_ci)
        good = all(isinstance(v, (int, float)) and math.isfinite(v) for v in numbers)
        if not good or self.bits <= 0 or self.device_cycles < 0 or self.server_cycles < 0:
            raise InputError(
                f"operating point {self.name!r} has bits {self.bits}, cycles {self.device_cycles} and "
                f"{self.server_cycles}, performance {self.perf}: expected finite numbers, bits above 0, cycles from 0."
            )


@dataclass(frozen=True, eq=False)
class OperatingPointTable:
    """Points, at least one, with different names.

    names, image_bits, image_perf, image_counts: of the same pictures at every point, (I,), (I, M), (I, M) and (I, M, C,
    C) confusion counts, where measured, in the order they were taken.
    ceiling: what uncoded items get, image_ceiling (I,) each; left_out: points that were not taken, with the reason.
    """

    points: tuple[OperatingPoint, ...]
    ceiling: float | None = None
    names: tuple[str, ...] = ()
    image_bits: np.ndarray | None = None
    image_perf: np.ndarray | None = None
    image_counts: np.ndarray | None = None
    image_ceiling: np.ndarray | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.points:
            why = "; ".join(f"{name} ({text})" for name, text in self.left_out.items())
            raise InputError(f"there is no operating point to choose from{': ' + why if why else ''}.")
        if len({p.name for p in self.points}) < len(self.points):
            raise InputError("two operating points have the same name: rename one.")

    def __len__(self) -> int:
        return len(self.points)

    def column(self, name: str) -> np.ndarray:
        """(M,) float64 of one field of the points."""
        return np.array([getattr(p, name) for p in self.points], np.float64)

    def index(self, name: str) -> int:
        """Number of the point of that name. Raises InputError if there is none."""
        for i, point in enumerate(self.points):
            if point.name == name:
                return i
        raise InputError(
            f"there is no operating point {name!r}: it is one of {', '.join(p.name for p in self.points)}."
        )

    def take(self, keep: Sequence[int]) -> OperatingPointTable:
        """The points with these numbers, in this order."""
        keep = list(keep)
        cut = lambda a: None if a is None else a[:, keep]  # noqa: E731
        return replace(self, points=tuple(self.points[i] for i in keep), image_bits=cut(self.image_bits),
                       image_perf=cut(self.image_perf), image_counts=cut(self.image_counts))  # fmt: skip

    def undominated(self) -> OperatingPointTable:
        """Without the points that another one equals or beats in bits, both cycles and performance together.

        No policy loses by that. Points inside the hull stay: power is convex in the rate, so that they may be useful.
        """
        beaten = self.dominators()
        return self.take([i for i, point in enumerate(self.points) if point.name not in beaten])

    def dominators(self) -> dict[str, str]:
        """Of each point that `undominated` drops, the name of a point that stays and is no worse in anything: of
        several the one of most performance."""
        cost = np.stack([self.column("bits"), self.column("device_cycles"), self.column("server_cycles"),
                         -self.column("perf")], 1)  # fmt: skip
        found: dict[int, list[int]] = {}
        for i in range(len(cost)):
            no_worse = (cost <= cost[i]).all(1)
            better = (cost < cost[i]).any(1)
            first = np.arange(len(cost)) < i  # of twins the first stays
            if (rivals := np.flatnonzero(no_worse & (better | first))).size:
                found[i] = rivals.tolist()
        perf = self.column("perf")
        stay = {i: max((k for k in rivals if k not in found), key=lambda k: perf[k]) for i, rivals in found.items()}
        return {self.points[i].name: self.points[k].name for i, k in stay.items()}

    def relative(self) -> OperatingPointTable:
        """With performance as a share of the ceiling. Raises InputError where that is not known."""
        if not self.ceiling:
            raise InputError("the ceiling is not known: the rows need those of the codec 'original'.")
        points = tuple(replace(p, perf=p.perf / self.ceiling, perf_ci=p.perf_ci / self.ceiling) for p in self.points)
        perf = None if self.image_perf is None else self.image_perf / self.ceiling
        each = None if self.image_ceiling is None else self.image_ceiling / self.ceiling
        return replace(self, points=points, image_perf=perf, image_ceiling=each, ceiling=1.0)

    def block_shares(self, blocks: int) -> np.ndarray:
        """(blocks, M) performance over ceiling of each of `blocks` stretches of consecutive pictures.

        Raises InputError where single pictures or their ceilings are not known, or are fewer than the stretches.
        """
        if self.image_perf is None or self.image_ceiling is None:
            raise InputError("single pictures and their ceilings are not known: give the rows of the benchmark.")
        if not 1 <= blocks <= len(self.names):
            raise InputError(f"{len(self.names)} pictures do not make {blocks} stretches: ask for fewer.")
        parts = np.array_split(np.arange(len(self.names)), blocks)
        return np.stack([self.image_perf[i].mean(0) / max(self.image_ceiling[i].mean(), 1e-12) for i in parts])

    def assured(self, blocks: int = 19) -> OperatingPointTable:
        """With each point's performance at its share of the ceiling on the worst of `blocks` stretches of pictures.

        A further stretch that is exchangeable with these falls below with probability 1 / (blocks + 1), whatever the
        distribution (order statistics, as in conformal prediction): 5 % with 19. Whoever mixes points loses no
        assurance: the worst stretch of a mixture is never below the mixture of the worst stretches. Performance comes
        out as `relative` gives it. Raises InputError as `block_shares`.
        """
        worst = self.block_shares(blocks).min(0)
        points = tuple(replace(p, perf=float(v)) for p, v in zip(self.relative().points, worst, strict=True))
        return replace(self.relative(), points=points)

    def to_json(self) -> dict:
        """As `read_table` reads it, without the single pictures."""
        return {"operating_points": [asdict(p) for p in self.points], "ceiling": self.ceiling}


def published_table() -> OperatingPointTable:
    """Six ways to split an image classifier, from a public simulator of multi-user edge inference (2022).

    Accuracy, bits (features x mean bits) and cycles (1 / patterns a cycle) of its table; facts, not measurements of
    ours.
    """
    rows = (
        ("0", 0.973, 49152 * 1.08, 6.67e-8, 1.20e-7),
        ("1", 0.965, 12288 * 2.27, 8.60e-8, 2.17e-7),
        ("2", 0.930, 3072 * 4.72, 8.98e-8, 2.87e-7),
        ("3", 0.918, 768 * 9.06, 9.47e-8, 3.57e-7),
        ("4", 0.830, 192 * 8.0, 1.35e-7, 5.00e-7),
        ("5", 0.670, 48 * 8.0, 1.32e-7, 6.25e-7),
    )
    return OperatingPointTable(
        tuple(OperatingPoint(n, bits, 1 / jd, 1 / js, perf, metric="accuracy") for n, perf, bits, jd, js in rows)
    )  # fmt: skip


def table_from_gib(gib, betas: Iterable[float], *, cycles: float = 0.0, ideal: bool = False) -> OperatingPointTable:
    """One point for each beta: coded bits (`ideal`: I(T;X)) and the explained share of Y's power, 1 - mse / power."""
    points = []
    for beta in betas:
        bits = gib.info(beta).tx if ideal else gib.coded_bits(beta)
        if bits > 0:
            points.append(
                OperatingPoint(f"beta={beta:.6g}", bits, cycles, 0.0, 1 - gib.mse(beta) / gib.power, metric="R2")
            )
    return OperatingPointTable(tuple(points))


def read_table(path: str | os.PathLike[str], **options) -> OperatingPointTable:
    """Points of a rows.jsonl or results.json of `chappe evaluate` (`options`: split, codecs, labels), or of a JSON file
    with `operating_points`. Results are read for their rows where rows.jsonl lies beside them, else for their means,
    without single pictures. Raises InputError for anything else.
    """
    name = os.fspath(path)
    if name.endswith(".jsonl"):
        from chappe.bench.table import load_rows

        return table_from_rows(load_rows(Path(name)), **options)
    try:
        data = json.loads(read_bytes(name))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: is not a JSON file ({error}).") from error
    if isinstance(data, dict) and isinstance(data.get("operating_points"), list):
        known = {f.name for f in fields(OperatingPoint)}
        try:
            points = tuple(
                OperatingPoint(**{k: v for k, v in p.items() if k in known}) for p in data["operating_points"]
            )
        except (TypeError, AttributeError) as error:
            raise InputError(f"{name}: its operating points lack something ({error}).") from error
        return OperatingPointTable(points, data.get("ceiling"))
    if isinstance(data, dict) and isinstance(data.get("cells"), list):
        rows = Path(name).with_name("rows.jsonl")
        if rows.is_file():  # only the rows know what each single picture got
            return read_table(rows, **options)
        try:
            return table_from_cells(data["cells"], **options)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{name}: its cells lack something that chappe evaluate writes ({error}).") from error
    raise InputError(f"{name}: is neither rows or results of chappe evaluate nor a list of operating_points.")


def table_from_rows(
    rows: Iterable[Mapping],
    *,
    split: str | None = None,
    codecs: Sequence[str] | None = None,
    labels: str = "predicted",
    eye: str = "judge",
    device_clock: float = CLOCK,
    server_clock: float = CLOCK,
    task: bool = True,
) -> OperatingPointTable:
    """Points from the rows of a benchmark: codec@point, mean over pictures of their own mIoU in 0..1.

    split: the one to take, needed where the rows hold several; labels: of codecs that send a map, "predicted" or
    "true" (codecs that send none are always taken). Device cycles are (segment + encode) seconds, server cycles decode
    seconds and, with `task`, the judge's; each the median. A point that some picture does not reach is left out, as is
    a picture whose truth is all void. Raises InputError where nothing is left.
    """
    rows = list(rows)
    found = sorted({row["split"] for row in rows})
    if split is None and len(found) > 1:
        raise InputError(f"the rows are of the splits {', '.join(found)}: say which one to take.")
    split = split if split is not None else (found[0] if found else "")
    rows = [row for row in rows if row["split"] == split]
    if not rows:
        raise InputError(f"no row of split {split!r}: there are {', '.join(found) or 'none at all'}.")
    groups: dict[str, dict[str, Mapping]] = {}
    for row in rows:
        if row["labels"] in ("none", labels) and (codecs is None or row["codec"] in (*codecs, "original")):
            groups.setdefault(f"{row['codec']}@{row['point']}", {})[row["name"]] = row
    originals = groups.pop("original@original", {})
    names = sorted({row["name"] for row in rows})
    seen = {name: _miou(row, eye) for name, row in originals.items()}
    ceiling = (
        float(np.mean([v for v in seen.values() if v is not None]))
        if any(v is not None for v in seen.values())
        else None
    )
    dropped = {n for g in groups.values() for n, row in g.items() if row["reached"] and _miou(row, eye) is None}
    names = [n for n in names if n not in dropped]
    points, bits, perf, counts, left_out = [], [], [], [], {}
    for name, group in groups.items():
        missing = sum(n not in group or not group[n]["reached"] for n in names)
        if missing or not names:
            left_out[name] = f"{missing} of {len(names)} pictures do not reach it" if names else "no truth to judge by"
            continue
        kept = [group[n] for n in names]
        sizes = np.array([8.0 * row["bytes"] for row in kept])
        marks = np.array([_miou(row, eye) for row in kept])
        seconds = [row["seconds"] for row in kept]
        device = np.median([s["segment"] + s["encode"] for s in seconds])
        server = np.median([s["decode"] + (s["judge"] if task else 0.0) for s in seconds])
        spread = marks.std(ddof=1) if len(marks) > 1 else 0.0
        points.append(
            OperatingPoint(name, float(sizes.mean()), float(device * device_clock), float(server * server_clock),
                           float(marks.mean()), float(sizes.var()), float(1.96 * spread / math.sqrt(len(marks))),
                           f"miou_image:{eye}", str(kept[0].get("data", "")), len(kept))
        )  # fmt: skip
        bits.append(sizes)
        perf.append(marks)
        counts.append(np.array([row[f"eye:{eye}"] for row in kept], np.int64))
    stack = lambda lists: np.stack(lists, 1) if lists else None  # noqa: E731
    each = [seen.get(n) for n in names]
    each = None if not names or None in each else np.array(each)
    return OperatingPointTable(tuple(points), ceiling, tuple(names), stack(bits), stack(perf), stack(counts), each,
                               left_out)  # fmt: skip


def table_from_cells(
    cells: Iterable[Mapping], *, split: str | None = None, codecs: Sequence[str] | None = None,
    labels: str = "predicted", clock: float = CLOCK
) -> OperatingPointTable:  # fmt: skip
    """Points from the `cells` of a benchmark's results: as `table_from_rows`, but of means, so without single pictures.

    Cycles are mean seconds here, and without the judge's, which the results do not hold. Raises InputError as
    `table_from_rows`.
    """
    cells = list(cells)
    found = sorted({cell["split"] for cell in cells})
    if split is None and len(found) > 1:
        raise InputError(f"the results are of the splits {', '.join(found)}: say which one to take.")
    if (split or "") not in found and (split is not None or not found):
        raise InputError(f"no result of split {split or ''!r}: there are {', '.join(found) or 'none at all'}.")
    points, left_out, ceiling, mark = [], {}, None, "miou_image:judge"
    for cell in cells:
        name, values = f"{cell['codec']}@{cell['point']}", cell["values"]
        if cell["split"] != (split or found[0]) or cell["labels"] not in ("none", labels):
            continue
        if cell["codec"] == "original":
            ceiling = values[mark] / 100 if mark in values else None
        elif codecs is not None and cell["codec"] not in codecs:
            continue
        elif mark not in values:
            missing = cell["of"] - cell["frames"]
            left_out[name] = (
                f"{missing} of {cell['of']} pictures do not reach it" if missing else "no truth to judge by"
            )
        else:
            half = (cell["high"].get(mark, values[mark]) - cell["low"].get(mark, values[mark])) / 200
            points.append(
                OperatingPoint(name, 8.0 * values["bytes"], values["encode_ms"] / 1000 * clock,
                               values["decode_ms"] / 1000 * clock, values[mark] / 100, 0.0, half,
                               "miou_image:judge", "", cell["frames"])
            )  # fmt: skip
    return OperatingPointTable(tuple(points), ceiling, left_out=left_out)


def _miou(row: Mapping, eye: str) -> float | None:
    """mIoU of one picture in 0..1 over the classes that occur; None where the truth is void everywhere or not known."""
    matrix = row.get(f"eye:{eye}")
    if matrix is None:
        return None
    from chappe.metrics.semantic import miou

    counts = np.asarray(matrix, np.int64)
    return float(miou(counts, ignore=len(counts) - 1)) if counts[:-1].sum() else None
