"""`chappe compare`: one photo through several codecs at the same bytes, as one contact sheet."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from chappe.cli._common import check_output, columns, rate, say
from chappe.errors import MissingDependency, UsageError

__all__ = ["CODECS", "add_parser", "run"]

CODECS = (
    "spic-onepass-street", "sqgan-street", "hevc", "hevc-half", "av1-half", "jpeg2000", "webp-half", "jxl-half",
    "jpeg-half",
)  # fmt: skip


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "compare",
        help="show one photo through several codecs at the same bytes",
        description="Encode a photo with the first codec at a rate, and with all others at the bytes its file has; "
        "decode, measure, and write one contact sheet with what a judge sees in each.",
        epilog="example: chappe compare street.jpg --bpp 0.04 -o sheet.png --html sheet.html",
        allow_abbrev=False,
    )
    parser.add_argument("photo", metavar="PHOTO", help="picture of a street, or - for stdin")
    parser.add_argument("--codecs", nargs="+", metavar="NAME", help=f"default: those installed of {' '.join(CODECS)}")
    parser.add_argument("--bpp", type=rate, default=0.04, help="rate of the first codec (default %(default)s)")
    parser.add_argument(
        "-o", "--out", default="chappe-compare.png", metavar="PNG", help="contact sheet (default %(default)s)"
    )
    parser.add_argument("--html", metavar="FILE", help="also write a page with a divider to drag")
    parser.add_argument("--quiet", action="store_true", help="print the results only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for path in filter(None, (args.out, args.html)):
        if path == "-":
            raise UsageError("the contact sheet and the page need file names, not -.")
        check_output(path, source=args.photo)

    from chappe.bench.compare import agreement, compare, scene_of, tiles_of
    from chappe.bench.measure import open_instruments
    from chappe.bench.sheet import contact_sheet
    from chappe.image import check_suffix, read_image, write_image

    check_suffix(args.out)
    names = list(dict.fromkeys(args.codecs or _installed(args.quiet)))
    image = read_image(args.photo)
    say("loading the judge", quiet=args.quiet)
    instruments = open_instruments()
    results, lines = [], []
    started = time.perf_counter()
    seen = instruments.eyes["judge"](image)
    for result in compare(image, names, args.bpp, instruments):
        now = time.perf_counter()
        say(f"{result.codec}: {now - started:.1f} s", quiet=args.quiet)
        started = now
        results.append(result)
        lines.append(_line(result, agreement(result.row)))
    for line in columns(("codec", "bytes", "bpp", "PSNR", "LPIPS", "judge agrees", "encode", "decode"), lines):
        print(line)
    for result in results:
        if result.image is None:
            say(f"{result.codec}: {result.row['why']}", quiet=args.quiet)
    photo = "standard input" if args.photo == "-" else Path(args.photo).name
    height, width = image.shape[:2]
    title = f"{photo} at {results[0].row['bytes']:,} bytes"
    subtitle = f"{width}x{height} pixels; the others as near to the bytes of {results[0].codec} as they come"
    write_image(args.out, contact_sheet(tiles_of(image, seen, results), title=title, subtitle=subtitle))
    print(f"written {args.out}")
    if args.html:
        from chappe.bench.report import write_gallery_page

        scene = scene_of(photo, f"{args.bpp:g}", image, seen, results)
        command = f"chappe compare {photo} --bpp {args.bpp:g} --codecs {' '.join(names)}"
        write_gallery_page(args.html, [scene], title=title, command=command, lead=subtitle)
        print(f"written {args.html}")
    return 0


def _installed(quiet: bool) -> list[str]:
    """The default codecs, less those whose library is absent, which is said."""
    from chappe.bench.codecs import open_codec

    found = []
    for name in CODECS:
        try:
            open_codec(name)
        except MissingDependency as error:
            say(f"without {name}: {error}", quiet=quiet)
            continue
        found.append(name)
    return found


def _line(result, agrees: float | None) -> tuple[str, ...]:
    row = result.row
    if not row["reached"]:
        return (result.codec, *["–"] * 7)
    fidelity = "exact" if row["psnr"] is None else f"{row['psnr']:.2f} dB"
    distance = f"{row['lpips']:.3f}" if "lpips" in row else "–"
    seconds = row["seconds"]
    return (
        result.codec,
        str(row["bytes"]),
        f"{row['bpp']:.4f}",
        fidelity,
        distance,
        "–" if agrees is None else f"{agrees:.1f} %",
        f"{seconds['segment'] + seconds['encode']:.2f} s",
        f"{seconds['decode']:.2f} s",
    )
