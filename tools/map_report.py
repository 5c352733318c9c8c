"""Label-map coding on CamVid val, street protocol (middle 240 rows of 480x360, to 512x256 by nearest).

    python tools/map_report.py [--data DIR] [--every N] [--native]

Prints bytes and bpp of the lossless coders with times, and bytes, bpp, pixel agreement and mIoU (11 classes, void
ignored, one confusion matrix over all maps) of the near-lossless levels and byte budgets. Times are medians of
processor time. --native: the 480x240 maps before enlargement. JPEG XL needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

from chappe.bitstream.labelmap import decode_map, encode_map
from chappe.bitstream.labelmap_engine import engine_name
from chappe.bitstream.labelmap_near import LEVELS, decode_near, encode_near
from chappe.errors import MissingDependency

CLASSES, VOID = 12, 11
PRIOR = "street11"
PROTECT = (1, 1, 2, 1, 1, 1, 2, 1.5, 1.5, 2, 2, 0)  # thin and rare classes, and void of no weight
EVEN = (1,) * 11 + (0,)


def load_maps(camvid: Path, every: int, native: bool) -> list[np.ndarray]:
    """Every `every`-th val map: (256, 512), or (240, 480) if native."""
    stems = [Path(line.split()[0]).stem for line in (camvid / "val.txt").read_text().splitlines() if line.strip()]
    maps = []
    for stem in stems[::every]:
        image = Image.open(camvid / "val" / "labels" / f"{stem}.png").crop((0, 60, 480, 300))
        maps.append(np.array(image if native else image.resize((512, 256), Image.Resampling.NEAREST)))
    return maps


def jxl(labels: np.ndarray) -> bytes:
    """JPEG XL, lossless, effort 9, bare codestream."""
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingDependency("JPEG XL needs imagecodecs: install chappe[bench]") from error
    data = imagecodecs.jpegxl_encode(labels, lossless=True, effort=9, usecontainer=False)
    if not np.array_equal(imagecodecs.jpegxl_decode(data).reshape(labels.shape), labels):
        raise AssertionError("JPEG XL was not lossless")
    return data


def png(labels: np.ndarray) -> bytes:
    """PNG with four bits a pixel, Pillow's best effort."""
    image, out = Image.fromarray(labels, "P"), io.BytesIO()
    image.putpalette([v for v in range(16) for _ in range(3)])
    image.save(out, "PNG", optimize=True, bits=4)
    return out.getvalue()


def lossless(maps: list[np.ndarray]) -> None:
    """Print the table of the lossless coders."""
    pixels = maps[0].size
    start = time.perf_counter()
    first = encode_map(maps[0], CLASSES)
    print(f"engine {engine_name()}, first call {time.perf_counter() - start:.2f} s, {len(first)} bytes")
    decode_map(first, maps[0].shape, CLASSES)
    encode_map(maps[0], CLASSES, prior=PRIOR)
    reference = np.mean([len(jxl(m)) for m in maps])
    print("| lossless | bytes | bpp | against JPEG XL e9 | encode ms | decode ms |\n|---|---|---|---|---|---|")
    for name, prior in (("ours, cold", None), ("ours, street11", PRIOR)):
        sizes, coding, decoding = [], [], []
        for labels in maps:
            start = time.process_time()
            data = encode_map(labels, CLASSES, prior=prior)
            coding.append(time.process_time() - start)
            start = time.process_time()
            back = decode_map(data, labels.shape, CLASSES, prior=prior)
            decoding.append(time.process_time() - start)
            if not np.array_equal(back, labels):
                raise AssertionError("our label map was not lossless")
            sizes.append(len(data))
        size, ms = np.mean(sizes), [f"{np.median(t) * 1e3:.0f}" for t in (coding, decoding)]
        print(f"| {name} | {size:.0f} | {size * 8 / pixels:.4f} | {size / reference - 1:+.1%} | {ms[0]} | {ms[1]} |")
    for name, size in (("JPEG XL e9", reference), ("PNG, 4 bits", np.mean([len(png(m)) for m in maps]))):
        print(f"| {name} | {size:.0f} | {size * 8 / pixels:.4f} | {size / reference - 1:+.1%} | | |")


def near(maps: list[np.ndarray]) -> None:
    """Print the table of the near-lossless points."""
    print("\n| near-lossless | bytes | bpp | max bytes | agreement | all pixels | mIoU | encode ms | decode ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    points = [(f"level {i}", {"level": i}) for i in range(len(LEVELS))]
    points += [(f"budget {b} B", {"max_bytes": b}) for b in (573, 262, 164, 98)]
    for name, arguments in points:
        for kind, protect, prior in (("", PROTECT, None), (", unweighted", EVEN, None), (f", {PRIOR}", PROTECT, PRIOR)):
            confusion = np.zeros((CLASSES, CLASSES), np.int64)
            sizes, coding, decoding = [], [], []
            for labels in maps:
                start = time.process_time()
                data = encode_near(labels, CLASSES, prior=prior, protect=protect, **arguments)
                coding.append(time.process_time() - start)
                start = time.process_time()
                back = decode_near(data, labels.shape, CLASSES)
                decoding.append(time.process_time() - start)
                pairs = labels.ravel().astype(np.int64) * CLASSES + back.ravel()
                confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
                sizes.append(len(data))
            known = confusion[:VOID]  # void ignored: rows of true classes, all columns
            hits = np.diag(known)
            union = known.sum(axis=1) + known[:, :VOID].sum(axis=0) - hits
            print(
                f"| {name}{kind} | {np.mean(sizes):.0f} | {np.mean(sizes) * 8 / maps[0].size:.4f} | {max(sizes)} "
                f"| {hits.sum() / known.sum():.2%} | {np.trace(confusion) / confusion.sum():.2%} "
                f"| {np.mean(hits / union):.2%} | {np.median(coding) * 1e3:.0f} | {np.median(decoding) * 1e3:.0f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")), help="holds camvid/")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--native", action="store_true")
    args = parser.parse_args()
    maps = load_maps(args.data / "camvid", args.every, args.native)
    print(f"{len(maps)} val maps of {maps[0].shape[0]} x {maps[0].shape[1]}")
    lossless(maps)
    near(maps)


if __name__ == "__main__":
    main()
