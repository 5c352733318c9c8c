"""Learn a label-map prior from CamVid train without sequence 0001TP (the unseen split), and write it.

    python tools/train_map_prior.py street11 | street11-cells [--data DIR] [--out FILE]

DIR holds camvid/ (default: $CHAPPE_DATA). The maps are the street protocol's (middle 240 rows of 480x360). `street11`
is for exact maps: true labels as they are and, for the coarser tables, reduced. `street11-cells` is for what senders
send: the built-in segmenter's maps and the true ones, reduced by the near-lossless encoder with the codecs' own
weights, and their mirror images, 3 to 6 times; one table serves all scales. Takes one to two minutes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

from chappe.bench.protocol import frames
from chappe.bitstream.labelmap_engine import State, encode_mixed
from chappe.bitstream.labelmap_prior import NAMES, pack_prior, pack_table
from chappe.bitstream.labelmap_simplify import simplify
from chappe.segment.builtin import load_segmenter
from chappe.systems.spic.config import CODEC_DEFAULTS

CLASSES = 12
# scale: (slots kept, learning rate of the weights once learned, its excess at first)
TABLES = {1: (32000, 20, 200), 2: (14000, 20, 200), 3: (10000, 20, 200), 4: (9000, 20, 200), 8: (7000, 20, 200)}
SLOPES = {1: (0.0,), 2: (0.5, 1.0), 3: (0.5, 1.0), 4: (0.5, 1.0), 8: (1.0, 2.0)}
CELL_SLOPES = {3: (0.5, 1.0), 4: (0.5, 1.0), 5: (0.7, 1.5), 6: (1.0, 2.0)}
CELL_SLOTS, CELL_GRAIN = 140_000, 5
ROOT = Path(__file__).resolve().parents[1]


def training_stems(camvid: Path) -> list[str]:
    """Stems of train.txt without the unseen sequence and without anything of val."""
    val = {Path(line.split()[0]).stem for line in (camvid / "val.txt").read_text().splitlines() if line.strip()}
    stems = [Path(line.split()[0]).stem for line in (camvid / "train.txt").read_text().splitlines() if line.strip()]
    return [s for s in stems if not s.startswith("0001TP") and s not in val]


def training_maps(camvid: Path, scale: int) -> list[np.ndarray]:
    """Maps for one table: the 240x480 source for scale 1, reduced 256x512 maps and their mirror images above."""
    maps = []
    for stem in training_stems(camvid):
        image = Image.open(camvid / "train" / "labels" / f"{stem}.png").crop((0, 60, 480, 300))
        if scale == 1:
            maps.append(np.array(image))
            continue
        labels = np.array(image.resize((512, 256), Image.Resampling.NEAREST))
        for slope in SLOPES[scale]:
            cells = simplify(labels, CLASSES, scale, slope, np.ones(CLASSES))
            maps += [cells, np.ascontiguousarray(cells[:, ::-1])]
    order = np.random.default_rng(20).permutation(len(maps))
    return [maps[i] for i in order]


def exact_tables(camvid: Path) -> list[bytes]:
    """The tables of `street11`."""
    packed = []
    for scale, (slots, rate, rate_first) in TABLES.items():
        state = learnt(training_maps(camvid, scale), f"scale {scale}")
        packed.append(pack_table(scale, state, slots=slots, count_cap=20, seen_cap=500, rates=(rate, rate_first)))
    return packed


def cell_tables(camvid: Path) -> list[bytes]:
    """The one table of `street11-cells`."""
    segment, weights, maps = load_segmenter(), np.array(CODEC_DEFAULTS["protect"], float), []
    for frame in frames(camvid, "train"):
        for labels in (segment(frame.image), frame.labels_in("street11").astype(np.uint8)):
            for scale, slopes in CELL_SLOPES.items():
                for slope in slopes:
                    cells = simplify(labels, CLASSES, scale, slope, weights)
                    maps += [cells, np.ascontiguousarray(cells[:, ::-1])]
    order = np.random.default_rng(0).permutation(len(maps))
    state = learnt([maps[i] for i in order], "cells")
    return [pack_table(1, state, slots=CELL_SLOTS, count_cap=20, seen_cap=500, rates=(20, 200), grain=CELL_GRAIN)]


def learnt(maps: list[np.ndarray], name: str) -> State:
    """The coder's state after coding the maps one after the other."""
    state, size = State.cold(), 0
    for labels in maps:
        size += len(encode_mixed(labels, CLASSES, state, 4 * labels.size + 64))
    print(f"{name}: {len(maps)} maps, {size / len(maps):.1f} bytes a map while learning")
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES.values())
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")))
    parser.add_argument("--out", type=Path, help="file (default: the shipped one)")
    args = parser.parse_args()
    number = next(n for n, name in NAMES.items() if name == args.name)
    tables = exact_tables if args.name == "street11" else cell_tables
    data = pack_prior(number, 11, 12, tables(args.data / "camvid"))
    out = args.out or ROOT / f"src/chappe/bitstream/priors/{args.name}.bin"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    print(f"{out}: {len(data)} bytes")


if __name__ == "__main__":
    main()
