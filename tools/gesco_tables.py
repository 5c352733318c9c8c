"""GESCO's Tables 1, 2 and 5 and its bits, on our data with our judge.

    python tools/gesco_tables.py DATA --weights RUN/weights [--clean RUN2/weights] [--split unseen] [--limit 20]

--clean: a network of `chappe train diffusion --clean-maps`, for the ablation. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--clean", type=Path)
    parser.add_argument("--split", default="unseen")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--psnr", type=float, nargs="+", default=[1, 5, 10, 15, 20, 30, 100])
    parser.add_argument("--table", default="formula", choices=("formula", "gesco"))
    parser.add_argument("--power", default="unit", choices=("unit", "none"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    args = parser.parse_args()
    from chappe.bench import gesco
    from chappe.bench.protocol import frames
    from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
    from chappe.segment.builtin import load_judge
    from chappe.systems.diffusion.config import Sampling
    from chappe.systems.diffusion.engine import load_engine

    engine = load_engine(args.weights)[0]
    name, classes = engine.config.taxonomy, engine.config.classes

    def load(split: str, limit: int | None, every: int = 1) -> list[gesco.Scene]:
        found = frames(args.data, split, limit=limit, every=every)
        return [gesco.Scene(f.image, f.labels_in(name)) for f in found]

    scenes = load(args.split, args.limit, args.every)
    network = SqueezeLPIPS.from_file(lpips_weights_path())
    distance = lambda a, b: lpips(a, b, network)  # noqa: E731
    eye, sampling = load_judge(), Sampling(steps=args.steps, guidance=args.guidance)
    shared = {"table": args.table, "power": args.power, "sampling": sampling}
    rivals = {"one pass": gesco.one_pass_rival(), "mean colour": gesco.mean_colours(load("train", 60, 5), classes)}
    rows = [{"method": "original", **gesco.score(scenes, [s.image for s in scenes], eye, distance, classes)}]
    bits = [gesco.bits_sent(scene, classes, name) for scene in scenes]
    rows.append({"bits": {key: round(float(np.mean([b[key] for b in bits]))) for key in bits[0]}})
    rows += gesco.by_channel(scenes, engine, eye, distance, rivals=rivals, psnrs=args.psnr, **shared)
    if args.clean:
        rows += gesco.ablation(scenes, engine, load_engine(args.clean)[0], eye, distance, **shared)
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
