"""`chappe encode`: one picture into one file."""

from __future__ import annotations

import argparse

from chappe.cli._common import check_output, rate, say, section_lines, summary
from chappe.codec import DEFAULT_MODEL, Codec, OperatingPoint, describe, load, model_entry
from chappe.errors import UsageError

__all__ = ["add_parser", "run"]


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
    parser.add_argument("-v", "--verbose", action="count", default=0, help="also print the bytes of each section")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    model_entry(args.codec)
    if args.bpp is not None and (args.point or args.set):
        raise UsageError("give either --bpp or --point and --set, not both.")
    check_output(args.output, source=args.input)

    from chappe.files import atomic_write_bytes
    from chappe.image import read_image, read_labels

    image = read_image(args.input)
    codec = load(args.codec)
    labels = None
    if args.labels:
        labels = read_labels(args.labels, image.shape[:2], taxonomy=codec.taxonomy)
    blob = codec.encode(image, labels=labels, bpp=args.bpp, point=_point(codec, args))
    atomic_write_bytes(args.output, blob)
    report, _ = describe(blob)
    say(summary(args.output, report), quiet=args.quiet)
    for line in section_lines(report) if args.verbose else ():
        say("  " + line, quiet=args.quiet)
    return 0


def _point(codec: Codec, args: argparse.Namespace) -> OperatingPoint | None:
    if not args.point and not args.set:
        return None
    base = codec.find_point(args.point) if args.point else OperatingPoint("custom")
    return OperatingPoint(base.name, {**base.settings, **dict(args.set)}) if args.set else base


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
