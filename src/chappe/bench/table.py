"""Rows of a sweep to cells of a table, with intervals, and the sentence the table is made for.

mIoU is that of the summed confusion matrices; intervals are 95 % percentile bootstrap over pictures, all cells of a
split with the same draws. A cell that some pictures do not reach has no values: a mean over the others would be a mean
over the easy ones.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from chappe.bench.codecs import ORIGINAL
from chappe.codec import list_models
from chappe.errors import InputError
from chappe.files import read_bytes

__all__ = [
    "COLUMNS",
    "Cell",
    "aggregate",
    "cells_to_json",
    "class_iou",
    "drawn_counts",
    "format_table",
    "load_rows",
    "mean_iou",
    "needed_bpp",
    "results_text",
    "sentence",
]

VOID = 11
MEANS = {"bpp": "bpp", "bytes": "bytes", "psnr": "psnr", "ssim": "ssim", "ms_ssim": "ms_ssim", "lpips": "lpips"}
COLUMNS = ("bpp", "psnr", "ms_ssim", "lpips", "miou:judge", "miou:map", "hallucination", "encode_ms", "decode_ms")
DIGITS = {"bpp": 4, "bytes": 0, "psnr": 2, "ssim": 4, "ms_ssim": 4, "lpips": 3, "encode_ms": 0, "decode_ms": 0}


@dataclass(frozen=True)
class Cell:
    """One codec at one point on one split: `frames` of `of` pictures reach it.

    `values` by metric: bpp, bytes, psnr (mean of dB), ssim, ms_ssim, lpips, encode_ms (with segmentation), decode_ms,
    `miou:<eye>` and `agree:<eye>`, `miou:map` (labels delivered) and `miou:sent` (labels given to the encoder),
    `miou_image:judge` (mean over pictures), all in percent; hallucination and recall (fractions of all objects),
    feature_distance. What was not measured is absent.
    `low`, `high`: 95 % limits. `classes`: IoU in percent of each of the 11 classes by metric, NaN where a class never
    occurs. `sections`: mean bytes by section.
    """

    split: str
    codec: str
    labels: str
    point: str
    frames: int
    of: int
    values: dict[str, float] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    classes: dict[str, list[float]] = field(default_factory=dict)
    sections: dict[str, float] = field(default_factory=dict)


def load_rows(path: Path, *, keys: Collection[str] | None = None, latest: bool = True) -> list[dict]:
    """Rows of a rows.jsonl; a torn last line is passed over. `keys`: only the rows with these.

    latest: of several rows of one picture, codec, labels and point (the codec or the judge has changed since), only the
    last one. Raises InputError for a file that is missing or holds anything else.
    """
    lines = read_bytes(path).split(b"\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            row = json.loads(line)
            row["key"], row["reached"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: line {number} is not a row of chappe evaluate: remove that line.") from error
        if keys is None or row["key"] in keys:
            rows.append(row)
    if latest:
        rows = list({_identity(row): row for row in rows}.values())
    return rows


def _identity(row: dict) -> tuple:
    return tuple(row.get(name) for name in ("data", "split", "name", "codec", "labels", "point"))


def aggregate(rows: Iterable[dict], resamples: int = 1000, seed: int = 0) -> list[Cell]:
    """Cells in the order split, codec, labels, rate; the same for the rows in any order."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["split"], row["codec"], row["labels"], row["point"]), []).append(row)
    features = {key[0]: _features(group) for key, group in groups.items() if key[1] == ORIGINAL}
    names = {split: sorted({row["name"] for key, group in groups.items() if key[0] == split for row in group})
             for split in {key[0] for key in groups}}  # fmt: skip
    draws = {split: drawn_counts(len(names[split]), resamples, seed) for split in sorted(names)}
    cells = []
    for key, group in groups.items():
        group.sort(key=lambda row: row["name"])
        weights = draws[key[0]][:, np.searchsorted(names[key[0]], [row["name"] for row in group])]
        cells.append(_cell(key, group, weights, features.get(key[0])))
    return sorted(cells, key=_order)


def _order(cell: Cell) -> tuple:
    try:
        rate = float(cell.point.split(",")[0])
    except ValueError:
        rate = cell.values.get("bpp", math.inf)
    return (cell.split, cell.codec != ORIGINAL, cell.codec, cell.labels, rate, cell.point)


def drawn_counts(count: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, count) float64: how often each picture is drawn."""
    picks = np.random.Generator(np.random.PCG64(seed)).integers(0, count, (resamples, count))
    joint = picks + np.arange(resamples)[:, None] * count
    return np.bincount(joint.ravel(), minlength=resamples * count).reshape(resamples, count).astype(np.float64)


def _cell(key: tuple, rows: list[dict], weights: np.ndarray, originals: dict | None) -> Cell:
    met = [row for row in rows if row["reached"]]
    if len(met) < len(rows):
        return Cell(*key, frames=len(met), of=len(rows))
    cell = Cell(*key, frames=len(met), of=len(rows))
    for name, values in _numbers(met).items():
        _put(cell, name, values.mean(), _ratio(weights @ values, weights.sum(1)))
    for name, field_name in _matrix_fields(met):
        stack = np.array([row[field_name] for row in met], np.float64)
        iou = class_iou(stack.sum(0)[None])
        cell.classes[name] = (100 * iou[0]).tolist()
        drawn = class_iou((weights @ stack.reshape(len(stack), -1)).reshape(-1, *stack.shape[1:]))
        _put(cell, name, 100 * mean_iou(iou)[0], 100 * mean_iou(drawn))
        if name == "miou:judge":
            each = 100 * mean_iou(class_iou(stack))
            known = ~np.isnan(each)  # a picture whose truth is all void has none
            drawn = _ratio(weights[:, known] @ each[known], weights[:, known].sum(1))
            _put(cell, "miou_image:judge", _ratio(each[known].sum(), known.sum()), drawn)
    for name, top, bottom in (("hallucination", "invented", "decoded"), ("recall", "found", "original")):
        if all("objects" in row for row in met):
            pair = np.array([[row["objects"][top], row["objects"][bottom]] for row in met], np.float64)
            drawn = weights @ pair
            _put(cell, name, _ratio(*pair.sum(0)), _ratio(drawn[:, 0], drawn[:, 1]))
    for section in sorted({section for row in met for section in row["sections"]}):
        cell.sections[section] = float(np.mean([row["sections"].get(section, 0) for row in met]))
    here = _features(met)
    if originals and len(here) > 1 and here.keys() <= originals.keys():
        from chappe.metrics.distribution import frechet_distance

        pair = (np.stack(list(here.values())), np.stack([originals[name] for name in here]))
        cell.values["feature_distance"] = frechet_distance(*pair)
    return cell


def _put(cell: Cell, name: str, value: float, drawn: np.ndarray) -> None:
    """A value with its limits; NaN (nothing to measure it on) is left out."""
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value):
        return
    cell.values[name] = float(value)
    if drawn.size:
        cell.low[name], cell.high[name] = (float(v) for v in np.percentile(drawn, [2.5, 97.5]))


def _numbers(rows: list[dict]) -> dict[str, np.ndarray]:
    """One number a picture, for every metric that all pictures have (a lossless picture has no PSNR)."""
    out = {}
    for name, key in MEANS.items():
        if all(row.get(key) is not None for row in rows):
            out[name] = np.array([row[key] for row in rows], np.float64)
    seconds = [row["seconds"] for row in rows]
    out["encode_ms"] = 1000 * np.array([s["segment"] + s["encode"] for s in seconds])
    out["decode_ms"] = 1000 * np.array([s["decode"] for s in seconds])
    return out


def _matrix_fields(rows: list[dict]) -> list[tuple[str, str]]:
    """(metric, field) of every confusion matrix that all rows have."""
    fields = [key for key in rows[0] if key in ("map", "sent") or key.startswith(("eye:", "agree:"))]
    names = {key: f"miou:{key.removeprefix('eye:')}" if not key.startswith("agree:") else key for key in fields}
    return [(names[key], key) for key in fields if all(row.get(key) is not None for row in rows)]


def class_iou(matrices: np.ndarray) -> np.ndarray:
    """(N, 12, 12) counts -> (N, 11) IoU of each class but void, NaN where it is neither there nor predicted."""
    hits = np.einsum("nii->ni", matrices)
    union = matrices.sum(1) + matrices.sum(2) - hits
    return _ratio(hits, union)[:, :VOID]


def mean_iou(iou: np.ndarray) -> np.ndarray:
    """(N, C) -> (N,): the mean over the classes that occur; NaN where none does."""
    return _ratio(np.nansum(iou, 1), (~np.isnan(iou)).sum(1))


def _ratio(top: np.ndarray | float, bottom: np.ndarray | float) -> np.ndarray:
    """top / bottom, NaN where bottom is 0."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom > 0)


def _features(rows: list[dict]) -> dict[str, np.ndarray]:
    """(512,) features by picture, where measured."""
    found = {row["name"]: row["feature"] for row in rows if row.get("feature")}
    return {name: np.frombuffer(base64.b64decode(text), "<f2").astype(np.float64) for name, text in found.items()}


def cells_to_json(cells: Iterable[Cell]) -> list[dict]:
    """Cells as JSON holds them: NaN becomes null, numbers have ten digits."""
    out = []
    for cell in cells:
        entry = asdict(cell)
        for key in ("values", "low", "high"):
            entry[key] = {k: _short(v) for k, v in entry[key].items()}
        entry["classes"] = {k: [_short(v) for v in values] for k, values in cell.classes.items()}
        out.append(entry)
    return out


def results_text(results: dict) -> str:
    """A results.json: an entry a line, and of a list of objects an object a line."""
    parts = []
    for key, value in results.items():
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines = (json.dumps(item, allow_nan=False, separators=(",", ":")) for item in value)
            text = "[\n" + ",\n".join(lines) + "\n]"
        parts.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _short(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.10g}")


def format_table(cells: Sequence[Cell], columns: Sequence[str] = COLUMNS) -> str:
    """The table as text, one line a cell. A cell that not all pictures reach prints "–" and how many do.

    Columns that no cell has are left out; `columns` are keys of `Cell.values`.
    """
    kept = [name for name in columns if any(name in cell.values for cell in cells)]
    lines = [["split", "codec", "labels", "point", "frames", *kept]]
    for cell in cells:
        count = str(cell.of) if cell.frames == cell.of else f"{cell.frames}/{cell.of}"
        labels = "" if cell.labels == "none" else cell.labels
        numbers = [f"{cell.values[k]:.{DIGITS.get(k, _digits(k))}f}" if k in cell.values else "–" for k in kept]
        lines.append([cell.split, cell.codec, labels, cell.point, count, *numbers])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    padded = [[c.ljust(w) if i < 4 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
              for line in lines]  # fmt: skip
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _digits(name: str) -> int:
    return 1 if name.startswith(("miou", "agree")) else 3


def needed_bpp(
    cells: Sequence[Cell], codec: str, split: str, miou: float, *, key: str = "miou:judge", labels: str | None = None
) -> float | None:
    """The lowest rate at which the codec's curve reaches `miou` (percent): linear in the logarithm of the rate.

    Only points that all pictures reach count. At or above `miou` from its lowest rate on, it is that rate: what is
    needed is at most that. None where no measured rate reaches it. `labels`: "predicted" or "true", else whichever
    needs less.
    """
    best = None
    for kind in ("none", "predicted", "true") if labels is None else (labels,):
        curve = _curve(cells, codec, split, kind, key)
        for number, (rate, value) in enumerate(curve):
            if value < miou:
                continue
            if number:
                before, less = curve[number - 1]
                rate = math.exp(math.log(before) + math.log(rate / before) * (miou - less) / (value - less))
            best = rate if best is None else min(best, rate)
            break
    return best


def _curve(cells: Sequence[Cell], codec: str, split: str, labels: str, key: str) -> list[tuple[float, float]]:
    return sorted(
        (cell.values["bpp"], cell.values[key])
        for cell in cells
        if (cell.codec, cell.split, cell.labels) == (codec, split, labels) and key in cell.values
    )


def sentence(cells: Sequence[Cell], split: str, reference: str = "sqgan-street", at: str = "0.04") -> str:
    """What the table comes to: the rate each rival needs for the judge mIoU that `reference` reaches at point `at`.

    Rivals are all but the models of this package, which the table shows side by side.

    One line for each kind of labels that the reference was measured with; a line that says why where there is none.
    """
    found = [c for c in cells if (c.split, c.codec) == (split, reference) and c.point.split(",")[0] == at]
    lines = [_compare(cells, cell) for cell in found if "miou:judge" in cell.values]
    return "\n".join(lines) or f"{split}: {reference} has no judge mIoU at {at} bpp on all pictures to compare with."


def _compare(cells: Sequence[Cell], cell: Cell) -> str:
    goal, rate = cell.values["miou:judge"], cell.values["bpp"]
    rivals = sorted({c.codec for c in cells if c.split == cell.split} - {ORIGINAL, cell.codec, *list_models()})
    said = {codec: _need(cells, codec, cell, goal, rate) for codec in rivals}
    kind = f" with {cell.labels} labels" if cell.labels != "none" else ""
    start = f"{cell.split}: at the judge mIoU that {cell.codec}{kind} reaches at {rate:.4f} bpp ({goal:.1f} %), "
    if not rivals:
        return start + "no other codec was measured."
    parts = [f"HEVC intra (x265) {said['hevc'][1]}"] if "hevc" in said else []
    others = {codec: text for codec, text in said.items() if codec != "hevc"}
    if others:
        best = min(others, key=lambda codec: (others[codec][0], codec))
        if math.isinf(others[best][0]):
            parts.append(f"none of {{{', '.join(others)}}} reaches it at any rate measured")
        else:
            parts.append(f"the best of {{{', '.join(others)}}} ({best}) {others[best][1]}")
    return start + ", ".join(parts) + "."


def _need(cells: Sequence[Cell], codec: str, cell: Cell, goal: float, rate: float) -> tuple[float, str]:
    """(bpp or infinity, 'needs 0.0612 bpp (× 1.53)') of one rival."""
    needed = needed_bpp(cells, codec, cell.split, goal)
    curve = [p for kind in ("none", "predicted", "true") for p in _curve(cells, codec, cell.split, kind, "miou:judge")]
    if not curve:
        return math.inf, "has no rate that all pictures reach"
    if needed is None:
        return math.inf, f"does not reach it up to {max(curve)[0]:.4f} bpp"
    most = "at most " if needed <= min(curve)[0] else ""
    return needed, f"needs {most}{needed:.4f} bpp (× {needed / rate:.2f})"
