"""`chappe audit`: measure published rows again and say what differs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from chappe.cli._common import say
from chappe.cli.evaluate import count
from chappe.errors import InputError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "audit",
        help="measure published results again",
        description="Check results of 'chappe evaluate': the arithmetic of all rows, the cells of results.json, and a "
        "random sample encoded, decoded and measured again in a fresh process. Exit code 1 on any mismatch.",
        epilog="example: chappe audit results/camvid --data CamVid --sample 20",
        allow_abbrev=False,
    )
    parser.add_argument("results", metavar="DIR", help="folder that chappe evaluate wrote, or its rows.jsonl")
    parser.add_argument("--sample", type=_sample, default=12, metavar="N", help="rows measured again (default 12)")
    parser.add_argument("--data", metavar="DIR", help="the data set (default: $CHAPPE_DATA/<its name>)")
    parser.add_argument("--seed", type=int, default=0, help="which sample (default 0)")
    parser.set_defaults(run=run)


def _sample(text: str) -> int:
    return 0 if text == "0" else count(text)


def run(args: argparse.Namespace) -> int:
    from chappe.bench.audit import audit_cells, audit_rows, open_results

    rows, results = open_results(args.results)
    wrong = audit_cells(rows, results)
    for line in wrong:
        print(f"MISMATCH {line}")
    cells = f" and {len(results['cells'])} cells" if results else ""
    say(f"arithmetic of {len(rows)} rows{cells} checked; measuring {min(args.sample, len(rows))} rows again")
    bad = 0
    for check in audit_rows(rows, _data(args.data, rows), args.sample, args.seed) if args.sample else ():
        print(f"{'MISMATCH' if check.mismatches else 'ok      '} {check.title}: {_what(check.again)}", flush=True)
        for line in check.mismatches:
            print(f"         {line}")
        bad += bool(check.mismatches)
    print(f"{len(wrong)} wrong in themselves, {bad} of {min(args.sample, len(rows))} rows measured again differ.")
    return 1 if wrong or bad else 0


def _data(given: str | None, rows: list[dict]) -> Path:
    if given:
        return Path(given)
    names = {row["data"] for row in rows}
    root = os.environ.get("CHAPPE_DATA")
    if root and len(names) == 1 and (path := Path(root) / next(iter(names))).is_dir():
        return path
    raise InputError(f"The rows are of the data set {', '.join(sorted(names))}: say where it is with --data DIR.")


def _what(row: dict) -> str:
    """'655 bytes = 0.0400 bpp (0.0371 nominal), sha256 0123456789ab'; the nominal rate is a paper's formula."""
    if not row["reached"]:
        return "out of reach"
    nominal = row["bpp_nominal"]
    beside = "" if nominal is None else f" ({nominal:.4f} nominal, {row['bpp'] - nominal:+.4f} in the file)"
    return f"{row['bytes']} bytes = {row['bpp']:.4f} bpp{beside}, sha256 {row['sha256'][:12]}"
