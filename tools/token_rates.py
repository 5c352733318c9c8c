"""Bytes of sqgan-street's tokens: nominal rate, plain and mixed token code, base layers, layers and slices.

    python tools/token_rates.py [--data DIR] [--splits val,unseen] [--every N] [--fractions .1,.2,...] [--model NAME]

DIR holds camvid/ (default: $CHAPPE_DATA). Maps are the segmenter's, and map mIoU is against them, over the classes
without void. "file" is header, map section and image section with their framing, at m_x = m_s = m, and per cent are
those of eq. (2)'s nominal rate, K (1 + m log2 J) bits a stream. ms are of processor time. Base layers: the G_s tokens
(plain and mixed; the picture's tokens are then coded without the map, which networks on two machines may draw
differently) and the near-lossless map of the coarsest rung whose mIoU over the split is no lower than the G_s tokens'.
--codebook prints only how evenly the codes are used: the perplexity of the tokens sent, in per cent of J.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

import chappe
from chappe.bench.protocol import frames
from chappe.bitstream import container, tokenmix
from chappe.bitstream.labelmap_near import Ladder, decode_near
from chappe.bitstream.labelmap_prior import CELLS, shipped
from chappe.bitstream.slices import owners, strip
from chappe.bitstream.tokens import encode_grid
from chappe.metrics.semantic import confusion, miou
from chappe.nn.tiling import pad_to_cells

RUNGS = (
    (1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 0.7), (6, 1.0), (8, 2.0), (10, 2.0), (12, 3.0), (16, 4.0), (24, 20.0),
    (31, 50.0), (31, 400.0),
)  # fmt: skip
SHARES = (0.1, 0.2, 0.4, 1.0)  # of the tokens, sent by the end of each layer
SLICES = 8


class Split:
    """Sums over the frames of one split."""

    def __init__(self, codec, fractions: list[float]) -> None:
        self.codec, self.fractions, self.count = codec, fractions, 0
        self.totals: dict[tuple, float] = {}
        self.matrices: dict[tuple, np.ndarray] = {}
        self.used: dict[tuple, np.ndarray] = {}

    def add(self, key: tuple, value: float) -> None:
        self.totals[key] = self.totals.get(key, 0.0) + value

    def mean(self, *key) -> float:
        return self.totals[key] / self.count

    def judge(self, key: tuple, found: np.ndarray, labels: np.ndarray) -> None:
        matrix = confusion(found, labels, self.codec.classes, self.codec.classes - 1)
        self.matrices[key] = self.matrices.get(key, 0) + matrix

    def miou(self, *key) -> float:
        return miou(self.matrices[key], self.codec.classes - 1)

    def codebook(self, image: np.ndarray, labels: np.ndarray) -> dict:
        """Count the codes of the tokens that each fraction sends; the analysis of both streams."""
        engine, padded = self.codec.engine, pad_to_cells(labels)
        found = {"image": engine.analyse_image(pad_to_cells(image), padded), "map": engine.analyse_map(padded)}
        for which, analysis in found.items():
            for m in self.fractions:
                _, indices = analysis.best(max(1, int(m * analysis.scores.size)))
                hits = np.bincount(indices, minlength=self.codec.levels[which])
                self.used[which, m] = self.used.get((which, m), 0) + hits
        return found

    def frame(self, image: np.ndarray) -> None:
        """Measure one picture."""
        codec, labels = self.codec, self.codec.segment(image)
        self.count += 1
        found = self.codebook(image, labels)
        options = {"prior": shipped(codec.taxonomy + CELLS), "protect": codec.settings.get("protect")}
        ladder, maps = Ladder(labels, codec.classes, **options), {}
        for rung in RUNGS:
            code = ladder.point(*rung)
            near = decode_near(code, labels.shape, codec.classes)
            self.judge(("near", rung), near, labels)
            self.add(("near", rung), len(code))
            maps[rung] = tokenmix.cell_classes(near)
        for m in self.fractions:
            for which, analysis in found.items():
                self._tokens(which, analysis, m, maps)
            mask, indices = found["map"].best(max(1, int(m * found["map"].scores.size)))
            drawn = codec.engine.restore_map(mask, indices)[: labels.shape[0], : labels.shape[1]]
            self.judge(("tokens", m), drawn, labels)

    def _tokens(self, which: str, analysis, m: float, maps: dict) -> None:
        codec, prior = self.codec, self.codec.token_priors[which]
        levels = codec.levels[which]
        mask, indices = analysis.best(max(1, int(m * analysis.scores.size)))
        self.add((which, m, "nominal"), (mask.size + len(indices) * np.log2(levels)) / 8)
        self.add((which, m, "plain"), len(encode_grid(mask, indices, levels, codec.priors.get(which))))
        self.add((which, m, "blind"), len(tokenmix.encode_tokens(mask, indices, levels, prior=prior)))
        if which == "map":
            return
        for rung, classes in maps.items():
            positions, symbols = tokenmix.cost(mask, indices, levels, classes=classes, prior=prior)
            for name, bits in (("positions", positions), ("indices", symbols)):
                self.add((which, m, name, rung), bits / 8)
        classes = maps[RUNGS[2]]
        start = time.thread_time()
        data = tokenmix.encode_tokens(mask, indices, levels, classes=classes, prior=prior)
        middle = time.thread_time()
        again = tokenmix.decode_tokens(data, mask.shape, levels, classes=classes, prior=prior)
        assert np.array_equal(again[0], mask) and np.array_equal(again[1], indices)
        self.add((which, m, "encode ms"), 1e3 * (middle - start))
        self.add((which, m, "decode ms"), 1e3 * (time.thread_time() - middle))
        self.add((which, m, "one"), container.section_size(len(data)))
        self.add((which, m, "layers"), self._layers(analysis, len(indices), classes))
        self.add((which, m, "slices"), self._slices(mask, analysis.indices, classes))

    def _layers(self, analysis, count: int, classes: np.ndarray) -> float:
        """Bytes of a section for each layer, best tokens first."""
        known, size = np.full(analysis.scores.shape, -1, np.int32), 0
        for share in SHARES:
            upto = analysis.best(max(1, int(count * share)))[0]
            mask = upto & (known < 0)
            data = tokenmix.encode_tokens(
                mask, analysis.indices[mask], self.codec.levels["image"], classes=classes, candidates=known < 0,
                known=known, prior=self.codec.token_priors["image"],
            )  # fmt: skip
            size += container.section_size(len(data))
            known[mask] = analysis.indices[mask]
        return size

    def _slices(self, mask: np.ndarray, grid: np.ndarray, classes: np.ndarray) -> float:
        """Bytes of eight sections with interleaved cells, each knowing a strip of the map."""
        size, owner = 0, owners(*mask.shape, SLICES)
        for number in range(SLICES):
            seen = np.full_like(classes, tokenmix.UNKNOWN)
            rows = strip(number, SLICES, len(classes))
            seen[rows] = classes[rows]
            part = mask & (owner == number)
            data = tokenmix.encode_tokens(
                part, grid[part], self.codec.levels["image"], classes=seen, candidates=owner == number,
                prior=self.codec.token_priors["image"],
            )  # fmt: skip
            size += container.section_size(len(data))
        return size

    def report(self, name: str) -> None:
        """Print the tables of the split."""
        print(f"\n{name}, {self.count} frames: bytes a frame; G_s tokens as base layer")
        print("   m nominal | plain map image  file    % | mixed map image  file    %")
        for m in self.fractions:
            row = f"{m:4.2f} {self.nominal(m):7.0f} "
            for kind in ("plain", "blind"):
                parts = [self.mean(which, m, kind) for which in ("map", "image")]
                row += f"| {parts[0]:9.0f} {parts[1]:5.0f} {self.share(m, parts)} "
            print(row)
        print(f"\n{name}: near-lossless map of at least the mIoU of the G_s tokens as base layer")
        print("   m  mIoU G_s  near | rung      near | image positions indices bits/token |  file    %")
        for m in self.fractions:
            rung = next((r for r in reversed(RUNGS) if self.miou("near", r) >= self.miou("tokens", m)), RUNGS[0])
            near, cells, symbols = (
                self.mean(*key)
                for key in (("near", rung), ("image", m, "positions", rung), ("image", m, "indices", rung))
            )
            print(
                f"{m:4.2f} {self.miou('tokens', m):9.3f} {self.miou('near', rung):5.3f} | {rung!s:9} {near:4.0f} "
                f"| {cells + symbols:5.0f} {cells:9.1f} {symbols:7.1f} {symbols * 8 / max(1, int(m * 512)):10.2f} "
                f"| {self.share(m, [near, cells + symbols + 0.5])}"
            )
        print(f"\n{name}: image section with the near map of rung {RUNGS[2]}; % of a file with that map")
        print(f"   m encode ms decode ms | one section  {len(SHARES)} layers    %  {SLICES} slices    %")
        for m in self.fractions:
            one, layers, pieces = (self.mean("image", m, key) for key in ("one", "layers", "slices"))
            file = container.header_size(512, 256) + container.section_size(round(self.mean("near", RUNGS[2]))) + one
            times = [self.mean("image", m, f"{way} ms") for way in ("encode", "decode")]
            print(
                f"{m:4.2f} {times[0]:9.1f} {times[1]:9.1f} | {one:11.0f} {layers:9.0f} "
                f"{100 * (layers - one) / file:+4.0f} {pieces:9.0f} {100 * (pieces - one) / file:+4.0f}"
            )
        self.report_codebook(name)

    def report_codebook(self, name: str) -> None:
        """Print how evenly the codes are used."""
        print(f"\n{name}: perplexity of the tokens sent, exp of the entropy of their histogram (few tokens: too low)")
        print("   m | map tokens perplexity  % of J | image tokens perplexity  % of J")
        for m in self.fractions:
            row = f"{m:4.2f} "
            for which, width in (("map", 10), ("image", 12)):
                counts = self.used[which, m]
                p = counts[counts > 0] / counts.sum()
                spread = float(np.exp(-(p * np.log(p)).sum()))
                row += f"| {counts.sum():{width}d} {spread:10.0f} {100 * spread / len(counts):7.0f} "
            print(row)

    def nominal(self, m: float) -> float:
        return self.mean("map", m, "nominal") + self.mean("image", m, "nominal")

    def share(self, m: float, payloads: list[float]) -> str:
        """Bytes of the file of two sections, and per cent of the nominal rate."""
        file = container.header_size(512, 256) + sum(container.section_size(round(size)) for size in payloads)
        return f"{file:5.0f} {100 * file / self.nominal(m):4.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")))
    parser.add_argument("--splits", default="val,unseen")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--fractions", default="0.05,0.1,0.2,0.35,0.55,0.8,1")
    parser.add_argument("--model", default="sqgan-street")
    parser.add_argument("--codebook", action="store_true", help="only how evenly the codes are used")
    args = parser.parse_args()
    codec = chappe.load(args.model)
    for name in args.splits.split(","):
        split = Split(codec, [float(m) for m in args.fractions.split(",")])
        for frame in frames(args.data / "camvid", name, every=args.every):
            if args.codebook:
                split.codebook(frame.image, codec.segment(frame.image))
            else:
                split.frame(frame.image)
        (split.report_codebook if args.codebook else split.report)(name)


if __name__ == "__main__":
    main()
