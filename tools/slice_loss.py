"""What lost slices, layers and relevance do to `sqgan-street`: judge mIoU and LPIPS against the share of slices lost.

    python tools/slice_loss.py [--data DIR] [--split val unseen] [--limit N] [--every N] [--bpp 0.04] [--draws 3]

Three tables a split. Slice loss: each slice is lost by itself with the given probability (seeded; a draw that loses
all keeps one), `draws` times a frame. Overhead: bytes with layers or slices against one piece, at equal map and equal
tokens (map=lossless, m_x=.3), and the judge mIoU at equal bytes. Relevance: IoU of a class, and how many of its pixels
lie in cells that keep their token, with and without raising it, at equal bytes. mIoU: 11 classes, void ignored, one
confusion matrix a table row. DIR holds camvid/ and weights/ (LPIPS).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from chappe import load
from chappe.bench.protocol import Frame, frames
from chappe.bitstream import packets
from chappe.codec import Codec, OperatingPoint
from chappe.errors import ChappeError, RateError
from chappe.metrics import confusion, miou, per_class_iou
from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
from chappe.segment.builtin import load_judge, load_segmenter
from chappe.taxonomy import get_taxonomy

VOID, CLASSES = 11, 12
LOSSES = (0.0, 0.05, 0.10, 0.20, 0.40)
FORMS = ({}, {"layers": 4}, {"layers": 8}, {"slices": 4}, {"slices": 8}, {"slices": 16})
RAISED = ("person", "sign")


class Meter:
    """Sums over the pictures of one table row."""

    def __init__(self, judge: Callable, network: SqueezeLPIPS | None):
        self.judge, self.network = judge, network
        self.matrix = np.zeros((CLASSES, CLASSES), np.int64)
        self.map = np.zeros((CLASSES, CLASSES), np.int64)
        self.distance: list[float] = []

    def add(self, frame: Frame, truth: np.ndarray, image: np.ndarray, labels: np.ndarray) -> None:
        """One decoded picture with its map, against the frame and its true labels."""
        self.matrix += confusion(self.judge(image), truth, CLASSES, ignore=VOID)
        self.map += confusion(labels, truth, CLASSES, ignore=VOID)
        if self.network is not None:
            self.distance.append(lpips(image, frame.image, self.network))

    def row(self) -> str:
        """'judge mIoU | map mIoU | LPIPS |' in per cent and plain."""
        far = f"{np.mean(self.distance):.4f}" if self.distance else "-"
        return f"{miou(self.matrix, ignore=VOID):.2%} | {miou(self.map, ignore=VOID):.2%} | {far} |"


def encode(codec: Codec, frame: Frame, labels: np.ndarray, **values) -> bytes:
    """One frame at a setting of the knobs; where that rate is above all there is to send, all of it."""
    try:
        return codec.encode(frame.image, labels=labels, point=OperatingPoint("measured", values))
    except RateError:
        all_of_it = {key: value for key, value in values.items() if key != "bpp"} | {"map": "lossless", "m_x": 1.0}
        return codec.encode(frame.image, labels=labels, point=OperatingPoint("measured", all_of_it))


def keep(count: int, loss: float, rng: np.random.Generator) -> list[int]:
    """Numbers of the slices that arrive; at least one."""
    arrived = np.flatnonzero(rng.random(count) >= loss).tolist()
    return arrived or [int(rng.integers(count))]


def slice_loss(codec, shots: Sequence, bpp: float, count: int, draws: int, meter: Callable[[], Meter]) -> None:
    """Print the table of slice losses."""
    print(f"\n| slices lost of {count} | really lost | bpp sent | judge mIoU | map mIoU | LPIPS |")
    print("|---|---|---|---|---|---|")
    files = [encode(codec, frame, labels, bpp=bpp, slices=count) for frame, _, labels in shots]
    rate = np.mean([len(blob) * 8 / truth.size for blob, (_, truth, _) in zip(files, shots, strict=True)])
    blobs = [packets.split(blob) for blob in files]
    for loss in LOSSES:
        rng, row, lost = np.random.default_rng([1794, round(100 * loss)]), meter(), []
        for sent, (frame, truth, _) in zip(blobs, shots, strict=True):
            for _ in range(draws if loss else 1):
                arrived = keep(count, loss, rng)
                lost.append(1 - len(arrived) / count)
                out = codec.decode(packets.join([sent[k] for k in arrived]))
                row.add(frame, truth, out.image, out.labels)
        print(f"| {loss:.0%} | {np.mean(lost):.1%} | {rate:.4f} | {row.row()}", flush=True)


def overhead(codec, shots: Sequence, bpp: float, meter: Callable[[], Meter]) -> None:
    """Print what layers and slices cost."""
    print("\n| form | bytes, equal symbols | against one piece | bpp | judge mIoU | map mIoU | LPIPS |")
    print("|---|---|---|---|---|---|---|")
    base = None
    for form in FORMS:
        row, sizes, rates = meter(), [], []
        for frame, truth, labels in shots:
            sizes.append(len(encode(codec, frame, labels, map="lossless", m_x=0.3, **form)))
            blob = encode(codec, frame, labels, bpp=bpp, **form)
            rates.append(len(blob) * 8 / truth.size)
            out = codec.decode(blob)
            row.add(frame, truth, out.image, out.labels)
        size = float(np.mean(sizes))
        base = base or size
        name = ", ".join(f"{value} {key}" for key, value in form.items()) or "one piece"
        print(f"| {name} | {size:.0f} | {size / base - 1:+.1%} | {np.mean(rates):.4f} | {row.row()}", flush=True)


def steering(codec, shots: Sequence, bpp: float, meter: Callable[[], Meter]) -> None:
    """Print what raising a class does to it."""
    table = get_taxonomy("street11")
    print("\n| relevance | class | bpp | its IoU, judge | IoU, map | share kept | judge mIoU | map mIoU | LPIPS |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in RAISED:
        (label,) = table.find(name)
        for profile in ("uniform", f"{name}=1"):
            row, rates, kept, cells = meter(), [], 0, 0
            for frame, truth, labels in shots:
                blob = encode(codec, frame, labels, bpp=bpp, relevance=profile)
                out = codec.decode(blob)
                row.add(frame, truth, out.image, out.labels)
                rates.append(len(blob) * 8 / truth.size)
                mask = codec.kept_tokens(blob)
                there = np.kron(mask, np.ones((16, 16), bool))[: truth.shape[0], : truth.shape[1]]
                kept, cells = kept + int((there & (truth == label)).sum()), cells + int((truth == label).sum())
            scores = [per_class_iou(matrix)[label] for matrix in (row.matrix, row.map)]
            print(
                f"| {profile} | {table.classes[label]} | {np.mean(rates):.4f} | {scores[0]:.2%} | {scores[1]:.2%} "
                f"| {kept / max(1, cells):.0%} | {row.row()}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CHAPPE_DATA", ".")), help="holds camvid/")
    parser.add_argument("--split", nargs="+", default=["val", "unseen"])
    parser.add_argument("--codec", default="sqgan-street")
    parser.add_argument("--bpp", type=float, default=0.04)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--true-labels", action="store_true", help="send the true labels, not the segmenter's")
    parser.add_argument("--tables", nargs="+", default=["loss", "overhead", "relevance"])
    args = parser.parse_args()
    try:
        network = SqueezeLPIPS.from_file(lpips_weights_path())
    except ChappeError as error:
        print(f"no LPIPS: {error}")
        network = None
    codec, judge, segmenter = load(args.codec), load_judge(), load_segmenter()

    def meter() -> Meter:
        return Meter(judge, network)

    for split in args.split:
        shots = []
        for frame in frames(args.data / "camvid", split, limit=args.limit, every=args.every):
            truth = frame.labels_in("street11")
            shots.append((frame, truth, truth if args.true_labels else segmenter(frame.image)))
        print(f"\n{split}: {len(shots)} frames at {args.bpp} bpp, {args.codec}")
        if "loss" in args.tables:
            slice_loss(codec, shots, args.bpp, args.slices, args.draws, meter)
        if "overhead" in args.tables:
            overhead(codec, shots, args.bpp, meter)
        if "relevance" in args.tables:
            steering(codec, shots, args.bpp, meter)


if __name__ == "__main__":
    main()
