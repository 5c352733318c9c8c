"""(codec x operating point x picture) to append-only JSON lines: resumable after a kill; one core, many, or a cluster.

Only the process that plans also writes, whole lines at a time. Every measuring process uses one torch thread: changing
the number of threads changes a network's output in the last digits, and rows must not depend on how they were made.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from chappe.bench.codecs import ORIGINAL, codec_version, open_codec
from chappe.bench.measure import Instruments, look, measure_frame, measure_original, open_instruments, warm_up
from chappe.bench.pictures import files_of, original_files, picture_stem
from chappe.bench.plan import ROW_FORMAT, Plan, SweepSpec, Unit, make_plan
from chappe.bench.pool import appending, on_cores
from chappe.bench.table import load_rows
from chappe.errors import ChappeError, MissingDependency
from chappe.files import atomic_write_bytes, why

__all__ = ["Plan", "SweepSpec", "make_plan", "measure_unit", "run_sweep"]

KEPT = 2  # originals that a process remembers together with what its instruments saw in them


def run_sweep(
    spec: SweepSpec,
    out: Path,
    jobs: int = 1,
    scheduler: str | None = None,
    *,
    plan: Plan | None = None,
    quiet: bool = False,
) -> Path:
    """Measure what `out/rows.jsonl` does not hold yet, and return its path.

    jobs: processes (joblib); scheduler: address of a Dask scheduler whose workers see `spec.data` under the same path.
    Killed at any moment, the same call goes on; a torn last line is dropped. Kept pictures go to `out/pictures`. Raises
    what the codecs and the data raise, and ChappeError if another sweep writes there or the cluster does not answer.
    """
    plan = plan or make_plan(spec)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ChappeError(f"{out}: cannot be made into a folder: {why(error)}.") from error
    path = out / "rows.jsonl"
    with appending(path) as file:
        done = {row["key"]: row["reached"] for row in load_rows(path, latest=False)}
        left = [replace(unit, points=_left(unit, done, out / "pictures")) for unit in plan.units]
        todo = [unit for unit in left if unit.points]
        if not todo:
            return path
        from tqdm import tqdm

        work = _spread(spec, todo, jobs, scheduler)
        for rows, files in tqdm(work, total=len(todo), unit="unit", desc="evaluate", disable=quiet or None):
            fresh = [row for row in rows if row["key"] not in done]
            file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in fresh).encode())
            file.flush()
            for name, data in files.items():
                (out / "pictures").mkdir(exist_ok=True)
                atomic_write_bytes(out / "pictures" / name, data)
    return path


def _left(unit: Unit, done: dict[str, bool], pictures: Path) -> tuple[str, ...]:
    """The points that have no row yet, or whose kept picture is missing."""

    def missing(point: str) -> bool:
        key = unit.key(point)
        if key not in done or not (unit.keep and done[key]):
            return key not in done
        names = (unit.name,) if unit.codec == ORIGINAL else (unit.name, unit.title, unit.labels, point)
        return not (pictures / f"{picture_stem(*names)}.png").is_file()

    return tuple(point for point in unit.points if missing(point))


def _spread(spec: SweepSpec, units: list[Unit], jobs: int, scheduler: str | None) -> Iterator[tuple[list, dict]]:
    """Results of the units as they come, from this process, from others, or from a cluster."""
    if scheduler:
        yield from _on_cluster(spec, units, scheduler)
    else:
        yield from on_cores(measure_unit, [(spec, unit) for unit in units], jobs)


def _on_cluster(spec: SweepSpec, units: list[Unit], scheduler: str) -> Iterator[tuple[list, dict]]:
    try:
        from dask.distributed import Client, as_completed
    except ModuleNotFoundError as error:
        raise MissingDependency("A cluster needs the Python package 'dask': install chappe[bench].") from error
    try:
        client = Client(scheduler, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ChappeError(f"{scheduler}: no Dask scheduler answers there: {error}.") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=60)
        except TimeoutError as error:
            raise ChappeError(f"{scheduler}: the Dask scheduler has no workers: start some and try again.") from error
        futures = [client.submit(measure_unit, spec, unit, pure=False) for unit in units]
        try:
            for future in as_completed(futures, loop=client.loop):
                yield future.result()
                future.release()
        except BaseException:
            client.cancel(futures)
            raise


_STATE: dict[tuple, Any] = {}
_BUSY = threading.Lock()  # a Dask worker may have several threads; codecs keep caches, and torch has one thread here


def _once(key: tuple, make: Callable[[], Any], most: int = KEPT) -> Any:
    """What `make()` gives, made once a process; of one kind (the first of the key) only the last `most` are kept."""
    if key not in _STATE:
        for old in [k for k in _STATE if k[0] == key[0]][: -(most - 1) or None]:
            del _STATE[old]
        _STATE[key] = make()
    return _STATE[key]


def measure_unit(spec: SweepSpec, unit: Unit) -> tuple[list[dict], dict[str, bytes]]:
    """The rows of one unit and its kept pictures as files by name. Runs in any process that sees the data.

    Raises ChappeError where that process reads another picture, or has another codec or judge, than the plan says.
    """
    with _BUSY:
        import torch

        torch.set_num_threads(1)
        try:
            return _measure(spec, unit)
        except ChappeError as error:
            raise type(error)(f"{unit.split} picture {unit.name}, {unit.title}: {error}") from error


def _measure(spec: SweepSpec, unit: Unit) -> tuple[list[dict], dict[str, bytes]]:
    switches = {"espnetv2": spec.espnetv2, "segmenter": spec.segmenter, "features": spec.features}
    tools: Instruments = _once(("tools", *switches.values()), lambda: open_instruments(**switches))
    sequence = _once(("frames", unit.plan, unit.split), lambda: spec.frames(unit.split))
    frame = _once(("frame", unit.plan, unit.split, unit.index), lambda: sequence[unit.index])
    sight = _once(("sight", unit.plan, unit.split, unit.index), lambda: look(frame, tools))
    codec = None if unit.codec == ORIGINAL else open_codec(unit.codec)
    here = replace(unit, name=frame.name, fingerprint=frame.fingerprint(), instruments=tools.name(),
                   version=codec_version(codec) if codec else "")  # fmt: skip
    if here != unit:
        raise ChappeError(
            f"this process has {here.name} {here.fingerprint}, {unit.title} {here.version!r} and {here.instruments}; "
            f"the sweep was planned with {unit.fingerprint}, {unit.version!r} and {unit.instruments}: "
            "give it the same data, weights and libraries."
        )
    files: dict[str, bytes] = {}
    if codec is None:
        rows = [measure_original(frame, instruments=tools, sight=sight)]
        files = original_files(frame) if unit.keep else {}
    else:
        _once(("warm", unit.codec), lambda: warm_up(frame, codec, unit.points[0]), most=100)

        def keep(point: str, blob: bytes, decoded) -> None:
            files.update(files_of(frame, codec, unit.labels, point, blob, decoded))

        rows = measure_frame(frame, codec, unit.points, labels=unit.labels, instruments=tools, sight=sight,
                             keep=keep if unit.keep else None)  # fmt: skip
    head = {"format": ROW_FORMAT, "data": Path(os.path.realpath(spec.data)).name, "split": unit.split}
    tail = {"picture": unit.fingerprint, "protocol": unit.protocol, "instruments": unit.instruments}
    tail |= {"adapter": unit.codec} if ":" in unit.codec else {}
    tail |= {"taxonomy": spec.taxonomy} if spec.taxonomy else {}
    return [{"key": unit.key(row["point"])} | head | row | tail for row in rows], files
