"""`chappe truncate`: a file in layers cut to fewer bytes, without a model."""

from __future__ import annotations

import argparse

from chappe.cli._common import check_output, naming, rate, say, summary
from chappe.codec import describe
from chappe.errors import RateError, UsageError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "truncate",
        help="cut a file in layers to fewer bytes",
        description="Cut a chappe file to the longest prefix of whole sections that is small enough and still decodes. "
        "Needs no model; encode with --layers to have something to cut.",
        epilog="example: chappe truncate street.chp small.chp --bpp 0.02",
        allow_abbrev=False,
    )
    parser.add_argument("input", metavar="IN", help="chappe file, or - for stdin")
    parser.add_argument("output", metavar="OUT", help="file to write, or - for stdout")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--bpp", type=rate, help="most bits of the whole file per pixel, e.g. 0.02")
    size.add_argument("--bytes", type=int, metavar="N", help="most bytes of the whole file")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.bytes is not None and args.bytes < 1:
        raise UsageError(f"--bytes {args.bytes}: a file has at least 1 byte.")
    check_output(args.output, source=args.input)

    from chappe.bitstream.container import read_header
    from chappe.bitstream.packets import truncate
    from chappe.files import atomic_write_bytes, read_bytes

    blob = read_bytes(args.input)
    with naming(args.input):
        header, _ = read_header(blob)
        most = args.bytes if args.bpp is None else args.bpp * header.width * header.height / 8
        try:
            short = truncate(blob, most)
        except RateError as error:
            raise RateError(f"{'standard input' if args.input == '-' else args.input}: {error}") from error
    atomic_write_bytes(args.output, short)
    say(summary(args.output, describe(short)[0]), quiet=args.quiet)
    return 0
