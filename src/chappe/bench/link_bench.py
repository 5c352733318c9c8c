"""The link benchmark: every scheme of `link_schemes` on every picture, resumable, over 2x2 Rayleigh fading.

A unit is one picture with one scheme, all its SNRs, CBRs and fades; it is one line of units.jsonl, whole or absent, so
the same call goes on after a kill. The fades of a picture follow from its name: all schemes meet the same.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from chappe.bench.link_schemes import SCHEMES, Scheme
from chappe.bench.pool import appending, on_cores
from chappe.bench.protocol import Frame, Frames, frames
from chappe.errors import ChappeError, MissingDependency, UsageError
from chappe.files import read_bytes, why
from chappe.modelfolder import read_weights

__all__ = ["GRIDS", "LinkSpec", "Measure", "Plan", "load_units", "make_plan", "measure_picture", "run_bench"]

FORMAT = 1
SNRS = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0)
LOW = (-12.0, -9.0, -6.0, -3.0, 0.0)
BD_SNRS = (6.0, 10.0)
# (CBRs, SNRs, which schemes)
GRIDS: tuple[tuple[tuple[str | None, ...], tuple[float, ...], Callable[[Scheme], bool]], ...] = (
    (("0.02", "1/12"), SNRS, lambda scheme: not scheme.rated),
    (("0.04", "1/6"), BD_SNRS, lambda scheme: not scheme.rated),
    (("0.02", "1/12"), LOW, lambda scheme: scheme.low and not scheme.rated),
    ((None,), LOW + SNRS, lambda scheme: scheme.rated),
)


@dataclass(frozen=True)
class LinkSpec:
    """What to measure: pictures as in `bench.protocol.frames`; schemes: names of `SCHEMES`, or patterns such as
    "hevc*"; fades a picture."""

    data: str
    split: str
    schemes: tuple[str, ...] = tuple(SCHEMES)
    fades: int = 1
    every: int = 1
    limit: int | None = None

    def frames(self) -> Frames:
        """The pictures. Raises InputError or UsageError."""
        return frames(self.data, self.split, limit=self.limit, every=self.every)


@dataclass(frozen=True)
class Plan:
    """keys: (picture, scheme) -> key of the unit; missing: schemes that are not here, and why, in a sentence."""

    spec: LinkSpec
    names: tuple[str, ...]
    keys: dict[tuple[str, str], str]
    missing: dict[str, str] = field(default_factory=dict)

    def left(self, done: set[str]) -> list[tuple[int, tuple[str, ...]]]:
        """(index of a picture, schemes that it still needs)."""
        out = []
        for index, name in enumerate(self.names):
            schemes = tuple(s for (picture, s), key in self.keys.items() if picture == name and key not in done)
            if schemes:
                out.append((index, schemes))
        return out


class Measure:
    """PSNR, MS-SSIM and confusion of a received picture, for `chappe.link.sweep`.

    truth: (H, W) uint8 of street11; None: what the judge reads in the original (SCSC eq. 20). PSNR is at most 100.
    """

    def __init__(self, judge: Callable[[np.ndarray], np.ndarray], truth: np.ndarray | None = None) -> None:
        self.judge, self.truth, self.known = judge, truth, {}

    def __call__(self, original: np.ndarray, received: Any) -> dict:
        """Equal pixels are measured once, whatever sweep they come from."""
        first, image = (np.ascontiguousarray(picture) for picture in (original, received.image))
        key = hashlib.sha256(first).digest() + hashlib.sha256(image).digest()
        if key not in self.known:
            self.known[key] = self._values(first, image)
        return self.known[key]

    def _values(self, original: np.ndarray, image: np.ndarray) -> dict:
        from chappe.metrics.pixel import psnr
        from chappe.metrics.semantic import confusion
        from chappe.metrics.ssim import ms_ssim, scales_for

        labels = self.truth
        if labels is None:
            key = hashlib.sha256(original).digest()
            labels = self.known[key] = self.known[key] if key in self.known else self.judge(original)
        return {
            "psnr": min(psnr(original, image), 100.0),
            "ms_ssim": ms_ssim(original, image, scales=min(5, scales_for(*image.shape[:2]))),
            "confusion": confusion(self.judge(image), labels, 12, ignore=11),
        }


def make_plan(spec: LinkSpec) -> Plan:
    """Open every scheme and read every picture once. Raises UsageError for an unknown scheme, InputError for data."""
    from chappe.segment.builtin import JUDGE_WEIGHTS

    chosen: dict[str, None] = {}
    for pattern in spec.schemes:
        names = [name for name in SCHEMES if fnmatch(name, pattern)]
        if not names:
            raise UsageError(f"There is no scheme {pattern!r}; there are: {'; '.join(SCHEMES)}.")
        chosen |= dict.fromkeys(names)
    if spec.fades < 1:
        raise UsageError(f"A picture meets at least one fade, not {spec.fades}.")
    versions, missing = {}, {}
    for name in chosen:
        try:
            SCHEMES[name].make()
            versions[name] = SCHEMES[name].version()
        except (UsageError, MissingDependency) as error:
            missing[name] = str(error)
    judge = hashlib.sha256(read_weights(JUDGE_WEIGHTS)).hexdigest()[:12]
    pictures = [(frame.name, frame.fingerprint()) for frame in spec.frames()]
    keys = {
        (name, scheme): hashlib.sha256(
            json.dumps([FORMAT, name, print_, scheme, version, spec.fades, judge, repr(_points(scheme))]).encode()
        ).hexdigest()[:16]
        for name, print_ in pictures
        for scheme, version in versions.items()
    }
    return Plan(spec, tuple(name for name, _ in pictures), keys, missing)


def _points(name: str) -> list[tuple]:
    """(CBRs, SNRs) of each grid that a scheme is measured on."""
    scheme, out = SCHEMES[name], []
    for cbrs, snrs, takes in GRIDS:
        fit = tuple(cbr for cbr in cbrs if cbr is None or _value(cbr) <= scheme.most + 1e-9)
        if takes(scheme) and fit:
            out.append((fit, snrs))
    return out


def _value(cbr: str) -> float:
    from fractions import Fraction

    return float(Fraction(cbr))


def seeds_of(name: str, fades: int) -> list[int]:
    """The fades of a picture: other ones for each picture, the same for every scheme, SNR, and choice of pictures."""
    return [zlib.crc32(name.encode()) * 1024 + fade for fade in range(fades)]


def measure_picture(frame: Frame, schemes: Sequence[str], fades: int, judge: Callable) -> dict[str, list[dict]]:
    """The rows of one picture by scheme: those of `chappe.link.sweep`, with what `Measure` found."""
    from chappe.link import sweep

    measure = Measure(judge, frame.labels_in("street11"))
    systems = {name: SCHEMES[name].make() for name in schemes}
    rows: dict[str, list[dict]] = {name: [] for name in schemes}
    groups: dict[tuple, list[str]] = {}
    for name in schemes:
        for points in _points(name):
            groups.setdefault(points, []).append(name)
    for (cbrs, snrs), names in groups.items():
        part = sweep({name: systems[name] for name in names}, {frame.name: frame.image}, None, snrs, cbrs=cbrs,
                     seeds=seeds_of(frame.name, fades), measure=measure)  # fmt: skip
        for row in part:
            rows[row["system"]].append(row)
    return rows


_KEPT = ("snr_db", "cbr_wanted", "seed", "reached", "modulation", "rate", "bytes", "channel_uses", "cbr", "lost")


def _unit(spec: LinkSpec, index: int, schemes: tuple[str, ...]) -> list[dict]:
    """The units of one picture, as lines hold them: equal measures stand once, in `views`."""
    import torch

    from chappe.segment.builtin import load_judge

    torch.set_num_threads(1)  # a network's last digits depend on it
    frame = spec.frames()[index]
    out = []
    for name, rows in measure_picture(frame, schemes, spec.fades, load_judge()).items():
        views: dict[str, int] = {}
        kept = []
        for row in rows:
            entry = {key: row[key] for key in _KEPT if row.get(key) is not None}
            if row["reached"]:
                view = {"psnr": row["psnr"], "ms_ssim": row["ms_ssim"], "confusion": row["confusion"].tolist()}
                entry["view"] = views.setdefault(json.dumps(view), len(views))
            kept.append(entry)
        out.append({"picture": frame.name, "scheme": name, "rows": kept, "views": [json.loads(v) for v in views]})
    return out


def run_bench(plan: Plan, out: Path, jobs: int = 1, *, quiet: bool = False) -> list[dict]:
    """Measure what `out`/units.jsonl does not hold yet, and return the plan's units.

    jobs: processes (joblib). Raises ChappeError where the folder cannot be used or another run writes there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ChappeError(f"{out}: cannot be made into a folder: {why(error)}.") from error
    path = out / "units.jsonl"
    with appending(path) as file:
        todo = plan.left({unit["key"] for unit in load_units(path)})
        from tqdm import tqdm

        results = on_cores(_unit, [(plan.spec, *work) for work in todo], jobs)
        for units in tqdm(results, total=len(todo), unit="picture", disable=quiet or None):
            for unit in units:
                line = {"key": plan.keys[unit["picture"], unit["scheme"]], **unit}
                file.write((json.dumps(line, allow_nan=False) + "\n").encode())
            file.flush()
    wanted = set(plan.keys.values())
    return [unit for unit in load_units(path) if unit["key"] in wanted]


def load_units(path: Path) -> list[dict]:
    """The units of a file; a torn last line is passed over. Raises ChappeError for anything else."""
    out = []
    for number, line in enumerate(read_bytes(path).split(b"\n")[:-1], 1):
        try:
            unit = json.loads(line)
            unit["key"], unit["rows"], unit["views"], unit["scheme"], unit["picture"]
        except (ValueError, KeyError, TypeError) as error:
            raise ChappeError(f"{path}: line {number} is no unit of chappe link-bench: remove that line.") from error
        out.append(unit)
    return out
