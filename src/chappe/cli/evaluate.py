"""`chappe evaluate`: codecs on a data set, in real bytes: table, results.json, one HTML page."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import asdict
from pathlib import Path

from chappe.cli._common import say
from chappe.errors import UsageError

__all__ = ["DEFAULT_CODECS", "DEFAULT_RATES", "add_parser", "count", "run"]

DEFAULT_CODECS = ("spic-onepass-street", "sqgan-street", "hevc", "hevc-half", "av1", "jxl-half", "jpeg2000", "webp")
DEFAULT_RATES = ("0.02", "0.04", "0.08", "0.16", "0.32")
DEFAULT_OUT = "evaluation"


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "evaluate",
        help="measure codecs on a data set",
        description="Encode, decode and judge every picture of a data set with several codecs at several rates. Prints "
        "a table; writes rows.jsonl, results.json and report.html. Killed, the same command goes on where it was.",
        epilog="example: chappe evaluate CamVid --split val unseen --codecs sqgan-street hevc-half --bpp 0.04 0.08",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("data", nargs="*", metavar="DATA", help="data set folder (CamVid, Cityscapes, pictures, ...)")
    add("--split", nargs="+", metavar="NAME", help="splits (default val; all of a plain folder)")
    add("--codecs", nargs="+", default=list(DEFAULT_CODECS), metavar="NAME",
        help=f"models, classical codecs, module:function (default {' '.join(DEFAULT_CODECS)})")  # fmt: skip
    add("--bpp", nargs="+", default=list(DEFAULT_RATES), metavar="RATE",
        help="rates, names of operating points, or knobs as in bpp=0.04,map=near")  # fmt: skip
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a knob for every learned codec")
    add("--labels", nargs="+", default=["predicted"], choices=("predicted", "true"),
        help="label maps given to codecs that send one")  # fmt: skip
    add("--protocol", choices=("auto", "street", "none"), default="auto",
        help="street: middle 2:1 box at 512x256 (default for CamVid and Cityscapes)")  # fmt: skip
    add("--taxonomy", metavar="NAME", help="label set of a plain folder's label maps")
    add("--limit", type=count, metavar="N", help="the first N pictures of each split")
    add("--every", type=count, default=1, metavar="N", help="every Nth picture")
    add("--jobs", type=count, metavar="N", help="processes (default: one a core)")
    add("--scheduler", metavar="URL", help="a Dask scheduler instead, e.g. tcp://10.0.0.1:8786")
    add("--out", metavar="DIR", help=f"folder to write (default {DEFAULT_OUT})")
    add("--espnetv2", action="store_true", help="a second judge, weights from $CHAPPE_DATA/weights")
    add(
        "--segmenter", action="store_true", help="the sender's own segmenter as a third reader (codecs trained with it)"
    )
    add("--features", action="store_true", help="feature distance (SqueezeNet) too")
    add("--gallery", type=int, default=0, metavar="N", help="show the first N pictures of each split")
    add("--no-report", action="store_true", help="write no report.html")
    add("--quiet", action="store_true", help="no progress bar and no messages")
    add("--reproduce", metavar="NAME", help="a figure or table of a paper, e.g. sqgan-fig8")
    parser.set_defaults(run=run)


def count(text: str) -> int:
    """A number of things as an option: 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    if args.reproduce:
        from chappe.bench import reproduce

        splits = args.split or [None]
        if len(splits) > 1:
            raise UsageError("--reproduce measures one split.")
        return reproduce.run(
            args.reproduce, args.data, split=splits[0], limit=args.limit, every=args.every, jobs=_jobs(args.jobs),
            out=Path(args.out) if args.out else None, quiet=args.quiet,
        )  # fmt: skip
    if len(args.data) != 1:
        raise UsageError("chappe evaluate takes one data set folder; see 'chappe evaluate --help'.")
    from chappe.bench.plan import make_plan
    from chappe.bench.sweep import run_sweep
    from chappe.bench.table import aggregate, format_table, load_rows, sentence

    spec = _spec(args)
    say(f"reading {spec.data} and opening {len(spec.codecs)} codecs", quiet=args.quiet)
    plan = make_plan(spec)
    out = Path(args.out or DEFAULT_OUT)
    path = run_sweep(spec, out, _jobs(args.jobs), args.scheduler, plan=plan, quiet=args.quiet)
    rows = load_rows(path, keys=plan.keys())
    cells = aggregate(rows)
    print(format_table(cells))
    words = [
        line
        for split in spec.splits
        for reference in _references(cells, split)
        for line in sentence(cells, split, *reference).splitlines()
    ]
    print("", *words, sep="\n")
    versions = {**_versions(), **plan.versions}
    _write(out, plan, cells, words, versions, command(args))
    if not args.no_report:
        from chappe.bench.report import write_report

        name = Path(os.path.realpath(spec.data)).name
        page = write_report(cells, rows, out, title=f"chappe on {name}", command=command(args), versions=versions,
                            sentences=words)  # fmt: skip
        say(f"{page}: the report", quiet=args.quiet)
    return 0


def _spec(args: argparse.Namespace):
    from chappe.bench.plan import SweepSpec
    from chappe.bench.protocol import default_split

    if args.gallery < 0:
        raise UsageError(f"--gallery {args.gallery}: give 0 or a number of pictures.")
    data = args.data[0]
    return SweepSpec(
        data=data,
        codecs=tuple(args.codecs),
        points=tuple(args.bpp),
        knobs=tuple(args.set),
        splits=tuple(args.split or [default_split(data)]),
        labels=tuple(dict.fromkeys(args.labels)),
        protocol=args.protocol,
        taxonomy=args.taxonomy,
        limit=args.limit,
        every=args.every,
        espnetv2=args.espnetv2,
        segmenter=args.segmenter,
        features=args.features,
        pictures=args.gallery,
    )


def _jobs(asked: int | None) -> int:
    """Processes: as asked, else one a core where joblib is there to start them."""
    if asked is not None:
        return asked
    from importlib.util import find_spec

    return len(os.sched_getaffinity(0)) if find_spec("joblib") else 1


def _references(cells: list, split: str) -> list[tuple[str, str]]:
    """The codecs and points that the others are compared with: our models at 0.04, else the first that is there."""
    from chappe.bench.codecs import ORIGINAL
    from chappe.codec import list_models

    mine = [c for c in cells if c.split == split and c.codec != ORIGINAL]
    found = []
    for name in sorted({c.codec for c in mine} & set(list_models())) or [None]:
        own = [c for c in mine if name in (None, c.codec)]
        usable = [c for c in own if "miou:judge" in c.values] or own
        first = next((c for c in usable if c.point.split(",")[0] == "0.04"), usable[0])
        found.append((first.codec, first.point.split(",")[0]))
    return found


def command(args: argparse.Namespace) -> str:
    """The call as others would type it: the data set by its name, without what does not change the numbers."""
    words = ["chappe", "evaluate", Path(os.path.realpath(args.data[0])).name]
    words += ["--split", *args.split] if args.split else []
    words += ["--codecs", *args.codecs, "--bpp", *args.bpp, "--labels", *args.labels]
    for knob in args.set:
        words += ["--set", knob]
    words += ["--protocol", args.protocol] if args.protocol != "auto" else []
    words += ["--taxonomy", args.taxonomy] if args.taxonomy else []
    words += ["--limit", str(args.limit)] if args.limit else []
    words += ["--every", str(args.every)] if args.every > 1 else []
    words += [f"--{name}" for name in ("espnetv2", "segmenter", "features") if getattr(args, name)]
    words += ["--gallery", str(args.gallery)] if args.gallery else []
    return shlex.join(words)


def _write(out: Path, plan, cells: list, sentences: list[str], versions: dict[str, str], call: str) -> None:
    """results.json: cells with intervals, what they were measured on and with, and the curves in CompressAI's form."""
    from chappe.bench import compressai
    from chappe.bench.table import cells_to_json, results_text
    from chappe.files import atomic_write_bytes

    names: dict[str, dict[str, None]] = {}
    for unit in plan.units:
        names.setdefault(unit.split, {})[unit.name] = None
    results = {
        "format": 1,
        "command": call,
        "data": Path(os.path.realpath(plan.spec.data)).name,
        "protocol": plan.units[0].protocol,
        "versions": versions,
        "frames": {split: list(known) for split, known in names.items()},
        "resamples": 1000,
        "seed": 0,
        "sentences": sentences,
        "cells": cells_to_json(cells),
        "compressai": [asdict(result) for result in compressai.from_cells(cells)],
    }
    atomic_write_bytes(out / "results.json", results_text(results).encode())


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    import chappe

    return {"chappe": chappe.__version__, "python": platform.python_version()} | {
        name: version(name) for name in ("numpy", "pillow", "torch")
    }
