"""`chappe decode`: one file into one picture, and its label map if wanted."""

from __future__ import annotations

import argparse
from pathlib import Path

from chappe.cli._common import check_output, naming, say
from chappe.codec import decode
from chappe.errors import ChappeError, UsageError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "decode",
        help="rebuild the picture and its labels",
        description="Rebuild the picture of a chappe file and, if wanted, its label map.",
        epilog="example: chappe decode street.chp street.png --labels labels.png",
        allow_abbrev=False,
    )
    parser.add_argument("input", metavar="IN", help="chappe file, or - for stdin")
    parser.add_argument(
        "output", metavar="OUT", help="picture to write (its suffix says the kind), or - for PNG on stdout"
    )
    parser.add_argument("--labels", metavar="OUT", help="write the label map too: PNG, pixel values are class indices")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.labels and args.labels == args.output:
        raise UsageError("the picture and the label map need different outputs.")
    for path in filter(None, (args.output, args.labels)):
        check_output(path, source=args.input)

    from chappe.files import atomic_write_bytes, read_bytes
    from chappe.image import check_suffix, image_bytes, write_labels

    suffix = ".png" if args.output == "-" else check_suffix(args.output)
    if args.labels:
        check_suffix(args.labels, labels=True)
    blob = read_bytes(args.input)
    with naming(args.input):
        out = decode(blob)
    if args.labels and out.labels is None:
        raise ChappeError(f"{args.input}: codec {out.report.codec} sends no label map: leave --labels out.")
    picture = image_bytes(out.image, suffix)
    if args.labels:
        write_labels(args.labels, out.labels, out.taxonomy)
    atomic_write_bytes(args.output, picture)
    name = "standard output" if args.output == "-" else Path(args.output).name
    say(f"{name}: {out.report.width}x{out.report.height} from {out.report.total} bytes", quiet=args.quiet)
    if args.labels:
        say(f"{args.labels}: class indices of {out.taxonomy}", quiet=args.quiet)
    return 0
