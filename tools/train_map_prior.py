"""Learn the label-map prior `street11` from CamVid train without sequence 0001TP (the unseen split), and write it.

    python tools/train_map_prior.py [--data DIR] [--out FILE]

DIR holds camvid/ (default: $CHAPPE_DATA). The maps are the street protocol's (middle 240 rows of
480x360): as they are and, for the coarser tables, reduced by the near-lossless encoder. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

from chappe.bitstream.labelmap_engine import State, encode_mixed
from chappe.bitstream.labelmap_prior import pack_prior, pack_table
from chappe.bitstream.labelmap_simplify import simplify

CLASSES = 12
# scale: (slots kept, learning rate of the weights once learned, its excess at first)
TABLES = {1: (32000, 20, 200), 2: (14000, 20, 200), 3: (10000, 20, 200), 4: (9000, 20, 200), 8: (7000, 20, 200)}
SLOPES = {1: (0.0,), 2: (0.5, 1.0), 3: (0.5, 1.0), 4: (0.5, 1.0), 8: (1.0, 2.0)}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")))
    parser.add_argument("--out", type=Path, default=ROOT / "src/chappe/bitstream/priors/street11.bin")
    args = parser.parse_args()
    packed = []
    for scale, (slots, rate, rate_first) in TABLES.items():
        state, size = State.cold(), 0
        maps = training_maps(args.data / "camvid", scale)
        for labels in maps:
            size += len(encode_mixed(labels, CLASSES, state, 4 * labels.size + 64))
        packed.append(pack_table(scale, state, slots=slots, count_cap=20, seen_cap=500, rates=(rate, rate_first)))
        print(f"scale {scale}: {len(maps)} maps, {size / len(maps):.1f} bytes a map while learning")
    data = pack_prior(1, 11, 12, packed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(data)
    print(f"{args.out}: {len(data)} bytes")


if __name__ == "__main__":
    main()
