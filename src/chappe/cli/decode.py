"""`chappe decode`: one file into one picture, and its label map if wanted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chappe.cli._batch import decode_folder
from chappe.cli._common import add_backend, check_output, naming, say
from chappe.cli._video import begins_with, decode_video
from chappe.codec import Decoded, decode
from chappe.errors import ChappeError, UsageError

if TYPE_CHECKING:
    import numpy as np

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
    parser.add_argument(
        "--confidence", metavar="OUT", help="write where the picture was received (255) and where inferred (0): PNG"
    )
    add_backend(parser)
    parser.add_argument("--force", action="store_true", help="of a folder: also what is there already")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="of a folder: in N processes (default 1)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    outputs = [path for path in (args.output, args.labels, args.confidence) if path]
    if len(set(outputs)) < len(outputs):
        raise UsageError("the picture, the label map and the confidence need different outputs.")
    if Path(args.input).is_dir():
        if args.confidence:
            raise UsageError("--confidence goes with one file, not with a folder.")
        return decode_folder(args)
    for path in outputs:
        check_output(path, source=args.input)
    if begins_with(args.input, b"\xc3\x73"):
        return decode_video(args)

    from chappe.files import atomic_write_bytes, read_bytes
    from chappe.image import check_suffix, image_bytes, label_bytes, write_labels

    suffix = ".png" if args.output == "-" else check_suffix(args.output)
    if args.labels:
        check_suffix(args.labels, labels=True)
    if args.confidence and args.confidence != "-" and Path(args.confidence).suffix.lower() != ".png":
        raise UsageError(f"{args.confidence}: the confidence is written as .png: end the name in that.")
    blob = read_bytes(args.input)
    with naming(args.input):
        out = decode(blob, backend=args.backend, folder=args.networks)
    if args.labels and out.labels is None:
        raise ChappeError(f"{args.input}: codec {out.report.codec} sends no label map: leave --labels out.")
    picture = image_bytes(out.image, suffix)
    if args.labels:
        write_labels(args.labels, out.labels, out.taxonomy)
    if args.confidence:
        atomic_write_bytes(args.confidence, label_bytes(_received(out)))
    atomic_write_bytes(args.output, picture)
    name = "standard output" if args.output == "-" else Path(args.output).name
    say(f"{name}: {out.report.width}x{out.report.height} from {out.report.total} bytes", quiet=args.quiet)
    if out.missing:
        say(f"{'standard input' if args.input == '-' else args.input}: {out.missing}", quiet=args.quiet)
    if args.labels:
        say(f"{args.labels}: class indices of {out.taxonomy}", quiet=args.quiet)
    if args.confidence:
        say(f"{args.confidence}: 255 received, 0 inferred", quiet=args.quiet)
    return 0


def _received(out: Decoded) -> np.ndarray:
    """`out.received`, which a codec without parts to lose leaves out."""
    import numpy as np

    return np.full(out.image.shape[:2], 255, np.uint8) if out.received is None else out.received
