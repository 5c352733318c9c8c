"""`chappe demo`: one picture through the whole road, offline, with its bytes and scores, and a contact sheet.

Without a picture it renders a procedural street scene, whose true labels are known.
"""

from __future__ import annotations

import argparse
import time

from chappe.cli._common import check_output, rate, say, section_lines, summary
from chappe.codec import DEFAULT_MODEL, load
from chappe.errors import UsageError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "demo",
        help="encode and decode a street scene, offline, and show the result",
        description="Encode and decode a picture (by default a rendered street scene), print bytes and scores, and "
        "write one contact sheet. No network, no data set.",
        allow_abbrev=False,
    )
    parser.add_argument("picture", nargs="?", help="a photo of a street; without it a scene is rendered")
    parser.add_argument("--out", default="chappe-demo.png", metavar="PNG", help="contact sheet (default %(default)s)")
    parser.add_argument("--bpp", type=rate, default=0.04, help="rate in bits per pixel (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the rendered scene (default %(default)s)")
    parser.add_argument("--codec", default=DEFAULT_MODEL, metavar="NAME", help="model (default %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="print the results only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.out == "-":
        raise UsageError("the contact sheet needs a file name, not -.")
    check_output(args.out, source=args.picture)

    from chappe.cli._sheet import Panel, contact_sheet
    from chappe.image import check_suffix, write_image
    from chappe.metrics import psnr

    check_suffix(args.out)
    name, image, truth = _picture(args)
    height, width = image.shape[:2]
    say(f"loading {args.codec}", quiet=args.quiet)
    codec = load(args.codec)
    codec.decode(codec.encode(image, bpp=args.bpp))  # once unmeasured: caches and compiled code come in

    started = time.perf_counter()
    sent = codec.segment(image)
    blob = codec.encode(image, labels=sent, bpp=args.bpp)
    encoded = time.perf_counter()
    out = codec.decode(blob)
    decoded = time.perf_counter()
    quality, jpeg, jpeg_image = _nearest_jpeg(image, len(blob))

    print(summary(name, out.report))
    for line in section_lines(out.report):
        print("  " + line)
    fidelity, jpeg_fidelity = psnr(image, out.image), psnr(image, jpeg_image)
    print(f"  time        encode {encoded - started:.2f} s, decode {decoded - encoded:.2f} s, weights loaded")
    print(f"  picture     PSNR {fidelity:.2f} dB")
    note = f"{len(blob)} bytes, {out.report.bpp:.4f} bpp, PSNR {fidelity:.1f} dB"
    panels = [
        Panel("original", f"{height * width * 3:,} bytes of pixels", image),
        Panel(f"decoded by {codec.name}", note, out.image),
        Panel(f"JPEG quality {quality}", f"{jpeg} bytes, {jpeg / len(blob):.1f} times as many", jpeg_image),
    ]
    if out.labels is not None and sent is not None:
        panels += _label_panels(truth, sent, out.labels, out.taxonomy)
    smallest = " (its smallest)" if quality == 1 else ""
    print(f"  JPEG        {jpeg} bytes at quality {quality}{smallest}, PSNR {jpeg_fidelity:.2f} dB")
    write_image(args.out, contact_sheet(panels, columns=3))
    print(f"  written     {args.out}")
    return 0


def _label_panels(truth, sent, received, taxonomy: str):
    """Prints the scores of the label map, and gives a panel for each map there is."""
    from chappe.cli._sheet import Panel
    from chappe.metrics import confusion, miou, pixel_accuracy
    from chappe.taxonomy import colorize, get_taxonomy

    table = get_taxonomy(taxonomy)

    def compare(what: str, labels, reference) -> str:
        matrix = confusion(labels, reference, len(table), ignore=table.void)
        score = f"mIoU {miou(matrix, ignore=table.void):.3f}, pixel agreement {pixel_accuracy(matrix):.3f}"
        print(f"  label map   {score} ({what})")
        return f"{score} ({what})"

    panels = []
    if truth is not None:
        panels.append(Panel("true labels", f"{taxonomy}, not known to the sender", colorize(truth, table)))
        panels.append(Panel("labels the sender saw", compare("sent, to the truth", sent, truth), colorize(sent, table)))
        note = compare("received, to the truth", received, truth)
        compare("received, to what was sent", received, sent)
    else:
        panels.append(Panel("labels the sender saw", taxonomy, colorize(sent, table)))
        note = compare("received, to what was sent", received, sent)
    panels.append(Panel("labels as received", note, colorize(received, table)))
    return panels


def _picture(args: argparse.Namespace):
    """Name, (H, W, 3) uint8 picture and its true (H, W) labels, or None for a photo."""
    if args.picture:
        from chappe.image import read_image

        return args.picture, read_image(args.picture), None
    from chappe.data.scenes import render_scene

    say(f"rendering street scene {args.seed}", quiet=args.quiet)
    scene = render_scene(args.seed)
    return f"scene {args.seed}", scene.image, scene.labels


def _nearest_jpeg(image, target: int):
    """Quality, bytes and pixels of the JPEG whose size is nearest to `target` bytes; often its smallest is larger."""
    import io

    import numpy as np
    from PIL import Image

    def compress(quality: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(image).save(out, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
        return out.getvalue()

    low, high = 1, 95
    while low < high:  # the least quality whose file has at least `target` bytes
        middle = (low + high) // 2
        low, high = (low, middle) if len(compress(middle)) >= target else (middle + 1, high)
    quality = min({max(1, low - 1), low}, key=lambda q: abs(len(compress(q)) - target))
    data = compress(quality)
    return quality, len(data), np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB"))
