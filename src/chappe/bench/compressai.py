"""CompressAI's result files, read and written, so that its curves drop into our plots and ours into its.

One file holds one codec: {"name", "description", "results": {"bpp": [...], "psnr-rgb": [...], ...}}, times in seconds,
as `compressai.utils.eval_model` prints it. Older files say "psnr" and "ms-ssim"; both spellings are read. We write the
newer ones and add keys of our own (lpips, mIoU in percent); a reader that does not know them passes them over.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chappe.bench.curves import Curve
from chappe.errors import InputError
from chappe.files import atomic_write_bytes, read_bytes

__all__ = ["Result", "curve", "from_cells", "parse", "read", "write"]

# Ours: theirs, the factor from ours to theirs.
_KEYS = {
    "psnr": ("psnr-rgb", 1.0),
    "ms_ssim": ("ms-ssim-rgb", 1.0),
    "encode_ms": ("encoding_time", 1e-3),
    "decode_ms": ("decoding_time", 1e-3),
}
_OLD = {"psnr": "psnr-rgb", "ms-ssim": "ms-ssim-rgb", "msssim": "ms-ssim-rgb"}


@dataclass(frozen=True)
class Result:
    """One codec's curve in CompressAI's terms; every list has the length of `results['bpp']`."""

    name: str
    description: str
    results: Mapping[str, list[float]] = field(default_factory=dict)


def read(path: str | os.PathLike[str]) -> list[Result]:
    """The results in a JSON file, one object or a list of them. Raises InputError for anything else."""
    try:
        data = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a JSON file ({error}).") from error
    return parse(data, str(path))


def parse(data: object, name: str = "the data") -> list[Result]:
    """Results from decoded JSON; `name` is for messages and for objects without one."""
    entries = data if isinstance(data, list) else [data]
    found = []
    for entry in entries:
        results = entry.get("results") if isinstance(entry, dict) else None
        if not isinstance(results, dict) or not _numbers(results.get("bpp")):
            raise InputError(f"{name}: is no CompressAI result: expected name, description and results with 'bpp'.")
        lists = {key: values for key, values in results.items() if _numbers(values)}
        odd = [key for key, values in lists.items() if len(values) != len(results["bpp"])]
        if odd:
            raise InputError(f"{name}: 'bpp' has {len(results['bpp'])} values and {odd[0]!r} {len(lists[odd[0]])}.")
        found.append(Result(str(entry.get("name") or Path(name).stem), str(entry.get("description", "")), lists))
    return found


def write(path: str | os.PathLike[str], result: Result) -> None:
    """One result as a file that `compressai.utils.plot` reads."""
    atomic_write_bytes(path, (json.dumps(asdict(result), indent=2) + "\n").encode())


def from_cells(cells: Iterable) -> list[Result]:
    """One result for each (split, codec, labels) of a sweep's cells: rates that every picture reaches, ascending."""
    groups: dict[tuple[str, str, str], list] = {}
    for cell in cells:
        if cell.codec != "original" and cell.frames >= cell.of and cell.values:
            groups.setdefault((cell.split, cell.codec, cell.labels), []).append(cell)
    found = []
    for (split, codec, labels), group in groups.items():
        group.sort(key=lambda cell: cell.values["bpp"])
        results: dict[str, list[float]] = {}
        for key in dict.fromkeys(key for cell in group for key in cell.values):
            values = [cell.values.get(key) for cell in group]
            if all(value is not None and math.isfinite(value) for value in values):
                theirs, factor = _KEYS.get(key, (key, 1.0))
                results[theirs] = [value * factor for value in values]
        labelled = f", {labels} labels" if labels != "none" else ""
        found.append(Result(codec, f"chappe, split {split}{labelled}, {group[0].of} pictures, file bytes", results))
    return found


def curve(result: Result, key: str, source: str) -> Curve | None:
    """The metric `key` (our name for it) of a result as a published curve, or None if the result does not have it."""
    theirs, factor = _KEYS.get(key, (key, 1.0))
    lists = {_OLD.get(name, name): values for name, values in result.results.items()}
    if theirs not in lists:
        return None
    pairs = sorted(zip(lists["bpp"], (value / factor for value in lists[theirs]), strict=True))
    rates, values = map(tuple, zip(*pairs, strict=True))
    return Curve(result.name, result.name, rates, values, source=source)


def _numbers(values: object) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    )
