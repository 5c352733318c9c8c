"""`chappe encode`: one picture into one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chappe.cli._batch import encode_folder
from chappe.cli._common import add_backend, check_output, rate, say, section_lines, summary
from chappe.cli._video import begins_with, encode_video
from chappe.codec import DEFAULT_MODEL, Codec, OperatingPoint, describe, load, model_entry
from chappe.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["add_parser", "encode_picture", "open_codec", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "encode",
        help="compress a picture",
        description="Compress a picture into a chappe file.",
        epilog="example: chappe encode street.jpg street.chp --bpp 0.04",
        allow_abbrev=False,
    )
    parser.add_argument(
        "input", metavar="IN", help="picture (PNG, JPEG, WebP, AVIF, BMP, TIFF, PPM, GIF), or - for stdin"
    )
    parser.add_argument("output", metavar="OUT", help="file to write, or - for stdout")
    parser.add_argument("--codec", default=DEFAULT_MODEL, metavar="NAME", help=f"model (default {DEFAULT_MODEL})")
    parser.add_argument("--bpp", type=rate, help="wanted bits of the whole file per pixel, e.g. 0.04")
    parser.add_argument("--labels", metavar="MAP", help="index PNG with the label map; without it the codec segments")
    parser.add_argument("--point", metavar="NAME", help="named operating point instead of --bpp")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", type=_setting, help="set one knob of the point"
    )
    parser.add_argument("--layers", type=int, metavar="N", help="in N layers (up to 16) that may be cut off the file")
    parser.add_argument("--slices", type=int, metavar="K", help="in K slices (2 to 16), of which any may be lost")
    parser.add_argument(
        "--for", dest="goal", choices=("meaning", "looks"), help="what --bpp is shared for between map and picture"
    )
    parser.add_argument(
        "--relevance", metavar="PROFILE", help='whom the bits are for: "person=1,sign=1,sky=0" or a profile\'s name'
    )
    add_backend(parser)
    parser.add_argument("--force", action="store_true", help="of a folder: also what is there already")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="of a folder: in N processes (default 1)")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="also print the bytes of each section")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    model_entry(args.codec)
    if args.bpp is not None and (args.point or "bpp" in dict(args.set)):
        raise UsageError(f"give either --bpp or {'--point' if args.point else '--set bpp=...'}, not both.")
    if Path(args.input).is_dir():
        return encode_folder(args)
    check_output(args.output, source=args.input)
    if begins_with(args.input, b"YUV4MPEG2"):
        return encode_video(args)

    from chappe.files import atomic_write_bytes
    from chappe.image import read_image

    image = read_image(args.input)
    blob = encode_picture(args, open_codec(args), image, args.labels)
    atomic_write_bytes(args.output, blob)
    report, _ = describe(blob)
    say(summary(args.output, report), quiet=args.quiet)
    for line in section_lines(report) if args.verbose else ():
        say("  " + line, quiet=args.quiet)
    return 0


def open_codec(args: argparse.Namespace) -> Codec:
    """The codec that the options ask for."""
    return load(args.codec, backend=args.backend, folder=args.networks)


def encode_picture(args: argparse.Namespace, codec: Codec, image: np.ndarray, labels: str | None) -> bytes:
    """The file of one picture (H, W, 3) uint8 under the command's options; `labels` is the path of its label map."""
    from chappe.image import read_labels

    label_map = read_labels(labels, image.shape[:2], taxonomy=codec.taxonomy) if labels else None
    point = _point(codec, args)
    return codec.encode(image, labels=label_map, bpp=args.bpp if point is None else None, point=point)


def _point(codec: Codec, args: argparse.Namespace) -> OperatingPoint | None:
    form = {
        key: getattr(args, key) for key in ("layers", "slices", "relevance", "goal") if getattr(args, key) is not None
    }
    if not (args.point or args.set or form):
        return None
    base = codec.find_point(args.point) if args.point else OperatingPoint("custom")
    rate = {} if args.bpp is None else {"bpp": args.bpp}
    changes = {**rate, **form, **dict(args.set)}
    return OperatingPoint(base.name, {**base.settings, **changes}) if changes else base


def _setting(text: str) -> tuple[str, float | int | str]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value
