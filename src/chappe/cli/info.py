"""`chappe info`: what is in a file, without decoding it; also for damaged and cut files."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from chappe.cli._common import naming, section_lines
from chappe.codec import describe
from chappe.errors import StreamError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "info",
        help="show header, model, sections and checks of a file",
        description="Show header, model, bytes of each section and state of the checks of a chappe file. Exits with 1 "
        "if anything is damaged or missing.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="chappe file, or - for stdin")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from chappe.files import read_bytes

    blob = read_bytes(args.file)
    with naming(args.file):
        report, complete = describe(blob)
    lost = _lost(blob)
    bad = [s.name for s in report.sections if not s.ok]
    missing = len(blob) - report.total
    sound = complete and not bad
    if args.json:
        data = asdict(report) | {"bytes": len(blob), "bpp": len(blob) * 8 / (report.width * report.height)}
        print(
            json.dumps(
                data | {"fingerprint": f"{report.fingerprint:04x}", "complete": complete, "missing": lost, "ok": sound}
            )
        )
    else:
        print(f"file         {args.file}, {len(blob)} bytes, {len(blob) * 8 / (report.width * report.height):.4f} bpp")
        print(f"picture      {report.width}x{report.height}")
        print(f"model        {report.codec} (id {report.codec_id}), weights fingerprint {report.fingerprint:04x}")
        print(f"state        {'whole, every check holds' if sound else 'DAMAGED'}")
        if lost:
            print(f"missing      {lost}")
        print()
        for line in section_lines(report):
            print(line)
    if not sound:
        if bad:
            trouble = f"the check of {', '.join(bad)} fails"
        elif missing > 0:
            trouble = f"{missing} bytes at the end belong to no section"
        else:
            trouble = "the end is missing"
        raise StreamError(f"{args.file}: {trouble}: get the file again.")
    if lost:
        raise StreamError(f"{args.file}: {lost}.")
    return 0


def _lost(blob: bytes) -> str | None:
    """What the file says that it should hold and does not."""
    from chappe.bitstream.container import scan
    from chappe.bitstream.packets import loss_note

    return loss_note(*scan(blob))
