"""`chappe plot`: rate curves of own results, CompressAI's files and published numbers as one PNG."""

from __future__ import annotations

import argparse

from chappe.cli._common import check_output, say
from chappe.errors import UsageError

__all__ = ["add_parser", "run"]


def add_parser(sub) -> None:
    parser = sub.add_parser(
        "plot",
        help="draw rate curves",
        description="Draw one metric over the rate: results.json or rows.jsonl of 'chappe evaluate', and result files "
        "of CompressAI (dashed). Rates that some pictures cannot reach are not drawn.",
        epilog="example: chappe plot results.json --metric miou:judge --published sqgan-fig12 -o curves.png",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="results.json, rows.jsonl or a CompressAI result")
    parser.add_argument("-o", "--out", default="chappe-curves.png", metavar="PNG", help="default %(default)s")
    parser.add_argument("--metric", default="miou:judge", metavar="KEY", help="what to draw (default %(default)s)")
    parser.add_argument("--split", metavar="NAME", help="this split only (default all)")
    parser.add_argument("--title", default="", help="words above the plot")
    parser.add_argument(
        "--published", nargs="+", default=[], metavar="ITEM", help="numbers from papers, e.g. sqgan-fig12"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.out != "-" and not args.out.lower().endswith(".png"):
        raise UsageError(f"{args.out}: plots are written as .png: end the name in it.")
    check_output(args.out)

    from chappe.bench import published
    from chappe.bench.curves import metric
    from chappe.bench.plot import gather, read_source, save_plot

    items = [published.load_item(name) for name in args.published]
    curves, top = gather([read_source(path) for path in args.files], args.metric, args.split)
    for item in items:
        found = published.curves(item.name, args.metric)
        curves += found
        if not found:
            say(f"{item.name}: the paper prints no {args.metric} with a rate. {item.note}", quiet=args.quiet)
    save_plot(args.out, curves, metric(args.metric), title=args.title, ceiling=top)
    say(f"{args.out}: {len(curves)} curves of {metric(args.metric).title}", quiet=args.quiet)
    return 0
