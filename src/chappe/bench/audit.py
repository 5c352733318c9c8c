"""Published rows measured again: bytes, hash, rate and metrics of a sample, in a fresh process, from the pictures.

The arithmetic of *all* rows is checked as well (rate = bytes x 8 / pixels, sections add up), and that the cells of a
results.json beside them are what the rows come to.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from chappe.bench.codecs import ORIGINAL, codec_version, open_codec
from chappe.bench.protocol import frames
from chappe.bench.table import aggregate, cells_to_json, load_rows
from chappe.errors import ChappeError, InputError
from chappe.files import read_bytes

__all__ = ["Check", "audit_cells", "audit_rows", "open_results", "remeasure"]

# How far a float may lie from the published one: another processor rounds networks differently in the last digits.
TOLERANCES = {"psnr": 0.01, "ssim": 1e-4, "ms_ssim": 1e-4, "lpips": 1e-3, "bpp": 1e-12, "bpp_nominal": 1e-9}
EXACT = ("reached", "width", "height", "bytes", "sha256", "quality", "sections", "picture", "codec_version")
MOVED = 1e-3  # share of the pixels of a confusion matrix that may have moved
OBJECTS = 1  # objects of a picture that may have come or gone


@dataclass(frozen=True)
class Check:
    """One row measured again. `mismatches` are sentences; none means that it holds."""

    title: str
    row: dict
    again: dict
    mismatches: tuple[str, ...]


def open_results(path: str | os.PathLike[str]) -> tuple[list[dict], dict | None]:
    """The rows of a folder of `chappe evaluate` (or a rows.jsonl), and its results.json where there is one.

    With a results.json only the rows of its pictures are given. Raises InputError if there are no rows.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    rows = load_rows(folder / "rows.jsonl" if path.is_dir() else path)
    results = None
    if (folder / "results.json").is_file():
        try:
            results = json.loads(read_bytes(folder / "results.json"))
            names = {split: set(known) for split, known in results["frames"].items()}
            rows = [row for row in rows if row["name"] in names.get(row["split"], ())]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder / 'results.json'}: is not the result of chappe evaluate: remove it.") from error
    if not rows:
        raise InputError(f"{path}: holds no rows to check: name a folder that chappe evaluate wrote.")
    return rows, results


def audit_cells(rows: Sequence[dict], results: dict | None) -> list[str]:
    """Sentences on what is wrong in itself: rates that are no quotient, sections that do not add up, cells that are not
    what the rows come to. Reads no picture.
    """
    wrong = []
    for row in rows:
        if not row["reached"]:
            continue
        rate = row["bytes"] * 8 / (row["width"] * row["height"])
        if not math.isclose(rate, row["bpp"], rel_tol=1e-12):
            wrong.append(f"{title(row)}: says {row['bpp']:.6f} bpp, {row['bytes']} bytes are {rate:.6f}")
        if row["sections"] and sum(row["sections"].values()) != row["bytes"]:
            wrong.append(f"{title(row)}: sections add up to {sum(row['sections'].values())} of {row['bytes']} bytes")
    if results is not None:
        wrong += _cells(aggregate(rows, results.get("resamples", 1000), results.get("seed", 0)), results["cells"])
    return wrong


def _cells(fresh: list, published: list[dict]) -> Iterator[str]:
    def name(cell: dict) -> tuple:
        return tuple(cell[key] for key in ("split", "codec", "labels", "point"))

    mine = {name(cell): cell for cell in cells_to_json(fresh)}
    for cell in published:
        where = "cell " + " ".join(name(cell))
        ours = mine.get(name(cell))
        if ours is None or (ours["frames"], ours["of"]) != (cell["frames"], cell["of"]):
            found = f"{ours['frames']} of {ours['of']}" if ours else "no"
            yield f"{where}: says {cell['frames']} of {cell['of']} pictures reach it, the rows have {found}"
            continue
        for part in ("values", "low", "high", "sections"):
            for key in sorted(cell[part].keys() | ours[part].keys()):
                said, found = cell[part].get(key, math.nan), ours[part].get(key, math.nan)
                if not math.isclose(said, found, rel_tol=1e-9, abs_tol=1e-9):
                    yield f"{where}: {part}[{key}] says {said:.6g}, the rows come to {found:.6g}"


def audit_rows(rows: Sequence[dict], data: str | os.PathLike[str], sample: int, seed: int = 0) -> Iterator[Check]:
    """Measure `sample` rows again, drawn at random, in one fresh process, and compare.

    Raises ChappeError where the pictures or the codecs cannot be opened.
    """
    drawn = sorted(random.Random(seed).sample(list(rows), min(sample, len(rows))), key=title)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        jobs = [(row, pool.submit(remeasure, str(data), row)) for row in drawn]
        for row, job in jobs:
            try:
                again = job.result()
            except ChappeError as error:
                raise type(error)(f"{title(row)}: {error}") from error
            yield Check(title(row), row, again, tuple(compare(row, again)))


def title(row: dict) -> str:
    """'val 0016E5_07959 hevc 0.04' of a row."""
    labels = [] if row["labels"] == "none" else [row["labels"]]
    return " ".join([row["split"], row["name"], row["codec"], *labels, row["point"]])


def remeasure(data: str, row: dict) -> dict:
    """The row measured anew with what is installed here; `data` is the folder of the data set."""
    import torch

    from chappe.bench.measure import measure_frame, measure_original, open_instruments

    torch.set_num_threads(1)
    sequence = frames(data, row["split"], row["protocol"], taxonomy=row.get("taxonomy"))
    if row["name"] not in sequence.names():
        raise InputError(f"{data}: has no picture {row['name']} in split {row['split']}: name the right data set.")
    frame = sequence[sequence.names().index(row["name"])]
    parts = [part.split("@")[0] for part in row["instruments"].split("+")]
    tools = open_instruments(**{name: name in parts for name in ("espnetv2", "segmenter", "features")})
    if row["codec"] == ORIGINAL:
        again = measure_original(frame, instruments=tools)
    else:
        codec = open_codec(row.get("adapter", row["codec"]))
        (again,) = measure_frame(frame, codec, [row["point"]], labels=row["labels"], instruments=tools)
        again["codec_version"] = codec_version(codec)
    return again | {"picture": frame.fingerprint(), "instruments": tools.name()}


def compare(row: dict, again: dict) -> Iterator[str]:
    """What differs between a published row and the same measured again, one sentence each."""
    for key in EXACT:
        if row.get(key) != again.get(key):
            yield f"{key}: published {_short(row.get(key))}, measured {_short(again.get(key))}"
    if row["instruments"] != again["instruments"]:
        yield f"instruments: published {row['instruments']}, here {again['instruments']}: metrics cannot be compared"
        return
    for key, tolerance in TOLERANCES.items():
        said, found = row.get(key), again.get(key)
        if (said is None) != (found is None) or (said is not None and not abs(said - found) <= tolerance):
            yield f"{key}: published {_short(said)}, measured {_short(found)}"
    for key in sorted(key for key in row | again if key in ("map", "sent") or key.startswith(("eye:", "agree:"))):
        said, found = row.get(key), again.get(key)
        if (said is None) != (found is None):
            yield f"{key}: published {'nothing' if said is None else 'a matrix'}, measured the other"
        elif said is not None:
            moved = int(np.abs(np.subtract(said, found)).sum()) / 2
            if moved > MOVED * max(1, np.sum(found)):
                yield f"{key}: {moved:.0f} of {np.sum(found)} pixels are counted elsewhere"
    said, found = row.get("objects") or {}, again.get("objects") or {}
    if said.keys() != found.keys() or any(abs(said[key] - found[key]) > OBJECTS for key in said):
        yield f"objects: published {said}, measured {found}"


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
