"""Which base layer: tokens of G_s, the near-lossless map, or tokens with a map of corrections on top?

    python tools/map_layers.py [--data DIR] [--splits unseen] [--every 2] [--fractions .05,.1,.2,.35]

DIR holds camvid/ (default: $CHAPPE_DATA). Maps are the segmenter's, and mIoU is against them. Corrections are a label
map whose class "void" says "as the tokens have it", through the near-lossless coder: what is not worth its bytes there
stays as the tokens drew it. All near-lossless maps are coded cold here, for corrections have no trained prior (the
codecs' own maps have one and take a tenth less). Bytes are payloads, means over the split; all rungs of the ladder are
tried. The second table has what each base layer needs for the same mIoU, between neighbouring points in proportion;
"both" is the best fraction of the tokens, found afterwards, which favours it. The last has what the trained prior
saves: the same maps, rung by rung.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

import chappe
from chappe.bench.protocol import frames
from chappe.bitstream.labelmap_near import LADDER, Ladder, decode_near
from chappe.metrics.semantic import confusion, miou
from chappe.nn.tiling import pad_to_cells

PRIOR = "street11-cells"
Curve = list[tuple[float, float]]  # (bytes, mIoU), by bytes


class Sums:
    """Bytes and confusion matrices of each way to send a map, over the frames."""

    def __init__(self, void: int):
        self.void, self.count = void, 0
        self.size: dict[tuple, float] = {}
        self.matrix: dict[tuple, np.ndarray] = {}

    def add(self, key: tuple, size: int, found: np.ndarray, labels: np.ndarray) -> None:
        self.size[key] = self.size.get(key, 0.0) + size
        self.matrix[key] = self.matrix.get(key, 0) + confusion(found, labels, self.void + 1, self.void)

    def point(self, key: tuple) -> tuple[float, float]:
        return self.size[key] / self.count, miou(self.matrix[key], self.void)

    def curve(self, *first) -> Curve:
        """The points whose keys begin with `first`, without those that another one beats."""
        kept: Curve = []
        for size, value in sorted(self.point(key) for key in self.size if key[: len(first)] == first):
            if not kept or value > kept[-1][1]:
                kept.append((size, value))
        return kept


def needed(curve: Curve, value: float) -> float:
    """Bytes for an mIoU; nan beyond the curve."""
    sizes, values = np.array(curve).T
    return float(np.interp(value, values, sizes, left=np.nan, right=np.nan))


def frame(sums: Sums, codec, labels: np.ndarray, fractions: list[float]) -> None:
    """Every way to send one map."""
    void, protect = sums.void, codec.settings.get("protect")
    sums.count += 1
    ladder = Ladder(labels, codec.classes, protect=protect)
    primed = Ladder(labels, codec.classes, prior=PRIOR, protect=protect)
    for rung in LADDER:
        code = ladder.point(*rung)
        found = decode_near(code, labels.shape, codec.classes)
        sums.add(("near", rung), len(code), found, labels)
        sums.add(("primed", rung), len(primed.point(*rung)), found, labels)
    for m in fractions:
        section = codec.map_tokens(pad_to_cells(labels), m, None)
        shape = tuple(side // 16 for side in pad_to_cells(labels).shape)
        mask, indices = codec.read_tokens(section.payload, shape, "map")
        drawn = codec.engine.restore_map(mask, indices)[: labels.shape[0], : labels.shape[1]]
        sums.add(("tokens", m), len(section.payload), drawn, labels)
        wanted = np.where(drawn == labels, void, labels).astype(np.uint8)
        weights = [*(protect or [1] * void)[:void], 1]  # a pixel that is right already may not be spoilt for nothing
        above = Ladder(wanted, codec.classes, protect=weights)
        for rung in LADDER:
            code = above.point(*rung)
            found = decode_near(code, labels.shape, codec.classes)
            size = len(section.payload) + len(code)
            sums.add(("both", m, rung), size, np.where(found == void, drawn, found), labels)


def report(name: str, sums: Sums, fractions: list[float]) -> None:
    """Print the tables."""
    near, tokens = sums.curve("near"), sums.curve("tokens")
    print(f"\n{name}, {sums.count} maps\n\n| tokens | bytes | mIoU % | near-lossless map of that mIoU |")
    print("|---|---|---|---|")
    for m in fractions:
        size, value = sums.point(("tokens", m))
        print(f"| {m:.0%} | {size:.0f} | {100 * value:.1f} | {needed(near, value):.0f} |")
    print("\n| mIoU % | near-lossless | tokens | both |\n|---|---|---|---|")
    for value in (0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
        both = [(needed(sums.curve("both", m), value), m) for m in fractions]
        size, m = min(((size, m) for size, m in both if size == size), default=(np.nan, 0))
        with_tokens = f"{size:.0f} ({m:.0%} of the tokens)" if size == size else "–"
        row = [f"{needed(curve, value):.0f}".replace("nan", "–") for curve in (near, tokens)]
        print(f"| {100 * value:.0f} | {' | '.join(row)} | {with_tokens} |")
    print("\n| scale, slope | mIoU % | cold | with the prior | less |\n|---|---|---|---|---|")
    for rung in LADDER[:-1]:
        (size, value), (less, _) = sums.point(("near", rung)), sums.point(("primed", rung))
        print(f"| {rung[0]}, {rung[1]:g} | {100 * value:.1f} | {size:.0f} | {less:.0f} | {1 - less / size:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")))
    parser.add_argument("--splits", default="unseen")
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--fractions", default="0.05,0.1,0.2,0.35")
    args = parser.parse_args()
    codec, fractions = chappe.load("sqgan-street"), [float(m) for m in args.fractions.split(",")]
    for name in args.splits.split(","):
        sums = Sums(codec.classes - 1)
        for shot in frames(args.data / "camvid", name, every=args.every):
            frame(sums, codec, codec.segment(shot.image), fractions)
        report(name, sums, fractions)


if __name__ == "__main__":
    main()
