"""RL-ASC's figures: who gets the bits, whether the agent beats its rivals, and what noise does to a file.

    chappe evaluate CamVid --split val unseen --codecs rlasc-street hevc --features \\
        --bpp 0.02,allocator=agent 0.04,allocator=agent 0.02,allocator=uniform ... --out rows
    python tools/rlasc_figures.py curves rows/rows.jsonl --base rlasc-street,allocator=agent
    python tools/rlasc_figures.py allocation DATA -o allocation.png [--split val] [--frames 3] [--bpp 0.04]
    python tools/rlasc_figures.py awgn DATA [--split val] [--every 10] [--bpp 0.08]

`curves`: BD-rate of one curve against the others at equal judge mIoU, LPIPS and 1 - mIoU + LPIPS (the sum of RL-ASC's
Fig. 9, weights 1 and 1), with 95 % intervals over pictures; and Fig. 9's own terms at each point. A curve is a codec
with its settings, its points the rates. `awgn`: the paper's Fig. 12 by SNR: uncoded QPSK with the map protected and
not, and the same file through 5G LDPC of rate 1/2. mAP is of the connected components of cars, people and cyclists
that the judge sees, IoU 0.5, held against those it sees in the original, as the paper's detector is.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chappe.bench.protocol import frames
from chappe.bench.table import class_iou, drawn_counts, load_rows, mean_iou
from chappe.codec import OperatingPoint, describe, load
from chappe.errors import ChappeError, InputError
from chappe.files import atomic_write_bytes
from chappe.metrics import confusion, miou
from chappe.metrics.bd import bd_rate, undominated
from chappe.metrics.detection import mean_average_precision
from chappe.tasks import ComponentDetector, Detection
from chappe.taxonomy import get_taxonomy, relevance

NAME, VOID, CLASSES = "rlasc-street", 11, 12
GREY = 128  # of a picture that was lost


@dataclass(frozen=True, eq=False)
class Pointed:
    """One point of a curve: rate, judge's matrices and LPIPS by picture."""

    bpp: np.ndarray
    matrices: np.ndarray
    lpips: np.ndarray

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Of each row of weights (D, N): bpp, mIoU, LPIPS and the sum."""
        flat = weights @ self.matrices.reshape(len(self.matrices), -1)
        seen = mean_iou(class_iou(flat.reshape(-1, *self.matrices.shape[1:])))
        far, rate = (weights @ values / weights.sum(1) for values in (self.lpips, self.bpp))
        return {"bpp": rate, "miou": seen, "lpips": far, "sum": 1 - seen + far}


def curves(args: argparse.Namespace) -> None:
    rows = [row for row in load_rows(args.rows) if row["reached"] and row["codec"] != "original"]
    for split in dict.fromkeys(row["split"] for row in rows):
        found: dict[str, dict[str, list[dict]]] = {}
        for row in rows:
            if row["split"] == split:
                rate, _, settings = row["point"].partition(",")
                name = ",".join(filter(None, (row["codec"], settings)))
                found.setdefault(name, {}).setdefault(rate, []).append(row)
        names = sorted({row["name"] for points in found.values() for group in points.values() for row in group})
        weights = np.concatenate([np.ones((1, len(names))), drawn_counts(len(names), args.resamples, 0)])
        kept = {name: _points(points, names) for name, points in found.items()}
        print(f"\n{split}, {len(names)} pictures\n\n| curve | bpp | judge mIoU % | LPIPS | 1 - mIoU + LPIPS |")
        print("|---|---|---|---|---|")
        for name, points in kept.items():
            for point in points:
                now = {key: float(value[0]) for key, value in point.figures(weights[:1]).items()}
                print(
                    f"| {name} | {now['bpp']:.4f} | {100 * now['miou']:.1f} | {now['lpips']:.3f} | {now['sum']:.3f} |"
                )
        if args.base not in kept:
            raise InputError(f"{args.rows}: has no curve {args.base!r}; it has {', '.join(kept)}")
        print("\n| BD-rate % of the base against | at equal mIoU | at equal LPIPS | at equal sum |\n|---|---|---|---|")
        mine = [point.figures(weights) for point in kept[args.base]]
        for name, points in kept.items():
            if name != args.base:
                theirs = [point.figures(weights) for point in points]
                cells = [_bd(theirs, mine, key, key == "miou") for key in ("miou", "lpips", "sum")]
                print(f"| {name} | {' | '.join(cells)} |")


def _points(points: dict[str, list[dict]], names: list[str]) -> list[Pointed]:
    """Those points that every picture reaches, by rate."""
    out = []
    for rate in sorted(points, key=float):
        group = {row["name"]: row for row in points[rate]}
        if len(group) == len(names):
            ordered = [group[name] for name in names]
            columns = ([row[key] for row in ordered] for key in ("bpp", "eye:judge", "lpips"))
            out.append(Pointed(*(np.array(column, np.float64) for column in columns)))
    return out


def _bd(theirs: list[dict], mine: list[dict], key: str, higher: bool) -> str:
    def figure(draw: int) -> float:
        lines = []
        for curve in (theirs, mine):
            rate, value = (np.array([point[name][draw] for point in curve]) for name in ("bpp", key))
            keep = undominated(rate, value, higher)
            lines += [rate[keep], value[keep]]
        try:
            return bd_rate(*lines, higher_better=higher)
        except InputError:
            return float("nan")

    drawn = np.array([figure(draw) for draw in range(len(mine[0]["bpp"]))])
    if np.isnan(drawn[0]):
        return "no overlap"
    low, high = np.nanpercentile(drawn[1:], [2.5, 97.5])
    return f"{drawn[0]:+.1f} [{low:+.1f}, {high:+.1f}]"


def allocation(args: argparse.Namespace) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    codec = load(NAME)
    names = get_taxonomy("street11").classes
    matter = relevance("sqgan-image", "street11")
    chosen = frames(args.data, args.split)
    step = max(1, len(chosen) // args.frames)
    figure = Figure(figsize=(13, 2.9 * args.frames), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(args.frames, 4, width_ratios=(2, 2, 2, 1.5), squeeze=False)
    for line, frame in zip(axes, list(chosen)[::step], strict=False):
        settings = {"bpp": args.bpp, "allocator": args.allocator}
        blob = codec.encode(frame.image, point=OperatingPoint("p", settings))
        decoded, symbols = codec.decode(blob), codec.symbols(blob)
        dense = np.zeros(symbols.cells.shape)
        for number, size in symbols.sizes.items():
            inside = symbols.cells == number
            dense[inside] = 8 * size / inside.sum()
        line[0].imshow(frame.image)
        line[0].set_title(f"original; file {len(blob)} bytes", fontsize=9)
        line[1].imshow(decoded.image)
        line[1].set_title("decoded", fontsize=9)
        shown = line[2].imshow(dense, cmap="magma", vmin=0)
        line[2].set_title("bits a cell of 8 x 8 pixels", fontsize=9)
        figure.colorbar(shown, ax=line[2], shrink=0.7)
        table = codec.allocation(blob)
        order = sorted(table, key=lambda name: -matter[names.index(name)])
        each = [8 * table[name][1] / max(1, (symbols.cells == names.index(name)).sum()) for name in order]
        line[3].barh(range(len(order)), each, color="#2563eb")
        text = [f"{name} ({matter[names.index(name)]:.2f}) q{table[name][0]}" for name in order]
        line[3].set_yticks(range(len(order)), text, fontsize=7)
        line[3].invert_yaxis()
        line[3].set_title("bits a cell, classes by relevance, level", fontsize=9)
        for axis in line[:3]:
            axis.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write_bytes(args.out, buffer.getvalue())
    print(f"written {args.out}")


def awgn(args: argparse.Namespace) -> None:
    from chappe.link import DigitalLink, PictureLink
    from chappe.link.uncoded import bit_error_rate, uncoded_qpsk
    from chappe.segment.builtin import load_judge

    codec, judge = load(NAME), load_judge()
    shots = []
    for frame in frames(args.data, args.split, every=args.every):
        blob = codec.encode(frame.image, bpp=args.bpp)
        report = describe(blob)[0]
        head = report.header + sum(section.size for section in report.sections if section.name.startswith("map"))
        shots.append((frame, blob, head))
    print(
        f"{args.split}, {len(shots)} pictures at {args.bpp} bpp, {args.draws} draws; judge mIoU %, lost pictures grey\n"
    )
    heads = "uncoded QPSK: mIoU, mAP", "pictures lost", "header and map safe: mIoU, mAP", "LDPC 1/2: mIoU, mAP", "lost"
    print(f"| Es/N0 dB | wrong bits | {' | '.join(heads)} |\n|{7 * '---|'}")
    for snr in args.snr:
        link = PictureLink(codec, DigitalLink("awgn", snr, "qpsk", "1/2"))

        def uncoded(blob: bytes, head: int, seed: int, snr=snr):
            return codec.decode(uncoded_qpsk(blob, snr, seed, protected=head)).image

        def coded(blob: bytes, head: int, seed: int, link=link):
            out = link.carry(blob, link.radio, (256, 512, 3), seed)
            if out.lost:
                raise InputError("the picture was lost")
            return out.image

        results = []
        for send, safe in ((uncoded, False), (uncoded, True), (coded, False)):
            results.append(_through(shots, send, safe, judge, args.draws))
        cells = [f"{snr:g}", f"{bit_error_rate(snr):.1e}"]
        for number, (seen, found, lost) in enumerate(results):
            cells.append(f"{seen:.1f}, {found:.1f}")
            if number != 1:  # with header and map safe none is lost
                cells.append(f"{lost:.0f} %")
        print(f"| {' | '.join(cells)} |", flush=True)


def _through(shots: list, send: Callable, safe: bool, judge, draws: int) -> tuple[float, float, float]:
    """(mIoU %, mAP %, share lost %) of all pictures, each sent `draws` times."""
    matrix, lost = np.zeros((CLASSES, CLASSES), np.int64), 0
    task, found, there = Detection(ComponentDetector(judge), floor=0.0), [], []
    for number, (frame, blob, head) in enumerate(shots):
        truth, reference = frame.labels_in("street11"), task.run(frame.image)
        for draw in range(draws):
            try:
                picture = send(blob, head if safe else 0, 1000 * number + draw)
            except ChappeError:
                picture, lost = np.full(frame.image.shape, GREY, np.uint8), lost + 1
            matrix += confusion(judge(picture), truth, CLASSES, ignore=VOID)
            found.append(task.run(picture))
            there.append(reference)
    share = 100 * lost / (len(shots) * draws)
    return 100 * miou(matrix, ignore=VOID), 100 * mean_average_precision(found, there), share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = parser.add_subparsers(required=True)
    one = sub.add_parser("curves")
    one.add_argument("rows", type=Path)
    one.add_argument("--base", default=f"{NAME},allocator=agent")
    one.add_argument("--resamples", type=int, default=300)
    one.set_defaults(run=curves)
    two = sub.add_parser("allocation")
    two.add_argument("data")
    two.add_argument("-o", "--out", type=Path, required=True)
    two.add_argument("--split", default="val")
    two.add_argument("--frames", type=int, default=3)
    two.add_argument("--bpp", type=float, default=0.04)
    two.add_argument("--allocator", default="agent")
    two.set_defaults(run=allocation)
    three = sub.add_parser("awgn")
    three.add_argument("data")
    three.add_argument("--split", default="val")
    three.add_argument("--every", type=int, default=10)
    three.add_argument("--draws", type=int, default=2)
    three.add_argument("--bpp", type=float, default=0.08)
    three.add_argument("--snr", type=float, nargs="+", default=[2, 4, 6, 8, 10, 12, 14])
    three.set_defaults(run=awgn)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
