"""SCSC's figures and tables beside what our links do: `chappe evaluate --reproduce scsc-fig6 DATA`.

Measured are the digital scheme with the precoders that the paper names and leaves out, and each learned system whose
weights ship; the others' lines say so. The paper's BPG is HEVC intra coding: our `hevc`, or, where PyAV is missing, the
first standard codec that is here. `chappe link-bench` measures more schemes, with intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from chappe.bench.published import Item
from chappe.bench.reproduce import Line
from chappe.errors import InputError, MissingDependency, RateError, UsageError

if TYPE_CHECKING:
    from chappe.link import DigitalLink, Link

__all__ = ["NAMES", "LinkBench"]

SNRS = (2.0, 6.0, 10.0)
CBRS = ("0.02", "0.04", "1/12", "1/6")
NOT_TRAINED = "not trained yet: no weights ship"
# The first is the paper's, the second ours, the third takes no channel knowledge at the transmitter.
LINKS = {"SVD, water-filling": {"precoder": "svd-waterfill"}, "SVD, min-MSE, DFT": {"precoder": "svd-minmse+dft"},
         "no precoder, ML": {"precoder": "none", "detector": "ml"}}  # fmt: skip
PLAIN, OURS, _ = LINKS
LEARNED = {"SCSC": "scsc", "ADJSCC": "adjscc", "DeepJSCC-MIMO": "deepjscc-mimo", "ProxyNet": "proxynet"}


@dataclass(frozen=True)
class LinkBench:
    """What to measure on: frames with name, image and labels; seeds: fades a picture; codec: None for the stand-in."""

    frames: Sequence[Any]
    seeds: int = 2
    codec: str | None = None
    judge: Callable[[np.ndarray], np.ndarray] | None = None

    def rows(self, systems: Mapping[str, Link], snrs: Sequence[float], cbrs: Sequence[str]) -> list[dict]:
        """Rows of `chappe.link.sweep` with PSNR, MS-SSIM and the judge's confusion matrix; a picture's own fades."""
        from chappe.bench.link_bench import Measure, seeds_of
        from chappe.link import sweep

        out, judge = [], self.reader()
        for frame in self.frames:
            measure = Measure(judge, frame.labels_in("street11"))
            seeds = seeds_of(frame.name, self.seeds)
            out += sweep(systems, {frame.name: frame.image}, None, snrs, cbrs=cbrs, seeds=seeds, measure=measure)
        return out

    def digital(self, names: Sequence[str] = tuple(LINKS), codec: str | None = None, **options: Any) -> dict[str, Link]:
        """The codec over `LINKS`; options of the DigitalLink go before theirs."""
        from chappe.bench.codecs import open_codec
        from chappe.link import PictureLink

        made = open_codec(codec or self.chosen())
        return {name: PictureLink(made, _radio(name, **options)) for name in names}

    def learned(self, *, codec: str | None = None, **options: Any) -> dict[str, Link]:
        """The learned systems whose weights ship, by their names in the paper; options of the channel."""
        from chappe.bench.link_schemes import scsc, symbols

        found = {}
        for title, system in LEARNED.items():
            scheme = scsc(codec or self.chosen()) if system == "scsc" else symbols(system, title)
            try:
                link = scheme.make()
            except UsageError:
                continue
            found[title] = link.on(replace(link.radio, **options))
        return found

    def ablated(self) -> dict[str, Link]:
        """SCSC without one of its parts, as far as weights ship."""
        from chappe.bench.link_schemes import ABLATIONS, scsc

        found = {}
        for ablation in filter(None, ABLATIONS):
            try:
                found[f"SCSC{ablation}"] = scsc(self.chosen(), ablation).make()
            except UsageError:
                continue
        return found

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


def _radio(name: str, **options: Any) -> DigitalLink:
    from chappe.link import DigitalLink

    return DigitalLink(**{"channel": "rayleigh2x2", **LINKS[name], **options})


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


def _at(rows: list[dict], system: str, key: str, **where: float) -> float | None:
    """The mean of one system's rows with those values; None where there are none."""
    return _mean([r for r in rows if r["system"] == system and all(r[k] == v for k, v in where.items())], key)


def _less(rows: list[dict], one: str, other: str, key: str, **where: float) -> float | None:
    pair = [_at(rows, name, key, **where) for name in (one, other)]
    return None if None in pair else pair[0] - pair[1]


def _curve(rows: list[dict], system: str, key: str, by: str) -> tuple[tuple, tuple]:
    """(rates, values) of one system over "cbr" or "snr_db", an SNR as a power ratio."""
    own = [row for row in rows if row["system"] == system]
    wanted = "cbr_wanted" if by == "cbr" else by
    parts = [[row for row in own if row[wanted] == value] for value in dict.fromkeys(row[wanted] for row in own)]
    found = [(_mean(part, by), _mean(part, key)) for part in parts if _mean(part, key) is not None]
    pairs = [(rate if by == "cbr" else 10 ** (rate / 10), value) for rate, value in found]
    return tuple(zip(*pairs, strict=True)) if pairs else ((), ())


def _saved(rows: list[dict], system: str, base: str, key: str) -> float | None:
    """BD-CBR in percent; None where the curves are missing or share no range."""
    from chappe.metrics.bd import bd_rate, undominated

    curves = [_curve(rows, name, key, "cbr") for name in (base, system)]
    kept = [undominated(*curve) for curve in curves]
    try:
        return bd_rate(*(np.array(part)[k] for curve, k in zip(curves, kept, strict=True) for part in curve))
    except InputError:
        return None


def _gained(rows: list[dict], system: str, base: str, key: str) -> float | None:
    """Mean difference over the SNRs in dB; None where the curves are missing."""
    from chappe.metrics.bd import bd_metric

    try:
        return bd_metric(*_curve(rows, base, key, "snr_db"), *_curve(rows, system, key, "snr_db"))
    except InputError:
        return None


def _facts(item: Item, ours: Mapping[str, float | None], note: str) -> list[Line]:
    """A line for each number in the paper's text: ours by its name, or why there is none."""
    out = []
    for fact in item.facts:
        known = ours.get(fact.what)
        why = note if known is not None else "the curves share no range" if fact.what in ours else NOT_TRAINED
        out.append(Line(fact.what, fact.value, known, fact.unit, f"{fact.where}; {why}"))
    return out


def _lines(rows: list[dict], keys: Sequence[str], by: str) -> list[Line]:
    """A line for each system, value of `by` and key."""
    out = []
    for system in dict.fromkeys(row["system"] for row in rows):
        for value in dict.fromkeys(row[by] for row in rows):
            part = [row for row in rows if row["system"] == system and row[by] == value]
            at = f"{value:g} dB" if by == "snr_db" else f"CBR {value:.3g}"
            for key in keys:
                title, unit = UNITS[key]
                mean, first = _mean(part, key), part[0]
                note = f"{first['codec']}, {first['modulation']} {first['rate']}" if first["codec"] else "symbols"
                out.append(
                    Line(f"{system}, {at}: {title}", None, mean, unit, note if mean is not None else "no file fits")
                )
    return out


def _compared(here: Mapping[str, Any], values: Mapping[str, tuple[str, float | None]]) -> dict[str, float | None]:
    """Facts of systems that are here: what the paper says -> (the systems it is about, our value)."""
    return {what: value for what, (names, value) in values.items() if set(names.split("+")) <= here.keys()}


def _curves(*keys: str) -> Callable[[Item, LinkBench], list[Line]]:
    """Over SNR at 1/12, and over CBR at 6 dB."""

    def lines(item: Item, bench: LinkBench) -> list[Line]:
        learned = bench.learned()
        more = bench.ablated() if item.name == "scsc-fig16" else {}
        over_snr = bench.rows({**bench.digital(), **learned, **more}, SNRS, ["1/12"])
        over_cbr = bench.rows({**bench.digital([PLAIN, OURS]), **learned, **more}, [6.0], CBRS)
        best = max(row["snr_db"] for row in over_snr)
        ours = _compared(learned, {
            "PSNR of SCSC less that of ADJSCC as SNR increases":
                ("SCSC+ADJSCC", _less(over_snr, "SCSC", "ADJSCC", "psnr", snr_db=best)),
            "CBR of SCSC against ADJSCC at equal MS-SSIM":
                ("SCSC+ADJSCC", _saved(over_cbr, "SCSC", "ADJSCC", "ms_ssim")),
            "CBR of PPEN and PCEN together against the digital scheme":
                ("SCSC", _saved(over_cbr, "SCSC", PLAIN, "miou")),
        })  # fmt: skip
        parts = [_lines(over_snr, keys, "snr_db"), _lines(over_cbr, keys, "cbr_wanted")]
        extra = [Line(f"{title}: curves", None, None, "", NOT_TRAINED) for title in LEARNED if title not in learned]
        return [*_facts(item, ours, "curves of ours"), *parts[0], *parts[1], *extra]

    return lines


def _fig14(item: Item, bench: LinkBench) -> list[Line]:
    """No detector and no classifier is here: segmentation stands in, at the paper's SNR."""
    rows = bench.rows({**bench.digital([PLAIN, OURS]), **bench.learned()}, [10.0], CBRS)
    facts = [Line(f.what, f.value, None, f.unit, f"{f.where}; not measured: no detector is here") for f in item.facts]
    return facts + _lines(rows, ("miou",), "cbr_wanted")


def _fig11(item: Item, bench: LinkBench) -> list[Line]:
    from chappe.link.learned.scsc import ScscLink

    image = bench.frames[0].image
    out = []
    for fact in item.facts:
        out.append(Line(fact.what, fact.value, None, fact.unit, "of the paper's own features; ours are 8x8 blocks"))
    trained = bench.learned().get("SCSC")
    for cbr in ("0.04", "1/6"):
        what, half = f"CBR {cbr}: share of the blocks that hold half of the bits", None
        try:
            link = trained or ScscLink(bench.chosen(), _radio(PLAIN))
            bits = link.on(replace(link.radio, snr_db=10.0)).transmit(image, cbr=cbr).resources
        except RateError:
            note = "no file fits"
        else:
            shares = np.sort(bits.ravel())[::-1].cumsum() / bits.sum()
            half = float(100 * (np.searchsorted(shares, 0.5) + 1) / bits.size)
            note = "modelled" if trained else f"modelled, without PPEN: {NOT_TRAINED}"
        out.append(Line(what, None, half, "%", note))
    return out


def _fig12(item: Item, bench: LinkBench) -> list[Line]:
    ours, lines = {}, []
    for codec, title in (("jpeg", "JPEG"), ("jpeg2000", "JPEG 2000")):
        trained = {name: link for name, link in bench.learned(codec=codec).items() if name == "SCSC"}
        lines += _lines(
            bench.rows({**bench.digital([OURS], codec), **trained}, SNRS, ["1/12"]), ("miou", "lost"), "snr_db"
        )
        if trained:
            over_cbr = bench.rows({**bench.digital([PLAIN], codec), **trained}, [6.0], CBRS)
            ours[f"CBR of SCSC with {title} against {title}"] = _saved(over_cbr, "SCSC", PLAIN, "miou")
    for mcs in ("qpsk-1/3", "qpsk-3/4", "16qam-1/2"):
        modulation, rate = mcs.split("-")
        systems = bench.digital([OURS], modulation=modulation, rate=rate)
        lines += _lines(bench.rows(systems, SNRS, ["1/12"]), ("miou", "lost"), "snr_db")
    return _facts(item, ours, "BD-CBR for judge mIoU at 6 dB") + lines


def _fig15(item: Item, bench: LinkBench) -> list[Line]:
    ours, lines = {}, []
    for what, error in (("perfect CSI", 0.0), ("error CN(0, 0.1)", 0.1)):
        options = {"channel": "tdl-c2x2", "csi_error": error}
        learned = bench.learned(**options)
        rows = bench.rows({**bench.digital([PLAIN, OURS], **options), **learned}, SNRS, ["1/12"])
        if not error:
            ours = {
                f"mIoU of SCSC less that of {words} at 6 dB": ("SCSC+ADJSCC" if rival in LEARNED else "SCSC",
                                                               _less(rows, "SCSC", rival, "miou", snr_db=6.0))
                for words, rival in (("ADJSCC", "ADJSCC"), ("the digital scheme", PLAIN))
            }  # fmt: skip
            ours = _compared(learned, ours)
        named = [{**row, "system": f"{row['system']}, TDL-C, {what}"} for row in rows]
        lines += _lines(named, ("miou", "lost"), "snr_db")
    return _facts(item, ours, "TDL-C, perfect CSI") + lines


def _table1(item: Item, bench: LinkBench) -> list[Line]:
    learned = bench.learned()
    rows = bench.rows({**bench.digital([PLAIN, OURS]), **learned}, [6.0], ["1/6"])
    lines = []
    for point in item.points:
        digital = point.codec.startswith("BPG")
        own = _at(rows, PLAIN if digital else point.codec, "miou")
        here = digital or point.codec in learned
        note = f"{bench.chosen() if digital else 'ours'}, at 6 dB; the paper does not state its SNR"
        lines.append(Line(f"{point.codec}: mIoU", 100 * point.values["miou"], own, "%", note if here else NOT_TRAINED))
    return lines + _lines(rows, ("miou", "lost"), "snr_db")


def _table2(item: Item, bench: LinkBench) -> list[Line]:
    """Against the plain digital scheme with water-filling: learned systems as printed, then the closed forms."""
    learned = bench.learned()
    systems = {**bench.digital(), **learned}
    over_cbr, over_snr = bench.rows(systems, [10.0], CBRS), bench.rows(systems, SNRS, ["1/12"])
    note = f"against {PLAIN}; lost pictures count as grey; BD-CBR for judge mIoU at 10 dB, BD-PSNR over SNR at 1/12"
    ours = {f"BD-CBR of {name}": _saved(over_cbr, name, PLAIN, "miou") for name in systems if name != PLAIN}
    ours |= {f"BD-PSNR of {name}": _gained(over_snr, name, PLAIN, "psnr") for name in systems if name != PLAIN}
    printed = {fact.what for fact in item.facts}
    rest = [
        Line(what, None, value, "%" if "CBR" in what else "dB", "the curves share no range" if value is None else note)
        for what, value in ours.items()
        if what not in printed
    ]
    return _facts(item, ours, note) + rest


def _table3(item: Item, bench: LinkBench) -> list[Line]:
    """Networks have fresh weights, which take as long as trained ones; what makes files is a line of its own."""
    import torch

    from chappe.bench.codecs import open_codec
    from chappe.bench.link_schemes import mutual_folder
    from chappe.link import PictureLink
    from chappe.link.learned.analog import JsccLink
    from chappe.link.learned.config import JSCC_PRESETS
    from chappe.link.learned.enhanced import enhanced
    from chappe.link.learned.jscc import JsccNet
    from chappe.link.learned.ppen import PPEN
    from chappe.link.learned.scsc import ScscLink
    from chappe.link.learned.store import read_parts

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        image = bench.frames[0].image
        radio = _radio(PLAIN, snr_db=20.0, rate="2/3")
        better = enhanced(replace(radio, detector="ml"), read_parts(mutual_folder())[1]["mutual"])
        name, ours, more = bench.chosen(), {}, {}

        def digital(codec, link: DigitalLink, bpp: float = 0.5) -> float:
            far, blob = PictureLink(codec, link), codec.encode(image, bpp=bpp)
            return _speed(lambda: far.carry(blob, link, image.shape, 0))

        ours["BPG + LDPC 2/3 + QPSK"] = digital(open_codec(name), radio)
        ours["SCSC"] = digital(open_codec(name), better)
        for title, kind in (("ADJSCC", "adjscc"), ("DeepJSCC-MIMO", "deepjscc-mimo"), ("ProxyNet", "proxy")):
            net = JsccLink(kind, JsccNet(JSCC_PRESETS[kind, "street"]), radio)
            ours[title] = _speed(lambda net=net: net.transmit(image, cbr="1/12"))
        for codec in ("jpeg", "jpeg2000"):
            more[f"{codec} + LDPC 2/3 + QPSK"] = digital(open_codec(codec), radio)
        turns = cycle([image, np.ascontiguousarray(image[:, ::-1])])  # codecs keep the files of the last picture
        sender = ScscLink(name, better, PPEN())
        more[f"PPEN, with its search for {name}'s quality"] = _speed(lambda: sender.prepared(next(turns), 0.5))
        for codec in (name, "jpeg", "jpeg2000"):
            made = open_codec(codec)
            more[f"{codec}'s file at 0.5 bpp"] = _speed(lambda made=made: made.encode(next(turns), bpp=0.5))
    finally:
        torch.set_num_threads(threads)
    shape = "x".join(map(str, image.shape[1::-1]))
    note = f"processor time of one thread, {shape}, both ends and the channel"
    out = [Line(f.what, f.value, ours[f.what], f.unit, note) for f in item.facts]
    return out + [
        Line(what, None, value, "/s", f"processor time of one thread, {shape}") for what, value in more.items()
    ]


def _speed(call: Callable[[], object], least: float = 1.0) -> float:
    """Calls a second of processor time, the first left out."""
    call()
    start, count = time.process_time(), 0
    while count == 0 or time.process_time() - start < least:
        call()
        count += 1
    return count / (time.process_time() - start)


NAMES: dict[str, Callable[[Item, LinkBench], list[Line]]] = {
    "scsc-fig6": _curves("psnr", "lost"),
    "scsc-fig7": _curves("ms_ssim"),
    "scsc-fig8": _curves("miou"),
    "scsc-fig11": _fig11,
    "scsc-fig12": _fig12,
    "scsc-fig14": _fig14,
    "scsc-fig15": _fig15,
    "scsc-fig16": _curves("miou", "lost"),
    "scsc-table1": _table1,
    "scsc-table2": _table2,
    "scsc-table3": _table3,
}
