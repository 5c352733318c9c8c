"""`chappe export`: the networks of a codec as ONNX files, for machines without torch and for speed."""

from __future__ import annotations

import argparse
from pathlib import Path

from chappe.cli._common import say
from chappe.codec import DEFAULT_MODEL, model_entry
from chappe.errors import UsageError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "export",
        help="write the networks of a codec as ONNX files",
        description="Write the networks of a codec, and of the built-in segmenter, as ONNX files. With them "
        "'--backend onnx' of encode and decode runs without torch.",
        epilog="example: chappe export --codec sqgan-street --int8 --calibrate frames/ -o networks/",
        allow_abbrev=False,
    )
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="kind of files (onnx)")
    parser.add_argument(
        "--codec", nargs="+", default=[DEFAULT_MODEL], metavar="NAME", help=f"models (default {DEFAULT_MODEL})"
    )
    parser.add_argument("--int8", action="store_true", help="also write networks with 8-bit convolutions")
    parser.add_argument(
        "--calibrate", metavar="DIR", help="folder with pictures that --int8 measures ranges on (default: drawn scenes)"
    )
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="folder to write (default: $CHAPPE_ONNX, else the user's cache folder)"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for name in args.codec:
        model_entry(name)
    if args.calibrate and not args.int8:
        raise UsageError("--calibrate is for --int8: give both or neither.")

    from chappe.backends.bundle import home
    from chappe.backends.make import calibration_pictures, export

    folder = home(args.out)
    pictures = calibration_pictures(args.calibrate) if args.int8 else ()
    export(list(dict.fromkeys(args.codec)), Path(folder), int8=args.int8, pictures=pictures,
           say=lambda text: say(text, quiet=args.quiet))  # fmt: skip
    say(f"written to {folder}", quiet=args.quiet)
    return 0
