"""`chappe encode` and `chappe decode` on a whole folder: goes on after a bad file and says so at the end."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chappe.cli._common import say
from chappe.errors import ChappeError, InputError, UsageError
from chappe.files import PICTURE_SUFFIXES

__all__ = ["decode_folder", "encode_folder", "outputs"]


def encode_folder(args: argparse.Namespace) -> int:
    """Every picture of folder `args.input` into a .chp file of folder `args.output`."""
    if args.labels and not Path(args.labels).is_dir():
        raise UsageError(f"{args.labels}: is no folder: for a folder of pictures give one with label maps.")
    return _run(args, PICTURE_SUFFIXES, ".chp", _encode_one, "encoded")


def decode_folder(args: argparse.Namespace) -> int:
    """Every .chp file of folder `args.input` into a .png of folder `args.output`."""
    if args.labels:
        _make_folder(args.labels)
    return _run(args, (".chp",), ".png", _decode_one, "decoded")


def outputs(names: Sequence[str], suffix: str) -> dict[str, str]:
    """File name -> name of its output: the suffix replaced, or added where two inputs differ in nothing else.

    >>> outputs(["a.png", "b.jpg", "b.png"], ".chp")
    {'a.png': 'a.chp', 'b.jpg': 'b.jpg.chp', 'b.png': 'b.png.chp'}
    """
    stems = Counter(Path(name).stem for name in names)
    return {name: (name if stems[Path(name).stem] > 1 else Path(name).stem) + suffix for name in names}


def _run(args: argparse.Namespace, kinds: Sequence[str], suffix: str, one: Callable[..., int], done: str) -> int:
    source, target = Path(args.input), Path(args.output)
    if not 1 <= args.jobs <= 256:
        raise UsageError(f"--jobs {args.jobs}: give 1 to 256 processes.")
    names = sorted(path.name for path in source.iterdir() if path.suffix.lower() in kinds and path.is_file())
    if not names:
        raise InputError(f"{source}: holds no files that end in {', '.join(kinds)}.")
    if target.exists() and target.resolve() == source.resolve() and suffix in kinds:
        raise UsageError(f"{target}: is both input and output: give another folder.")
    _make_folder(args.output)
    wanted = outputs(names, suffix)
    todo = [n for n in names if args.force or not (target / wanted[n]).exists()]
    if skipped := len(names) - len(todo):
        say(f"{skipped} of {len(names)} are there already (--force does them again)", quiet=args.quiet)
    failed, size = 0, 0
    with _bar(len(todo), args.quiet) as step:
        for name, result in _results(args, one, [(n, str(source / n), str(target / wanted[n])) for n in todo]):
            if isinstance(result, int):
                size += result
                step(name)
            else:
                failed += 1
                step(name, f"chappe: {name}: {result}")
    if failed:
        raise ChappeError(f"{failed} of {len(todo)} files could not be {done}; the others are in {target}.")
    say(f"{target}: {len(todo)} files {done}, {size} bytes", quiet=args.quiet)
    return 0


def _results(args, one: Callable[..., int], jobs: list[tuple[str, str, str]]) -> Iterator[tuple[str, int | str]]:
    """(name, bytes written or what went wrong) of each job, as they end."""
    if args.jobs == 1 or len(jobs) < 2:
        for name, source, target in jobs:
            yield name, _guarded(one, args, source, target)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch and numba when the processes start, and by the onnx backend
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(args.jobs, len(jobs)), mp_context=context) as pool:
        running = {pool.submit(_guarded, one, args, source, target): name for name, source, target in jobs}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool as error:
            raise ChappeError("a process ended without a word, likely for lack of memory: use fewer --jobs.") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _guarded(one: Callable[..., int], args: argparse.Namespace, source: str, target: str) -> int | str:
    try:
        return one(args, source, target)
    except UsageError:
        raise  # the call is wrong for every file alike
    except ChappeError as error:
        return str(error).removeprefix(f"{source}: ")


def _encode_one(args: argparse.Namespace, source: str, target: str) -> int:
    from chappe.cli.encode import encode_picture, open_codec
    from chappe.files import atomic_write_bytes
    from chappe.image import read_image

    labels = str(Path(args.labels) / f"{Path(source).stem}.png") if args.labels else None
    blob = encode_picture(args, open_codec(args), read_image(source), labels)
    atomic_write_bytes(target, blob)
    return len(blob)


def _decode_one(args: argparse.Namespace, source: str, target: str) -> int:
    from chappe.codec import decode
    from chappe.files import atomic_write_bytes, read_bytes
    from chappe.image import image_bytes, write_labels

    out = decode(read_bytes(source), backend=args.backend, folder=args.networks)
    if args.labels:
        if out.labels is None:
            raise ChappeError(f"codec {out.report.codec} sends no label map: leave --labels out.")
        write_labels(Path(args.labels) / Path(target).name, out.labels, out.taxonomy)
    data = image_bytes(out.image)
    atomic_write_bytes(target, data)
    return len(data)


def _make_folder(path: str) -> None:
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ChappeError(f"{path}: cannot be made a folder ({error.strerror}): give another name.") from error


@contextmanager
def _bar(total: int, quiet: bool) -> Iterator[Callable[..., None]]:
    """`step(name, problem="")` after each file: a line that is written over on a terminal; problems stay, always."""
    live = sys.stderr.isatty() and not quiet
    done = 0

    def step(name: str, problem: str = "") -> None:
        nonlocal done
        done += 1
        wipe = "\r\x1b[K" if live else ""
        if problem:
            print(f"{wipe}{problem}", file=sys.stderr)
        if live:
            filled = 24 * done // total
            print(f"\r\x1b[K[{'#' * filled:24}] {done}/{total} {name[:40]}", end="", file=sys.stderr, flush=True)

    try:
        yield step
    finally:
        if live and done:
            print(file=sys.stderr)
