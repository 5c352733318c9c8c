"""GESCO's tables beside what our links do: `chappe evaluate --reproduce gesco-table1 DATA`.

Measured are the bundled network over the analog channel, the full picture over the same one, the one-pass generator
from the labels heard (the rival of the paper's SPADE-GANs), every class in its mean colour, and the same network behind
a map that went digitally. The true labels are sent, as in the paper. Seeds are the pictures' numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from chappe.bench import gesco
from chappe.bench.published import Item
from chappe.bench.reproduce import Line
from chappe.systems.diffusion.channel import CONDITIONS
from chappe.tasks import ComponentDetector, Depth

__all__ = ["NAMES", "GescoBench"]

TAXONOMY, CLASSES = "street11", 11
SAME = {"GESCO": "GESCO", "Full image": "Full image", "SPADE": "one pass from labels"}  # theirs -> ours
ONE_PASS = "spic-onepass-street-v2"
NO_CLEAN = "the network trained on clean maps does not ship: chappe train diffusion --clean-maps"


class GescoBench:
    """What to measure on: `frames` with image and labels; `folder` of the data set, whose training frames give the mean
    colours. `weights`: a model folder instead of the bundled one; `clean`: one trained on clean maps, for Table 5;
    `detector`: a callable from pictures to boxes instead of the judge's connected components; `depth`: for Fig. 3."""

    def __init__(self, frames: Sequence[Any], folder: str, *, weights: str | None = None, clean: str | None = None,
                 detector: Callable | None = None, depth: Depth | None = None):  # fmt: skip
        from chappe.codec import load
        from chappe.metrics.lpips import SqueezeLPIPS, lpips_weights_path
        from chappe.segment.builtin import load_judge
        from chappe.systems.diffusion.codec import load_folder
        from chappe.systems.diffusion.engine import load_engine

        self.scenes = [gesco.Scene(frame.image, frame.labels_in(TAXONOMY)) for frame in frames]
        self.folder = folder
        self.codec = load("gesco-street") if weights is None else load_folder(weights, "gesco")
        self.clean = None if clean is None else load_engine(clean)[0]
        judge = load_judge()
        network = SqueezeLPIPS.from_file(lpips_weights_path())
        self.eyes = gesco.Eyes(judge, network, detector or ComponentDetector(judge), depth)
        self._rows: dict[float, dict[str, dict]] = {}
        self._drawn: dict = {}

    def at(self, psnr: float) -> dict[str, dict]:
        """Method -> figures at one channel PSNR; measured once."""
        if psnr not in self._rows:
            links = gesco.links(self.codec, psnr, self._rivals, self._drawn)
            self._rows[psnr] = {name: gesco.run(self.scenes, link, self.eyes, CLASSES) for name, link in links.items()}
        return self._rows[psnr]

    def original(self) -> dict:
        """What the judge reads in the originals."""
        return gesco.score(self.scenes, [scene.image for scene in self.scenes], self.eyes, CLASSES)

    @cached_property
    def _rivals(self) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
        """Labels -> picture, by name."""
        from chappe.bench.protocol import frames
        from chappe.systems.diffusion.first import load_first

        training = [gesco.Scene(f.image, f.labels_in(TAXONOMY)) for f in frames(self.folder, "train", every=8)]
        return {"one pass from labels": load_first(ONE_PASS), "mean colours": gesco.mean_colours(training, CLASSES)}


def _table(key: str, unit: str, scale: float, printed: str) -> Callable[[Item, GescoBench], list[Line]]:
    """Lines of one figure over all channel conditions; `printed`: the paper's key of it."""

    def lines(item: Item, bench: GescoBench) -> list[Line]:
        paper = {(p.codec, p.rates["channel_psnr"]): p.values[printed] for p in item.points}
        theirs = {ours: name for name, ours in SAME.items()}
        comparable = printed == "miou"
        out = []
        if comparable:
            out.append(Line("originals", None, 100 * bench.original()["miou"], unit, "the judge's ceiling"))
        for psnr in sorted(CONDITIONS, reverse=True):
            for name, row in bench.at(psnr).items():
                value = paper.get((theirs.get(name, ""), psnr))
                value = None if value is None else scale * value
                note = f"CBR {row['cbr']:.4f}" + (f"; paper: {theirs[name]}" if value is not None else "")
                if row["lost"]:
                    note += f"; {row['lost']} of {row['pictures']} lost, as grey"
                ours = scale * row[key]
                out.append(Line(f"{name} at {psnr:g} dB", value if comparable else None, ours, unit, note))
                if value is not None and not comparable:
                    out.append(Line(f"{theirs[name]} at {psnr:g} dB, the paper's", value, None, "", "another network"))
        return out

    return lines


def _tasks(item: Item, bench: GescoBench) -> list[Line]:
    """Fig. 3, which only shows pictures: objects and depths in what arrives."""
    out = [Line("originals: mAP of objects", None, 100 * bench.original()["objects"], "%", "the detector's ceiling")]
    for psnr in sorted(CONDITIONS, reverse=True):
        for name, row in bench.at(psnr).items():
            out.append(Line(f"{name} at {psnr:g} dB: mAP of objects", None, 100 * row["objects"], "%"))
            if "depth" in row:
                kept = f"{name} at {psnr:g} dB: depths within a factor of 1.25"
                out.append(Line(kept, None, 100 * row["depth"], "%", "of the pixels, against the original's"))
    return out


def _table4(item: Item, bench: GescoBench) -> list[Line]:
    rows = bench.at(10)
    out = []
    for point in item.points:
        for printed, key, scale, unit in (
            ("miou", "miou", 100, "%"), ("lpips:paper", "lpips", 1, ""), ("fid_x10", "feature", 1, "")
        ):  # fmt: skip
            ours = scale * rows[point.codec][key]
            paper = scale * point.values[printed]
            note = "another network, another data set" if printed != "miou" else "another data set"
            out.append(Line(f"{point.codec}: {printed}", paper, None, unit, point.where))
            out.append(Line(f"{point.codec}: {key}", None, ours, unit, note))
    return out


def _table5(item: Item, bench: GescoBench) -> list[Line]:
    """At power 1, which the paper's text says, and with the planes of 0 and 1 that its code sends."""
    out = []
    for fds, noisy, power in product((False, True), (False, True), ("unit", "none")):
        name = f"{'with' if fds else 'without'} fast denoising, trained on {'noisy' if noisy else 'clean'} maps"
        engine = bench.codec.engine if noisy else bench.clean
        row = None
        if engine is not None:
            link = gesco.analog(engine, 10, bench.codec.sampling, fds=fds, power=power)
            row = gesco.run(bench.scenes, link, bench.eyes, CLASSES)
        printed = [p.values for p in item.points if (p.setting["fds"], p.setting["noisy_training"]) == (fds, noisy)]
        paper = printed[0] if printed and power == "unit" else {}
        note = NO_CLEAN if row is None else ""
        if power == "none":
            name += ", power as it is"
        elif not paper:
            note = note or "paper: noise"
        values = (None, None) if row is None else (100 * row["miou"], row["lpips"])
        miou = None if "miou" not in paper else 100 * paper["miou"]
        out.append(Line(f"{name}: mIoU", miou, values[0], "%", note))
        out.append(Line(f"{name}: LPIPS", paper.get("lpips:paper"), values[1], "", note or "another network"))
    return out


def _bits(item: Item, bench: GescoBench) -> list[Line]:
    found = [gesco.bits_sent(scene, CLASSES, TAXONOMY) for scene in bench.scenes]
    mean = {key: float(np.mean([bits[key] for bits in found])) for key in found[0]}
    title = {"picture_png": "the picture as PNG", "planes_png": "each present class as a PNG",
             "planes_jpeg": "each present class as a JPEG", "map": "the map through our exact coder"}  # fmt: skip
    blobs = [bench.codec.encode(scene.image, labels=scene.labels) for scene in bench.scenes]
    out = [Line(fact.what, fact.value, None, fact.unit, fact.where) for fact in item.facts]
    out += [Line(title[key], None, value, "bit") for key, value in mean.items()]
    size = 8 * float(np.mean([len(blob) for blob in blobs]))
    return [*out, Line(f"whole file of {bench.codec.name}", None, size, "bit", "near-lossless map")]


NAMES: dict[str, Callable[[Item, GescoBench], list[Line]]] = {
    "gesco-table1": _table("miou", "%", 100, "miou"),
    "gesco-table2": _table("lpips", "", 1, "lpips:paper"),
    "gesco-table3": _table("feature", "", 1, "fid_x10"),
    "gesco-table4": _table4,
    "gesco-table5": _table5,
    "gesco-fig3": _tasks,
    "gesco-bits": _bits,
}
