"""`chappe link`: one picture over a noisy channel, and what came out of it."""

from __future__ import annotations

import argparse

from chappe.cli._common import check_output, columns, rate, say
from chappe.codec import DEFAULT_MODEL
from chappe.errors import ChappeError, UsageError

__all__ = ["add_parser", "run"]

SNR = 6.0
GESCO = ("gesco-analog", "full-image")
SYSTEMS = ("digital", "scsc", "adjscc", "deepjscc-mimo", "proxynet", *GESCO)


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "link",
        help="send a picture over a noisy radio channel",
        description="Send a picture over a simulated channel: codec, 5G channel code, QAM, MIMO, fading and noise, and "
        "back. A picture whose check fails is lost: nothing is written and the exit code is 1.",
        epilog="example: chappe link street.jpg -o out.png --codec jpeg2000 --snr 8 --channel rayleigh2x2 --cbr 1/12",
        allow_abbrev=False,
    )
    parser.add_argument("photo", metavar="PHOTO", help="picture, or - for stdin")
    parser.add_argument("-o", "--out", metavar="OUT", help="picture as it arrives (its suffix says the kind)")
    parser.add_argument("--system", choices=SYSTEMS, default="digital",
                        help="a codec and a code, a learned link, or GESCO's analog one and its baseline "
                        "(default %(default)s)")  # fmt: skip
    parser.add_argument(
        "--weights",
        metavar="DIR",
        help="of a learned link: a folder that chappe train link wrote (default: the bundled one)",
    )
    parser.add_argument("--without", nargs="+", default=[], choices=("ppen", "pcen"), metavar="PART",
                        help="leave ppen or pcen out of a learned link")  # fmt: skip
    parser.add_argument("--codec", metavar="NAME",
                        help="model, or classical codec such as jpeg2000, hevc (default: digital "
                        f"{DEFAULT_MODEL}, scsc the one it was trained with)")  # fmt: skip
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--cbr", metavar="X", help="most complex channel uses by 3 x pixels, e.g. 1/12")
    size.add_argument("--bpp", type=rate, help="bits of the file per pixel instead")
    parser.add_argument("--slices", type=int, metavar="K", help="in K slices, each with its own check (some codecs)")
    radio = parser.add_argument_group("radio")
    radio.add_argument("--channel", default="rayleigh2x2", metavar="LAW[NTxNR]",
                       help="awgn, rayleigh, rician, tdl-a, tdl-c, cdl-c, bsc or erasure (default %(default)s)"
                       )  # fmt: skip
    radio.add_argument("--snr", type=float, metavar="DB", help=f"default {SNR:g}")
    radio.add_argument("--psnr", type=float, metavar="DB",
                       help="of GESCO's channel: power 1 by the noise on each real value (default 10)")  # fmt: skip
    radio.add_argument("--snr-of", choices=("antenna", "total"), default="antenna",
                       help="power of one transmit antenna, or of all (default %(default)s)")  # fmt: skip
    radio.add_argument("--mcs", default="qpsk-1/2", metavar="MOD-RATE",
                       help="e.g. 16qam-3/4, or auto: the fastest that is rarely lost (default %(default)s)"
                       )  # fmt: skip
    radio.add_argument(
        "--target", type=float, default=0.1, help="share lost that --mcs auto allows (default %(default)g)"
    )
    radio.add_argument("--fade-every", type=int, metavar="USES", help="new fade after so many uses (default: one fade)")
    radio.add_argument("--flip", type=float, default=0.01, metavar="P", help="of a bit, bsc (default %(default)g)")
    radio.add_argument(
        "--loss", type=float, default=0.1, metavar="P", help="of a packet, erasure (default %(default)g)"
    )
    radio.add_argument("--precoder", default="svd-minmse+dft", metavar="NAME",
                       help="none, svd-waterfill, svd-equal, svd-minmse, each svd also +dft (default %(default)s)"
                       )  # fmt: skip
    radio.add_argument(
        "--detector", metavar="NAME", help="lmmse, zf, mf or ml (default lmmse; ml with scsc's bundled precoder)"
    )
    radio.add_argument("--csi-error", type=float, default=0.0, metavar="VAR", help="e.g. 0.1 (default: perfect)")
    radio.add_argument("--seed", type=int, default=0, help="of fades and noise (default %(default)s)")
    parser.add_argument(
        "--figure",
        metavar="PNG",
        help="draw the constellation, where resources went, the picture received and the original",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for path in filter(None, (args.out, args.figure)):
        if path == "-":
            raise UsageError("the picture and the figure need file names, not -.")
        check_output(path, source=args.photo)
    if args.figure and not args.figure.lower().endswith(".png"):
        raise UsageError(f"{args.figure}: figures are written as .png: end the name in it.")
    if args.out and args.out == args.figure:
        raise UsageError("the picture and the figure need different names.")
    if not 0 <= args.seed < 1 << 62:
        raise UsageError(f"a seed is a whole number from 0, not {args.seed}.")

    from chappe.files import atomic_write_bytes
    from chappe.image import check_suffix, read_image, write_image
    from chappe.link.adaptation import parse_mcs
    from chappe.link.channels import parse_channel
    from chappe.link.digital import DigitalLink

    if args.out:
        check_suffix(args.out)
    if args.psnr is not None and args.system not in GESCO:
        raise UsageError(f"--psnr is for --system {' and '.join(GESCO)}; the others take --snr.")
    if args.snr is not None and args.system in GESCO:
        raise UsageError(f"{args.system} takes --psnr, the noise of its own channel, not --snr.")
    args.snr = SNR if args.snr is None else args.snr
    auto = args.mcs == "auto"
    mcs = parse_mcs("qpsk-1/2" if auto else args.mcs)
    spec = parse_channel(args.channel, fade_every=args.fade_every, flip=args.flip, loss=args.loss)
    bundled = args.system == "scsc" and not args.weights
    detector = args.detector or ("ml" if bundled else "lmmse")
    link = DigitalLink(spec, args.snr, mcs.modulation, mcs.rate, args.precoder, detector, snr=args.snr_of,
                       csi_error=args.csi_error)  # fmt: skip
    image = read_image(args.photo)
    system = _system(args, link, auto)
    analog = not hasattr(system, "codec")
    if analog:
        out = system.transmit(image, cbr=args.cbr, seed=args.seed)
    else:
        out = system.transmit(image, cbr=args.cbr, bpp=args.bpp, seed=args.seed)
    if args.system in GESCO:
        lines = _gesco_lines(out, system)
    else:
        lines = _analog_lines(out, system.name) if analog else _lines(out, system.codec.name)
    for line in columns(("", ""), lines, left=(0, 1))[1:]:
        say(line, quiet=args.quiet)
    if args.figure:
        from chappe.link.plot import transmission_png

        title = f"{system.name}, SNR {args.snr:g} dB" if spec.complex else system.name
        if args.system in GESCO:
            title = f"{system.name}, PSNR {system.analog.psnr_db:g} dB"
        atomic_write_bytes(
            args.figure, transmission_png(image, out, None if analog else out.link.modulation, title=title)
        )
        say(f"written {args.figure}", quiet=args.quiet)
    if out.lost:
        advice = "a higher --snr, a slower --mcs, --mcs auto" if spec.complex else f"a better --channel {spec.name}"
        raise ChappeError(f"the picture was lost: {out.why.rstrip('.')}; try {advice} or another --seed.")
    if args.out:
        write_image(args.out, out.image)
        say(f"written {args.out}", quiet=args.quiet)
    return 0


def _system(args: argparse.Namespace, link, auto: bool):
    """The link that the options name."""
    if args.system == "digital":
        from chappe.link.picture import PictureLink

        if args.weights or args.without:
            raise UsageError("--weights and --without are for learned links: name one by --system.")
        return PictureLink(args.codec or DEFAULT_MODEL, link, adapt=auto, target=args.target, slices=args.slices)
    if args.system in GESCO:
        return _gesco_link(args)
    from chappe.link.learned.store import bundled, load_folder

    weights = args.weights or bundled(args.system)
    if args.slices is not None:
        raise UsageError("--slices is for --system digital.")
    system = load_folder(weights, link, codec=args.codec, without=args.without, adapt=auto, target=args.target)
    if system.name != args.system:
        raise UsageError(f"{weights} holds {system.name}, not {args.system}: say --system {system.name}.")
    if args.system != "scsc" and (args.codec or args.bpp):
        raise UsageError(f"{args.system} makes no file: it takes --cbr, and neither --codec nor --bpp.")
    return system


def _gesco_link(args: argparse.Namespace):
    """GESCO's analog link or the pixels over the same channel; they have no radio but their own."""
    from chappe.codec import load
    from chappe.systems.diffusion.codec import load_folder
    from chappe.systems.diffusion.link import FullImageLink, GescoLink

    if args.codec or args.bpp or args.slices is not None or args.without:
        raise UsageError(f"{args.system} makes no file: it takes --psnr, --cbr and --weights, and none of a codec.")
    psnr = 10.0 if args.psnr is None else args.psnr
    if args.system == "full-image":
        if args.weights:
            raise UsageError("full-image has no network: leave --weights out.")
        return FullImageLink(psnr)
    codec = load_folder(args.weights, "gesco") if args.weights else load("gesco-street")
    return GescoLink(codec.engine, psnr_db=psnr, sampling=codec.sampling)


def _gesco_lines(out, system) -> list[tuple[str, str]]:
    what = "the pixels themselves" if system.name == "full-image" else "one plane for each class that is there"
    side = out.height * out.width
    return [
        ("sent", f"{out.width}x{out.height} as {what}"),
        ("channel", f"{system.analog.psnr_db:g} dB: noise of {system.analog.sigma:.3f} on values of power 1"),
        ("", out.receptions[0].text),
        ("uses", f"{out.channel_uses} complex channel uses, CBR {out.cbr:.4f} (uses by 3 x pixels), "
                 f"{out.channel_uses / side:.2f} a pixel"),
        ("result", "received: symbols are never lost, only noisy"),
    ]  # fmt: skip


def _analog_lines(out, name: str) -> list[tuple[str, str]]:
    """What is said of a picture that went as symbols, without file and code."""
    first = out.receptions[0]
    return [
        ("sent", f"{out.width}x{out.height} as {name}'s own symbols"),
        ("channel", f"{out.link.spec.name}, SNR {out.link.snr_db:g} dB"),
        ("", first.text),
        ("uses", f"{out.channel_uses} complex channel uses, CBR {out.cbr:.4f} (uses by 3 x pixels)"),
        ("result", "received: symbols are never lost, only noisy"),
    ]


def _lines(out, codec: str) -> list[tuple[str, str]]:
    link, first = out.link, out.receptions[0]
    pixels = out.height * out.width
    lines = [
        ("sent", f"{out.sent_bytes} bytes, {out.width}x{out.height}, {8 * out.sent_bytes / pixels:.4f} bpp, {codec}")
    ]
    lines.append(("channel", link.spec.name + (f", SNR {link.snr_db:g} dB" if link.spec.complex else "")))
    lines.append(("", first.text))
    if link.spec.complex:
        rate = f"{link.modulation}, rate {link.rate}"
        streams = f"{link.streams} stream{'s' if link.streams > 1 else ''}"
        learned = getattr(link, "enhancer", None)
        precoder = link.precoder if learned is None else type(learned).__name__
        lines.append(("scheme", f"{rate}, {streams}, precoder {precoder}, {link.detector}"))
        lines.append(("uses", f"{out.channel_uses} complex channel uses, CBR {out.cbr:.4f} (uses by 3 x pixels)"))
    else:
        lines.append(("uses", f"{out.channel_uses} {'packets' if first.unit == 'packet' else 'bits'}"))
    what = "packets" if first.unit == "packet" else "code blocks"
    lines.append((what, f"{out.blocks}, {out.block_errors} lost"))
    if len(out.receptions) > 1:
        lines.append(("slices", f"{len(out.receptions)}, {sum(not r.ok for r in out.receptions)} lost"))
    if first.unit != "packet":
        sizes = sum(r.size for r in out.receptions)
        raw, ber = (sum(getattr(r, key) * r.size for r in out.receptions) / sizes for key in ("raw_ber", "ber"))
        lines.append(("bit errors", f"{raw:.4f} before decoding, {ber:.4g} after"))
    lines.append(("result", "lost" if out.lost else out.decoded.missing or "received whole"))
    return lines
