"""Can one still tell which sign, which person this is? Crops of objects in decoded pictures, looked up among originals.

    python tools/crops.py DATA --split val unseen --codecs spic cspic spic-onepass-street sqgan-street hevc \\
        --bpp 0.04 0.08 --classes SignSymbol Pedestrian Bicyclist --every 4 [--classifier FOLDER] [--sheet crops.png]

An object is a component of the true labels; the codecs are given the picture alone, so senders use the labels of their
own segmenter. Its gallery: its own original, originals of its class in the same frame, in frames of the split at least
--apart away, and in frames of --rivals (every --rivals-every). Distance: LPIPS (SqueezeNet). Frames are numbered by the
last digits of their names (CamVid: 30 a second; what stands before is the recording), without digits in their order.
A 95 % interval is that of the difference in top-1 from --base, paired over frames. "usual": the rate was out of reach
on some frame, and the codec's usual point was taken. LPIPS and PSNR are means over crops. --classifier: a folder of
`transformers` with an image classifier, of which the share of answers that stay what they are on the original counts;
true classes of signs are not read here: `chappe.metrics.crops` takes them. --sheet writes some crops as a picture.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from chappe.bench.codecs import open_codec
from chappe.bench.protocol import Frames, frames
from chappe.codec import Codec
from chappe.errors import RateError, UsageError
from chappe.image import write_image
from chappe.metrics.bootstrap import interval_of_sums
from chappe.metrics.crops import Box, Recognition, agreement, answers, cut, embed, object_boxes, recognise, rivals
from chappe.metrics.lpips import SqueezeLPIPS, lpips_weights_path
from chappe.metrics.objects import MIN_PIXELS
from chappe.metrics.pixel import psnr
from chappe.tasks import load_transformers_classifier
from chappe.taxonomy import get_taxonomy

TAXONOMY = "street11"
RECORDING = 10**9  # between the numbers of two recordings: never near
HEADS = ("split", "codec", "asked bpp", "bpp", "class", "crops", "top-1 %", "- base", "top-5 %", "MRR", "chance %",
         "LPIPS", "PSNR dB")  # fmt: skip


@dataclass(frozen=True)
class Found:
    """An object: frame's position in its split, the frame's number, class and the box to cut."""

    frame: int
    place: int
    label: int
    box: Box


@dataclass(frozen=True, eq=False)
class Gallery:
    """Of one class: the objects looked up, their originals, the vectors of all originals, which of these are theirs,
    which are rivals, and the classifier's answers on their originals."""

    objects: list[Found]
    pictures: list[np.ndarray]
    vectors: np.ndarray
    own: np.ndarray
    allowed: np.ndarray
    answers: np.ndarray | None


def place(name: str, position: int, recordings: dict[str, int]) -> int:
    """A number for a frame: near for frames of one recording that are near in time. `recordings` is filled."""
    digits = re.search(r"\d+$", name)
    recording = name[: digits.start()] if digits else ""
    return recordings.setdefault(recording, len(recordings)) * RECORDING + int(digits[0] if digits else position)


def find(shots: Frames, classes: list[int], least: int, recordings: dict[str, int]) -> tuple[list, list[Found]]:
    """The pictures of a split and the objects in them."""
    pictures, objects = [], []
    for position, frame in enumerate(shots):
        labels = frame.labels_in(TAXONOMY)
        if labels is None:
            raise UsageError(f"{frame.name}: has no labels, and objects are found in true labels: name another split.")
        number = place(frame.name, position, recordings)
        pictures.append(frame.image)
        objects += [Found(position, number, i.label, i.box) for i in object_boxes(labels, classes, least)]
    return pictures, objects


def cuts(pictures: list[np.ndarray], objects: list[Found]) -> list[np.ndarray]:
    return [cut(pictures[thing.frame], thing.box) for thing in objects]


def galleries(args, split: str, classes: list[int], network, classifier) -> tuple[list[np.ndarray], dict[int, Gallery]]:
    """The pictures of a split, and of each class its gallery."""
    recordings: dict[str, int] = {}
    pictures, objects = find(frames(args.data, split, every=args.every), classes, args.min_pixels, recordings)
    others, strangers = [], []
    if args.rivals not in ("none", split):
        shots = frames(args.data, args.rivals, every=args.rivals_every)
        others, strangers = find(shots, classes, args.min_pixels, recordings)
    out = {}
    for label in classes:
        mine, theirs = ([thing for thing in things if thing.label == label] for things in (objects, strangers))
        allowed = rivals(range(len(mine)), [thing.place for thing in mine + theirs], args.apart)
        own = np.flatnonzero(allowed.any(1))  # an object without rivals has nobody to be taken for
        if not len(own):
            continue
        crops = cuts(pictures, mine) + cuts(others, theirs)
        asked = [crops[k] for k in own]
        answered = answers(asked, classifier) if classifier else None
        out[label] = Gallery([mine[k] for k in own], asked, embed(crops, network), own, allowed[own], answered)
    return pictures, out


def decode(codec: Codec, pictures: list[np.ndarray], bpp: float) -> tuple[list[np.ndarray], float, bool]:
    """Decoded pictures, bits a pixel, and whether the rate was out of reach on one."""
    decoded, rates, missed = [], [], False
    for picture in pictures:
        try:
            blob = codec.encode(picture, bpp=bpp)
        except RateError:
            blob, missed = codec.encode(picture), True
        decoded.append(codec.decode(blob).image)
        rates.append(8 * len(blob) / (picture.shape[0] * picture.shape[1]))
    return decoded, float(np.mean(rates)), missed


def difference(mine: Recognition, base: Recognition, objects: list[Found]) -> str:
    """95 % interval of the difference of two top-1 in points, frames drawn with replacement."""
    at = np.array([thing.frame for thing in objects])
    columns = (mine.top() - base.top(), np.ones(len(at)))
    sums = np.stack([np.bincount(at, column, minlength=at.max() + 1) for column in columns], 1)
    low, high = interval_of_sums(sums[np.unique(at)], lambda total: 100 * total[0] / total[1])
    return f"{low:+.1f} … {high:+.1f}"


def sheet(path: str, columns: dict[str, list[np.ndarray]], count: int = 24) -> None:
    """Write `count` crops, evenly spaced over all, a row each; the columns are the original and the codecs in turn."""
    rows = [np.concatenate(row, 1) for row in zip(*columns.values(), strict=True)]
    write_image(
        path, np.concatenate([rows[k] for k in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)])
    )
    print(f"{path}: {', '.join(columns)}")


def table(args, split: str, network, classifier: Callable | None, classes: list[int]) -> None:
    """Print the rows of one split."""
    names = get_taxonomy(TAXONOMY).classes
    pictures, found = galleries(args, split, classes, network, classifier)
    shown = {"original": [crop for gallery in found.values() for crop in gallery.pictures]}
    for bpp in args.bpp:
        base: dict[int, Recognition] = {}
        for name in dict.fromkeys((args.base, *args.codecs)):
            decoded, rate, missed = decode(open_codec(name), pictures, bpp)
            shown[f"{name} {bpp:g}"] = []
            for label, gallery in found.items():
                crops = cuts(decoded, gallery.objects)
                shown[f"{name} {bpp:g}"] += crops
                known = recognise(embed(crops, network), gallery.vectors, gallery.own, gallery.allowed)
                base.setdefault(label, known)
                if name not in args.codecs:
                    continue
                fidelity = [
                    psnr(*(image[top:bottom, left:right] for image in (pictures[thing.frame], decoded[thing.frame])))
                    for thing in gallery.objects
                    for left, top, right, bottom in [thing.box]
                ]
                cells = [split, name, f"{bpp:g}" + ", usual" * missed, f"{rate:.4f}", names[label], str(len(crops)),
                         f"{100 * known.top().mean():.1f}",
                         "" if name == args.base else difference(known, base[label], gallery.objects),
                         f"{100 * known.top(5).mean():.1f}", f"{known.reciprocal.mean():.3f}",
                         f"{100 * known.chance().mean():.1f}", f"{known.distance.mean():.3f}",
                         f"{np.mean(fidelity):.2f}"]  # fmt: skip
                if classifier:
                    share, chance = agreement(answers(crops, classifier), gallery.answers)
                    cells += [f"{100 * share:.1f}", f"{100 * chance:.1f}"]
                print(f"| {' | '.join(cells)} |", flush=True)
    if args.sheet:
        sheet(str(Path(args.sheet).with_stem(f"{Path(args.sheet).stem}-{split}")), shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="CamVid, or another data set with labels")
    parser.add_argument("--split", nargs="+", default=["val", "unseen"])
    parser.add_argument("--codecs", nargs="+", default=["spic", "cspic", "spic-onepass-street", "sqgan-street", "hevc"])
    parser.add_argument("--base", default="spic-onepass-street", help="differences are from this codec")
    parser.add_argument("--bpp", type=float, nargs="+", default=[0.04, 0.08])
    parser.add_argument("--classes", nargs="+", default=["SignSymbol", "Pedestrian", "Bicyclist"])
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--min-pixels", type=int, default=MIN_PIXELS)
    parser.add_argument("--apart", type=int, default=600, help="frames between rivals (CamVid: 20 s)")
    parser.add_argument("--rivals", default="train", help="a split of more rivals, or none")
    parser.add_argument("--rivals-every", type=int, default=4)
    parser.add_argument("--classifier", help="folder of a transformers image classifier")
    parser.add_argument("--sheet", help="write crops as FILE-SPLIT.png")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    classes = list(dict.fromkeys(label for name in args.classes for label in get_taxonomy(TAXONOMY).find(name)))
    if not classes:
        parser.error(f"{TAXONOMY} has no class of {', '.join(args.classes)}: it has {get_taxonomy(TAXONOMY).classes}")
    network = SqueezeLPIPS.from_file(lpips_weights_path())
    classifier = load_transformers_classifier(args.classifier) if args.classifier else None
    heads = (*HEADS, *(("same answer %", "chance %") if classifier else ()))
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for split in args.split:
        table(args, split, network, classifier, classes)


if __name__ == "__main__":
    main()
