"""What a semantic codec costs and keeps on a labelled data set: real bytes, decoded pictures, segmented again.

    python -m chappe.bench.score DATA --split val --bpp 0.015 0.025 0.04 max --labels predicted true --out rows.jsonl

Every number comes from files that were written, read back and decoded. CamVid frames go through the street protocol.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from chappe.codec import OperatingPoint
from chappe.errors import ChappeError, RateError, UsageError
from chappe.metrics import confusion, miou, psnr

__all__ = ["main", "score_frame", "summarise"]

_STATE: dict = {}  # one codec, one segmenter, ... a worker process


def score_frame(
    image: np.ndarray,
    truth: np.ndarray,
    codec,
    point: dict,
    labels: np.ndarray | None,
    eyes: dict[str, Callable],
    perceptual: Callable | None = None,
) -> dict:
    """Encode, decode and judge one frame; `eyes` maps a name to a segmenter, the metric being its mIoU against `truth`.

    Returns a row with lists for confusion matrices (12 x 12, void last), so that rows can be summed. A rate out of
    reach gives a row with `reached` false and nothing else.
    """
    start = time.perf_counter()
    try:
        blob = codec.encode(image, labels=labels, **point)
    except RateError as error:
        return {"reached": False, "why": str(error)}
    middle = time.perf_counter()
    decoded = codec.decode(blob)
    end = time.perf_counter()
    row = {
        "reached": True,
        "bytes": len(blob),
        "bpp": len(blob) * 8 / (image.shape[0] * image.shape[1]),
        "psnr": psnr(image, decoded.image),
        "encode_s": middle - start,
        "decode_s": end - middle,
        "sections": {s.name: s.size for s in decoded.report.sections},
        "map": _matrix(decoded.labels, truth),
    }
    if perceptual is not None:
        row["lpips"] = perceptual(image, decoded.image)
    return row | {f"eye:{name}": _matrix(eye(decoded.image), truth) for name, eye in eyes.items()}


def _matrix(pred: np.ndarray, truth: np.ndarray) -> list:
    return confusion(pred, truth, 12, ignore=11).tolist()


def summarise(rows: Iterable[dict]) -> dict:
    """Means over frames and data set mIoU in percent from summed confusion matrices; `frames` counts those reached."""
    rows = list(rows)
    met = [row for row in rows if row["reached"]]
    out: dict = {"frames": len(met), "of": len(rows)}
    if not met:
        return out
    for key in ("bpp", "bytes", "psnr", "lpips", "encode_s", "decode_s"):
        if key in met[0]:
            out[key] = float(np.mean([row[key] for row in met]))
    for key in met[0]:
        if key == "map" or key.startswith(("eye:", "original:")):
            out[f"miou:{key}"] = 100 * miou(np.sum([row[key] for row in met], 0), ignore=11)
    return out


def _open(data: str, split: str, codec_name: str, judge: bool, threads: int) -> None:
    import torch

    from chappe import load
    from chappe.data import open_dataset
    from chappe.metrics.lpips import SqueezeLPIPS, lpips, lpips_weights_path
    from chappe.segment.builtin import load_segmenter

    torch.set_num_threads(threads)
    eyes = {"segmenter": load_segmenter()}
    if judge:
        from chappe.bench.espnetv2 import load_espnetv2

        eyes["espnetv2"] = load_espnetv2()
    network = SqueezeLPIPS.from_file(lpips_weights_path())
    _STATE.update(
        samples=open_dataset(data, split=split),
        codec=load(codec_name),
        eyes=eyes,
        perceptual=lambda a, b: lpips(a, b, network),
    )


def _frame(job: tuple[int, dict, bool]) -> dict:
    from chappe.data import street_protocol

    index, point, given = job
    sample = _STATE["samples"][index]
    image, truth = street_protocol(sample.image, sample.labels)
    labels = truth if given else None
    row = score_frame(image, truth, _STATE["codec"], point, labels, _STATE["eyes"], _STATE["perceptual"])
    if not given:
        for name, eye in _STATE["eyes"].items():
            row[f"original:{name}"] = _matrix(eye(image), truth)
    return {"name": sample.name, **row}


def _point(text: str, codec) -> dict:
    if text in {p.name for p in codec.points()}:
        return {"point": text}
    if "=" in text:
        pairs = (item.partition("=")[::2] for item in text.split(","))
        return {"point": OperatingPoint(text, {k: v if v.isalpha() else float(v) for k, v in pairs})}
    try:
        return {"bpp": float(text)}
    except ValueError:
        known = ", ".join(p.name for p in codec.points())
        raise UsageError(f"--bpp {text}: neither a rate nor an operating point of {codec.name} ({known})") from None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m chappe.bench.score", description=__doc__.split("\n\n")[0])
    parser.add_argument("data", help="labelled data set in street11 classes, e.g. a CamVid folder")
    parser.add_argument("--split", nargs="+", default=["val"])
    parser.add_argument("--codec", default="sqgan-street")
    parser.add_argument(
        "--bpp", nargs="+", default=["0.015", "0.025", "0.04", "max"], help="rates, points or knobs (bpp=0.04,map=near)"
    )
    parser.add_argument("--labels", nargs="+", default=["predicted"], choices=("predicted", "true"))
    parser.add_argument("--judge", action="store_true", help="also judge with ESPNetv2 from $CHAPPE_DATA/weights")
    parser.add_argument("--every", type=int, default=1, help="use every Nth frame")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes, one torch thread each")
    parser.add_argument("--out", type=Path, help="append one JSON line a frame here")
    args = parser.parse_args(argv)
    from chappe import load
    from chappe.bench.espnetv2 import load_espnetv2
    from chappe.data import open_dataset
    from chappe.metrics.lpips import lpips_weights_path

    codec = load(args.codec)
    lpips_weights_path()  # said once, here, rather than by every worker
    if args.judge:
        load_espnetv2()
    points = [_point(text, codec) for text in args.bpp]
    for split in args.split:
        count = len(open_dataset(args.data, split=split))
        keys = [(given, k) for given in args.labels for k in range(len(points))]
        jobs = [(i, points[k], given == "true") for given, k in keys for i in range(0, count, args.every)]
        setup = (args.data, split, args.codec, args.judge, 1 if args.jobs > 1 else 2)
        if args.jobs > 1:
            with ProcessPoolExecutor(args.jobs, get_context("spawn"), _open, setup) as pool:
                rows = list(pool.map(_frame, jobs, chunksize=4))
        else:
            _open(*setup)
            rows = [_frame(job) for job in jobs]
        size = len(rows) // len(keys)
        for n, (given, k) in enumerate(keys):
            part = rows[n * size : (n + 1) * size]
            head = {"split": split, "labels": given, "point": args.bpp[k], "codec": args.codec}
            print(json.dumps(head | {k: round(v, 4) for k, v in summarise(part).items()}), flush=True)
            if args.out:
                with open(args.out, "a", encoding="utf-8") as file:
                    file.writelines(json.dumps(head | row) + "\n" for row in part)
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except ChappeError as error:
        print(f"chappe: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
