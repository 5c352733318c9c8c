"""SCSC's figures and tables beside what our links do today: `chappe evaluate --reproduce scsc-fig6 DATA`.

Measured here is what needs no training: the digital scheme with the precoders that the paper names and leaves out. No
weights of SCSC, ADJSCC, DeepJSCC-MIMO and ProxyNet ship; their lines say so. The paper's BPG is HEVC intra coding: our
`hevc`, or, where PyAV is missing, the first standard codec that is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chappe.bench.published import Item
from chappe.bench.reproduce import Line
from chappe.errors import InputError, MissingDependency, RateError

__all__ = ["NAMES", "LinkBench"]

SNRS = (2.0, 6.0, 10.0)
CBRS = ("0.02", "0.04", "1/12", "1/6")
NOT_TRAINED = "not trained yet: no weights ship"
# The first is the paper's, the second ours, the third takes no channel knowledge at the transmitter.
LINKS = {"SVD, water-filling": {"precoder": "svd-waterfill"}, "SVD, min-MSE, DFT": {"precoder": "svd-minmse+dft"},
         "no precoder, ML": {"precoder": "none", "detector": "ml"}}  # fmt: skip


@dataclass(frozen=True)
class LinkBench:
    """What to measure on: frames with name, image and labels; seeds: fades a picture; codec: None for the stand-in."""

    frames: Sequence[Any]
    seeds: int = 10
    codec: str | None = None
    judge: Callable[[np.ndarray], np.ndarray] | None = None

    def rows(self, links: dict, snrs: Sequence[float], cbrs: Sequence[str], codec: str | None = None) -> list[dict]:
        """Rows of `chappe.link.sweep` with PSNR, MS-SSIM and the judge's confusion matrix; fades of seeds 0, 1, ..."""
        from chappe.link import sweep

        images = {frame.name: frame.image for frame in self.frames}
        truth = {frame.name: frame.labels for frame in self.frames}
        return list(sweep([codec or self.chosen()], images, links, snrs, cbrs=cbrs, seeds=range(self.seeds),
                          measure=_Measure(truth, self.reader())))  # fmt: skip

    def chosen(self) -> str:
        """The codec that stands in for BPG."""
        from chappe import classical

        if self.codec is not None:
            return self.codec
        for name in ("hevc", "avif", "jpeg2000", "jpeg"):
            try:
                classical.load(name)
            except MissingDependency:
                continue
            return name
        raise MissingDependency("no standard codec is here: pip install 'chappe[bench]'.")

    def reader(self) -> Callable[[np.ndarray], np.ndarray]:
        from chappe.segment.builtin import load_judge

        return self.judge or load_judge()


class _Measure:
    """PSNR, MS-SSIM and confusion of a received picture; the same pixels are measured once."""

    def __init__(self, truth: dict, judge) -> None:
        self.truth, self.judge, self.known = truth, judge, {}

    def __call__(self, original: np.ndarray, received) -> dict:
        key = (hash(original.tobytes()), hash(received.image.tobytes()))
        if key not in self.known:
            self.known[key] = self._values(original, received.image)
        return self.known[key]

    def _values(self, original: np.ndarray, image: np.ndarray) -> dict:
        from chappe.metrics.pixel import psnr
        from chappe.metrics.semantic import confusion
        from chappe.metrics.ssim import ms_ssim, scales_for

        height, width = image.shape[:2]
        labels = self._labels(original)
        return {
            "psnr": min(psnr(original, image), 100.0),
            "ms_ssim": ms_ssim(original, image, scales=min(5, scales_for(height, width))),
            "confusion": confusion(self.judge(image), labels, 12, ignore=11),
        }

    def _labels(self, original: np.ndarray) -> np.ndarray:
        """The true labels, or, without them, what the judge reads in the original (SCSC eq. 20)."""
        key = hash(original.tobytes())
        if key not in self.known:
            self.known[key] = self.judge(original)
        return self.known[key]


def _mean(rows: Sequence[dict], key: str) -> float | None:
    """Mean over transmissions; mIoU of the summed matrices, in percent; share lost in percent."""
    from chappe.metrics.semantic import miou

    if not rows or not all(row["reached"] for row in rows):
        return None
    if key == "miou":
        return 100 * miou(sum(row["confusion"] for row in rows), ignore=11)
    if key == "lost":
        return 100 * float(np.mean([row["lost"] for row in rows]))
    return float(np.mean([row[key] for row in rows]))


UNITS = {"psnr": ("PSNR", "dB"), "ms_ssim": ("MS-SSIM", ""), "miou": ("judge mIoU", "%"), "lost": ("lost", "%")}


def _links(names: Sequence[str] = tuple(LINKS), **options: object) -> dict:
    from chappe.link import DigitalLink

    return {name: DigitalLink(**{"channel": "rayleigh2x2", **LINKS[name], **options}) for name in names}


def _facts(item: Item, note: str = NOT_TRAINED) -> list[Line]:
    return [Line(fact.what, fact.value, None, fact.unit, f"{fact.where}; {note}") for fact in item.facts]


def _lines(rows: list[dict], keys: Sequence[str], by: str, codec: str) -> list[Line]:
    """A line for each link, value of `by` and key."""
    out = []
    for link in dict.fromkeys(row["link"] for row in rows):
        for value in dict.fromkeys(row[by] for row in rows):
            part = [row for row in rows if row["link"] == link and row[by] == value]
            at = f"{value:g} dB" if by == "snr_db" else f"CBR {value:.3g}"
            for key in keys:
                title, unit = UNITS[key]
                mean = _mean(part, key)
                note = f"{codec}, {part[0]['modulation']} {part[0]['rate']}" if mean is not None else "no file fits"
                out.append(Line(f"{link}, {at}: {title}", None, mean, unit, note))
    return out


def _curves(*keys: str, **options: object) -> Callable[[Item, LinkBench], list[Line]]:
    """Over SNR at 1/12, and over CBR at 6 dB."""

    def lines(item: Item, bench: LinkBench) -> list[Line]:
        codec = bench.chosen()
        over_snr = bench.rows(_links(**options), SNRS, ["1/12"])
        over_cbr = bench.rows(_links(list(LINKS)[1:2], **options), [6.0], CBRS)
        return [*_facts(item), *_lines(over_snr, keys, "snr_db", codec), *_lines(over_cbr, keys, "cbr_wanted", codec)]

    return lines


def _fig11(item: Item, bench: LinkBench) -> list[Line]:
    from chappe.link.learned.scsc import ScscLink

    image = bench.frames[0].image
    out = []
    for fact in item.facts:
        out.append(Line(fact.what, fact.value, None, fact.unit, "of the paper's own features; ours are 8x8 blocks"))
    for cbr in ("0.04", "1/6"):
        what, half = f"CBR {cbr}: share of the blocks that hold half of the bits", None
        try:
            link = ScscLink(bench.chosen(), next(iter(_links(snr_db=10.0).values())))
            bits = link.transmit(image, cbr=cbr).resources
        except RateError:
            note = "no file fits"
        else:
            shares = np.sort(bits.ravel())[::-1].cumsum() / bits.sum()
            half = float(100 * (np.searchsorted(shares, 0.5) + 1) / bits.size)
            note = f"modelled, without PPEN: {NOT_TRAINED}"
        out.append(Line(what, None, half, "%", note))
    return out


def _fig12(item: Item, bench: LinkBench) -> list[Line]:
    out = _facts(item)
    for codec in ("jpeg", "jpeg2000"):
        rows = bench.rows(_links(list(LINKS)[1:2]), SNRS, ["1/12"], codec)
        out += _lines(rows, ("miou", "lost"), "snr_db", codec)
    for mcs in ("qpsk-1/3", "qpsk-3/4", "16qam-1/2"):
        modulation, rate = mcs.split("-")
        rows = bench.rows(_links(list(LINKS)[1:2], modulation=modulation, rate=rate), SNRS, ["1/12"])
        out += _lines(rows, ("miou", "lost"), "snr_db", bench.chosen())
    return out


def _fig15(item: Item, bench: LinkBench) -> list[Line]:
    out = _facts(item)
    for what, error in (("perfect CSI", 0.0), ("error CN(0, 0.1)", 0.1)):
        links = _links(list(LINKS)[1:2], channel="tdl-c2x2", csi_error=error)
        rows = bench.rows({f"TDL-C, {what}": next(iter(links.values()))}, SNRS, ["1/12"])
        out += _lines(rows, ("miou", "lost"), "snr_db", bench.chosen())
    return out


def _table1(item: Item, bench: LinkBench) -> list[Line]:
    rows = bench.rows(_links(list(LINKS)[:2], snr_db=6.0), [6.0], ["1/6"])
    lines = []
    for point in item.points:
        digital = point.codec.startswith("BPG")
        own = _mean([row for row in rows if row["link"] == "SVD, water-filling"], "miou") if digital else None
        note = f"{bench.chosen()}, at 6 dB; the paper does not state its SNR" if digital else NOT_TRAINED
        lines.append(Line(f"{point.codec}: mIoU", 100 * point.values["miou"], own, "%", note))
    return lines + _lines(rows, ("miou", "lost"), "snr_db", bench.chosen())


def _table2(item: Item, bench: LinkBench) -> list[Line]:
    """The rows are of learned links; ours are the closed-form precoders, against water-filling."""
    from chappe.metrics.bd import bd_metric, bd_rate, undominated

    rows = bench.rows(_links(snr_db=10.0), [10.0], CBRS)
    curves = {}
    for link in LINKS:
        parts = [[row for row in rows if row["link"] == link and row["cbr_wanted"] == c]
                 for c in dict.fromkeys(row["cbr_wanted"] for row in rows)]  # fmt: skip
        found = [(_mean(part, "cbr"), _mean(part, "psnr")) for part in parts if _mean(part, "psnr") is not None]
        curves[link] = tuple(zip(*found, strict=True)) if found else ((), ())
    out = _facts(item)
    base, *others = LINKS
    for link in others:
        for what, unit in (("BD-CBR", "%"), ("BD-PSNR", "dB")):
            try:
                if unit == "%":
                    kept = [np.array(undominated(*curves[name])) for name in (base, link)]
                    value = bd_rate(*(np.array(c)[k] for name, k in zip((base, link), kept, strict=True)
                                      for c in curves[name]))  # fmt: skip
                else:
                    value = bd_metric(*curves[base], *curves[link])
                note = f"against {base}; lost pictures count as grey"
            except InputError:
                value, note = None, "the curves share no range"
            out.append(Line(f"{what} of {link}", None, value, unit, note))
    return out


def _table3(item: Item, bench: LinkBench) -> list[Line]:
    """On one thread: from the received symbols to the picture for the digital scheme, and fresh networks' decoders."""
    import torch

    from chappe.link import PictureLink
    from chappe.link.learned.analog import JsccLink
    from chappe.link.learned.config import JSCC_PRESETS
    from chappe.link.learned.jscc import JsccNet

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        image = bench.frames[0].image
        link = replace(next(iter(_links(snr_db=20.0).values())), rate="2/3")
        ours = {}
        codec = PictureLink(bench.chosen(), link)
        blob = codec.codec.encode(image, bpp=0.5)
        ours["BPG + LDPC 2/3 + QPSK"] = _speed(lambda: codec.carry(blob, link, image.shape, 0))
        for name, kind in (("ADJSCC", "adjscc"), ("DeepJSCC-MIMO", "deepjscc-mimo"), ("ProxyNet", "proxy")):
            net = JsccLink(kind, JsccNet(JSCC_PRESETS[kind, "street"]), link)
            ours[name] = _speed(lambda net=net: net.transmit(image, cbr="1/12"))
    finally:
        torch.set_num_threads(threads)
    shape = "x".join(map(str, image.shape[1::-1]))
    note = f"one CPU thread, {shape}, both ends and the channel"
    out = [Line(f.what, f.value, ours.get(f.what), f.unit, note if f.what in ours else NOT_TRAINED) for f in item.facts]
    return out


def _speed(call: Callable[[], object], least: float = 1.0) -> float:
    """Calls a second, the first left out."""
    call()
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < least:
        call()
        count += 1
    return count / (time.perf_counter() - start)


NAMES: dict[str, Callable[[Item, LinkBench], list[Line]]] = {
    "scsc-fig6": _curves("psnr", "lost"),
    "scsc-fig7": _curves("ms_ssim"),
    "scsc-fig8": _curves("miou"),
    "scsc-fig11": _fig11,
    "scsc-fig12": _fig12,
    "scsc-fig14": _curves("miou"),
    "scsc-fig15": _fig15,
    "scsc-fig16": _curves("miou", "lost"),
    "scsc-table1": _table1,
    "scsc-table2": _table2,
    "scsc-table3": _table3,
}
