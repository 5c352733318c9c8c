"""`chappe link-bench`: every link scheme on the pictures of a data set, over the same fades."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from chappe.cli._common import say
from chappe.cli.evaluate import count

__all__ = ["add_parser", "run"]

DEFAULT_OUT = "link-bench"


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "link-bench",
        help="measure links on a data set",
        description="Send all pictures of a data set over 2x2 Rayleigh fading with every scheme that is here: standard "
        "codecs with 5G channel coding and several precoders, SCSC and its ablations, learned symbols, codecs of "
        "meaning, trivial rivals. Prints Markdown tables; writes units.jsonl, results.json, table.md and curves.png. "
        "Killed, the same command goes on where it was.",
        epilog="example: chappe link-bench CamVid --split unseen --every 2 --out runs/link",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="data set folder (CamVid, Cityscapes, pictures, ...)")
    add("--split", metavar="NAME", help="default val; all of a plain folder")
    add("--schemes", nargs="+", metavar="NAME", help="only these, as the table names them, or patterns such as 'hevc*'")
    add("--fades", type=count, default=1, metavar="N", help="fades a picture, SNR and CBR (default %(default)s)")
    add("--limit", type=count, metavar="N", help="the first N pictures")
    add("--every", type=count, default=1, metavar="N", help="every Nth picture")
    add("--jobs", type=count, default=1, metavar="N", help="processes (default %(default)s)")
    add("--out", "-o", metavar="DIR", default=DEFAULT_OUT, help="folder to write (default %(default)s)")
    add("--quiet", action="store_true", help="no progress bar and no messages")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from chappe.bench.link_bench import LinkSpec, make_plan, run_bench
    from chappe.bench.link_plot import link_png
    from chappe.bench.link_schemes import SCHEMES
    from chappe.bench.link_table import aggregate, cells_to_json, deltas, deltas_to_json, markdown
    from chappe.bench.protocol import default_split
    from chappe.bench.table import results_text
    from chappe.errors import MissingDependency
    from chappe.files import atomic_write_bytes

    split = args.split or default_split(args.data)
    spec = LinkSpec(args.data, split, tuple(args.schemes or SCHEMES), args.fades, args.every, args.limit)
    plan = make_plan(spec)
    for name, why in plan.missing.items():
        say(f"left out: {name}: {why}", quiet=args.quiet)
    out = Path(args.out)
    units = run_bench(plan, out, args.jobs, quiet=args.quiet)
    cells = aggregate(units)
    found = deltas(cells)
    text = markdown(cells, found, plan.missing)
    data = Path(os.path.realpath(args.data)).name
    results = {
        "format": 1, "command": command(args, data), "data": data, "split": split, "pictures": list(plan.names),
        "fades": args.fades, "channel": "rayleigh2x2, one fade a transmission", "missing": plan.missing,
        "cells": cells_to_json(cells), "bd": deltas_to_json(found),
    }  # fmt: skip
    atomic_write_bytes(out / "results.json", results_text(results).encode())
    atomic_write_bytes(out / "table.md", text.encode())
    print(text, end="")
    try:
        atomic_write_bytes(out / "curves.png", link_png(cells, title=f"{data}, {split}: {len(plan.names)} pictures"))
    except MissingDependency as error:
        say(f"no curves.png: {error}", quiet=args.quiet)
    return 0


def command(args: argparse.Namespace, data: str) -> str:
    """The call as others would type it."""
    words = ["chappe", "link-bench", data, *(["--split", args.split] if args.split else [])]
    words += ["--schemes", *args.schemes] if args.schemes else []
    words += ["--fades", str(args.fades)] if args.fades > 1 else []
    words += ["--limit", str(args.limit)] if args.limit else []
    words += ["--every", str(args.every)] if args.every > 1 else []
    return shlex.join(words)
