"""GESCO's tables with networks of your own: `chappe evaluate --reproduce` takes the bundled one.

    python tools/gesco_tables.py DATA --weights RUN/weights [--clean RUN2/weights] [--table 1 2 5] [--split unseen]

--clean: a network of `chappe train diffusion --clean-maps`, for the ablation of Table 5.
"""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--weights", help="model folder (default: the bundled one)")
    parser.add_argument("--clean", help="model folder")
    parser.add_argument("--table", type=int, nargs="+", default=[1, 2, 3, 5], choices=range(1, 6))
    parser.add_argument("--split", default="unseen")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    from chappe.bench.protocol import frames
    from chappe.bench.published import load_item
    from chappe.bench.reproduce import format_lines
    from chappe.bench.reproduce_gesco import NAMES, GescoBench

    pictures = frames(args.data, args.split, limit=args.limit, every=args.every)
    bench = GescoBench(pictures, args.data, weights=args.weights, clean=args.clean)
    for number in args.table:
        item = load_item(f"gesco-table{number}")
        where = f"{args.data}, {args.split}, {len(pictures)} pictures; true labels sent"
        print(format_lines(item, NAMES[item.name](item, bench), where), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
