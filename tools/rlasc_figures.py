"""RL-ASC's figures: who gets the bits, whether the agent beats its rivals, and what noise does to a file.

    chappe evaluate CamVid --split val unseen --codecs rlasc-street hevc --features \\
        --bpp 0.02,allocator=agent 0.04,allocator=agent 0.02,allocator=uniform ... --out rows
    python tools/rlasc_figures.py curves rows/rows.jsonl --base rlasc-street,allocator=agent
    python tools/rlasc_figures.py allocation DATA -o allocation.png [--split val] [--frames 3] [--bpp 0.04]
    python tools/rlasc_figures.py tasks DATA [--split val] [--every 4] [--who soft,agent soft,agent,sign=1,rest=.3]
    python tools/rlasc_figures.py awgn DATA [--split val] [--every 10] [--bpp 0.08]

`curves`: BD-rate of one curve against the others at equal judge mIoU, LPIPS and 1 - mIoU + LPIPS, and BD-mIoU, with
95 % intervals over pictures; and at each point the terms of RL-ASC's Fig. 9 with the Frechet and the kernel distance of
SqueezeNet's features for FID and KID (`--features`). A curve is a codec with its settings, its points the rates.
`tasks`: who gets the bits when they are for one task or another, and what it does to the mAP of the connected
components of vehicles, people and signs that the judge sees, held against those it sees in the original.
`awgn`: the paper's Fig. 12 by SNR: uncoded QPSK with the map protected and not, and the same file through 5G LDPC of
rate 1/2. mAP is of the connected components of cars, people and cyclists that the judge sees, IoU 0.5, held against
those it sees in the original, as the paper's detector is.
"""

from __future__ import annotations

import argparse
import base64
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
from chappe.metrics.bd import bd_metric, bd_rate, undominated
from chappe.metrics.detection import mean_average_precision
from chappe.metrics.distribution import frechet_distance, kernel_distance
from chappe.systems.rlasc.reward import objects
from chappe.tasks import ComponentDetector, Detection
from chappe.taxonomy import get_taxonomy, relevance

NAME, VOID, CLASSES = "rlasc-street", 11, 12
GREY = 128  # of a picture that was lost
PERCEPTUAL = 0.0002, 0.001  # weights of feature and kernel distance in Fig. 9's perceptual loss; the paper's: unknown
HEADS = ("curve", "bpp", "without map", "judge mIoU %", "PSNR", "SSIM", "LPIPS", "feature distance", "kernel distance",
         "Fig. 9: 1 - mIoU + perceptual", "1 - mIoU + LPIPS")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pointed:
    """One point of a curve, in order of the pictures: `rows` of the benchmark, and features of the originals."""

    rows: list[dict]
    originals: np.ndarray | None

    def column(self, key: str) -> np.ndarray:
        return np.array([row[key] for row in self.rows], np.float64)

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Of each row of weights (D, N): bpp, mIoU, LPIPS and the sum."""
        matrices = self.column("eye:judge")
        flat = weights @ matrices.reshape(len(matrices), -1)
        seen = mean_iou(class_iou(flat.reshape(-1, *matrices.shape[1:])))
        far, rate = (weights @ self.column(key) / weights.sum(1) for key in ("lpips", "bpp"))
        return {"bpp": rate, "miou": seen, "lpips": far, "sum": 1 - seen + far}

    def line(self, name: str) -> str:
        """The point as a line of the table."""
        now = {key: float(value[0]) for key, value in self.figures(np.ones((1, len(self.rows)))).items()}
        maps = [sum(n for part, n in row["sections"].items() if part.startswith("map")) for row in self.rows]
        rest = (8 * (self.column("bytes") - maps) / self.column("width") / self.column("height")).mean()
        cells = [f"{now['bpp']:.4f}", f"{rest:.4f}", f"{100 * now['miou']:.1f}"]
        cells += [f"{self.column('psnr').mean():.2f}", f"{self.column('ssim').mean():.3f}", f"{now['lpips']:.3f}"]
        if self.originals is None:
            cells += ["-", "-", "-"]
        else:
            here = _features(self.rows)
            distances = frechet_distance(self.originals, here), kernel_distance(self.originals, here)
            perceptual = sum(w * d for w, d in zip(PERCEPTUAL, distances, strict=True))
            cells += [f"{distances[0]:.0f}", f"{distances[1]:.2f}", f"{1 - now['miou'] + perceptual:.3f}"]
        return f"| {name} | {' | '.join(cells)} | {now['sum']:.3f} |"


def curves(args: argparse.Namespace) -> None:
    rows = [row for row in load_rows(args.rows) if row["reached"]]
    for split in dict.fromkeys(row["split"] for row in rows):
        found: dict[str, dict[str, list[dict]]] = {}
        for row in rows:
            if row["split"] == split and row["codec"] != "original" and row["labels"] != "true":
                rate, _, settings = row["point"].partition(",")
                name = ",".join(filter(None, (row["codec"], settings)))
                found.setdefault(name, {}).setdefault(rate, []).append(row)
        if args.base not in found:
            raise InputError(f"{args.rows}: has no curve {args.base!r}; it has {', '.join(found)}")
        names = sorted({row["name"] for group in found[args.base].values() for row in group})
        originals = {row["name"]: row for row in rows if row["split"] == split and row["codec"] == "original"}
        weights = np.concatenate([np.ones((1, len(names))), drawn_counts(len(names), args.resamples, 0)])
        kept = {name: _points(points, names, originals) for name, points in found.items()}
        print(f"\n{split}, {len(names)} pictures\n\n| {' | '.join(HEADS)} |\n|{len(HEADS) * '---|'}")
        for name, points in kept.items():
            for point in points:
                print(point.line(name))
        heads = "at equal mIoU", "at equal LPIPS", "at equal sum", "BD-mIoU, points"
        print(f"\n| BD-rate % of the base against | {' | '.join(heads)} |\n|---|---|---|---|---|")
        mine = [point.figures(weights) for point in kept[args.base]]
        for name, points in kept.items():
            if name != args.base:
                theirs = [point.figures(weights) for point in points]
                cells = [_bd(theirs, mine, key, key == "miou") for key in ("miou", "lpips", "sum")]
                print(f"| {name} | {' | '.join([*cells, _bd(theirs, mine, 'miou', True, rate=False)])} |")


def _points(points: dict[str, list[dict]], names: list[str], originals: dict[str, dict]) -> list[Pointed]:
    """Those points that every picture reaches, by rate."""
    out = []
    for rate in sorted((rate for rate in points if rate.replace(".", "").isdigit()), key=float):
        group = {row["name"]: row for row in points[rate]}
        if all(name in group for name in names):
            rows = [group[name] for name in names]
            seen = all(row.get("feature") and originals.get(row["name"], {}).get("feature") for row in rows)
            out.append(Pointed(rows, _features([originals[name] for name in names]) if seen else None))
    return out


def _features(rows: list[dict]) -> np.ndarray:
    """(N, 512) SqueezeNet features of rows."""
    return np.stack([np.frombuffer(base64.b64decode(row["feature"]), "<f2").astype(np.float64) for row in rows])


def _bd(theirs: list[dict], mine: list[dict], key: str, higher: bool, rate: bool = True) -> str:
    """BD-rate in %, or BD-metric in hundredths, with its 95 % interval over resampled pictures."""

    def figure(draw: int) -> float:
        lines = []
        for curve in (theirs, mine):
            spent, value = (np.array([point[name][draw] for point in curve]) for name in ("bpp", key))
            keep = undominated(spent, value, higher) if rate else slice(None)
            lines += [spent[keep], value[keep]]
        try:
            return bd_rate(*lines, higher_better=higher) if rate else 100 * bd_metric(*lines)
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
    matter = relevance(args.relevance or "sqgan-image", "street11")
    chosen = frames(args.data, args.split)
    step = max(1, len(chosen) // args.frames)
    figure = Figure(figsize=(13, 2.9 * args.frames), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(args.frames, 4, width_ratios=(2, 2, 2, 1.5), squeeze=False)
    for line, frame in zip(axes, list(chosen)[::step], strict=False):
        asked = {"task": args.task, "relevance": args.relevance}
        settings = {"bpp": args.bpp, "allocator": args.allocator} | {k: v for k, v in asked.items() if v}
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
        line[3].set_title("bits a cell: class (relevance) level", fontsize=8)
        for axis in line[:3]:
            axis.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write_bytes(args.out, buffer.getvalue())
    print(f"written {args.out}")


def tasks(args: argparse.Namespace) -> None:
    from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
    from chappe.segment.builtin import load_judge

    codec, judge, eyes = load(NAME), load_judge(), SqueezeLPIPS.from_file(lpips_weights_path())
    names = get_taxonomy("street11").classes
    seen = objects("street11")
    task = Detection(ComponentDetector(judge, seen), floor=0.0)
    shots = list(frames(args.data, args.split, every=args.every))
    references = [task.run(frame.image) for frame in shots]
    weights = np.concatenate([np.ones((1, len(shots)), int), drawn_counts(len(shots), args.resamples, 0)]).astype(int)
    heads = ["bits for", *(names[k] for k in sorted(seen)), "others", "judge mAP", "judge mIoU", "LPIPS"]
    print(f"{args.split}, {len(shots)} pictures at {args.bpp} bpp; bits a cell of 8 x 8 pixels; in brackets 95 % of")
    print(f"the difference from the first line\n\n| {' | '.join(heads)} |\n|{len(heads) * '---|'}")
    first = None
    for who in args.who:
        wanted, allocator, *profile = who.split(",", 2)
        settings = {"bpp": args.bpp, "task": wanted, "allocator": allocator}
        if profile:
            settings["relevance"] = profile[0]
        bits, cells = np.zeros(CLASSES), np.zeros(CLASSES)
        matrix, far, found = [], [], []
        for frame in shots:
            blob = codec.encode(frame.image, point=OperatingPoint("p", settings))
            symbols, picture = codec.symbols(blob), codec.decode(blob).image
            cells += np.bincount(symbols.cells.ravel(), minlength=CLASSES)
            for number, size in symbols.sizes.items():
                bits[number] += 8 * size
            matrix.append(confusion(judge(picture), frame.labels_in("street11"), CLASSES, ignore=VOID))
            far.append(lpips(frame.image, picture, eyes))
            found.append(task.run(picture))
        rows = []
        for draw in weights:
            pick = np.repeat(np.arange(len(shots)), draw)
            precision = mean_average_precision([found[k] for k in pick], [references[k] for k in pick])
            total = np.tensordot(draw, np.array(matrix), 1)
            rows.append((100 * precision, 100 * miou(total, ignore=VOID), draw @ far / draw.sum()))
        rows = np.array(rows)
        rest = [k for k in range(CLASSES) if k not in seen]
        spent = [bits[k] / max(1, cells[k]) for k in sorted(seen)] + [bits[rest].sum() / cells[rest].sum()]
        text = [f"{value:.1f}" for value in spent]
        for column, form in enumerate((".1f", ".1f", ".3f")):
            cell = format(rows[0, column], form)
            if first is not None:
                low, high = np.percentile((rows - first)[1:, column], [2.5, 97.5])
                cell += f" [{low:+{form}}, {high:+{form}}]"
            text.append(cell)
        first = rows if first is None else first
        print(f"| {who} | {' | '.join(text)} |", flush=True)


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
    two.add_argument("--relevance", help="a profile, as of chappe encode")
    two.add_argument("--task", help="what the bits are for (default: the model's first)")
    two.set_defaults(run=allocation)
    four = sub.add_parser("tasks")
    four.add_argument("data")
    four.add_argument("--split", default="val")
    four.add_argument("--every", type=int, default=4)
    four.add_argument("--bpp", type=float, default=0.05)
    usual = ["soft,agent", "soft,greedy", "soft,uniform", "detection,agent", "detection,greedy"]
    four.add_argument("--who", nargs="+", default=usual, metavar="TASK,ALLOCATOR[,PROFILE]")
    four.add_argument("--resamples", type=int, default=200)
    four.set_defaults(run=tasks)
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
