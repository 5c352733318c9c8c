"""GESCO's tables with networks of your own: `chappe evaluate --reproduce` takes the bundled one.

    python tools/gesco_tables.py DATA --weights RUN/weights [--clean RUN2/weights] [--table 1 2 5 fig3] [--split unseen]

--clean: a network of `chappe train diffusion --clean-maps`, for the ablation of Table 5. --detector, --depth: folders
of `transformers` models (DETR, DPT) for Fig. 3; without a detector the judge's connected components serve.
"""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--weights", help="model folder (default: the bundled one)")
    parser.add_argument("--clean", help="model folder")
    parser.add_argument("--table", nargs="+", default=["1", "2", "3", "5"], choices=[*"12345", "fig3"])
    parser.add_argument("--detector", help="model folder")
    parser.add_argument("--depth", help="model folder")
    parser.add_argument("--split", default="unseen")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    from chappe.bench.protocol import frames
    from chappe.bench.published import load_item
    from chappe.bench.reproduce import format_lines
    from chappe.bench.reproduce_gesco import NAMES, GescoBench
    from chappe.tasks import Depth, load_transformers_depth, load_transformers_detector

    pictures = frames(args.data, args.split, limit=args.limit, every=args.every)
    detector = args.detector and load_transformers_detector(args.detector)
    depth = args.depth and Depth(load_transformers_depth(args.depth), relative=True)
    networks = {"weights": args.weights, "clean": args.clean, "detector": detector, "depth": depth}
    bench = GescoBench(pictures, args.data, **networks)
    for name in args.table:
        item = load_item(f"gesco-{'' if name == 'fig3' else 'table'}{name}")
        where = f"{args.data}, {args.split}, {len(pictures)} pictures; true labels sent"
        print(format_lines(item, NAMES[item.name](item, bench), where), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
