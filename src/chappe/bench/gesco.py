"""GESCO, its rivals, its baseline and its digital form on our data: what `bench.reproduce_gesco` makes tables of.

The paper's absolute figures cannot be reached by anyone: its data, judge and reference differ and are not all public.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from chappe.bitstream import labelmap
from chappe.link import DigitalLink, PictureLink
from chappe.metrics import Boxes, confusion, miou
from chappe.metrics.detection import mean_average_precision
from chappe.metrics.distribution import frechet_distance, squeeze_features
from chappe.metrics.lpips import lpips
from chappe.systems.diffusion.link import FullImageLink, GescoLink
from chappe.tasks import ComponentDetector, Depth, Detection

if TYPE_CHECKING:
    from chappe.systems.diffusion.codec import GescoCodec
    from chappe.systems.diffusion.config import Sampling
    from chappe.systems.diffusion.engine import Engine

__all__ = ["Eyes", "Scene", "analog", "bits_sent", "digital", "links", "mean_colours", "run", "score"]


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture (H, W, 3) uint8 and its labels (H, W) uint8."""

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Eyes:
    """What looks at decoded pictures. judge: (H, W, 3) uint8 -> (H, W) uint8; network: a SqueezeLPIPS, or None.

    detector: (H, W, 3) uint8 -> Boxes; a `ComponentDetector` is held against the objects of the true map, another one
    against what it finds in the original with a score of at least 0.5. depth: held against its own answer there.
    """

    judge: Callable[[np.ndarray], np.ndarray]
    network: object | None = None
    detector: Callable[[np.ndarray], Boxes] | None = None
    depth: Depth | None = None

    def objects(self, scene: Scene) -> Boxes:
        """What a detector should find."""
        if isinstance(self.detector, ComponentDetector):
            return self.detector.boxes(scene.labels)
        return Detection(self.detector).reference(self.detector(scene.image))


def score(scenes: Sequence[Scene], pictures: Iterable[np.ndarray], eyes: Eyes, classes: int) -> dict[str, float]:
    """miou: of what the judge reads, against the labels (0 to 1, void left out), one confusion matrix over all; with a
    network also the mean `lpips`, and `feature`, the Frechet distance of SqueezeNet's features of both sets; with a
    detector `objects`, mAP at an IoU of 0.5; with depth `depth`, the mean share of pixels within a
    factor of 1.25."""
    matrix, distances, drawn = np.zeros((classes + 1, classes + 1), np.int64), [], []
    found, there, depths = [], [], []
    for scene, picture in zip(scenes, pictures, strict=True):
        matrix += confusion(eyes.judge(picture), scene.labels, classes + 1, ignore=classes)
        if eyes.network is not None:
            distances.append(lpips(scene.image, picture, eyes.network))
            drawn.append(picture)
        if eyes.detector is not None:
            found.append(eyes.detector(picture))
            there.append(eyes.objects(scene))
        if eyes.depth is not None:
            depths.append(eyes.depth.score(eyes.depth.run(picture), eyes.depth.run(scene.image))["delta"])
    row = {"miou": miou(matrix, ignore=classes), "pictures": len(scenes)}
    if distances:
        row["lpips"] = float(np.mean(distances))
    if len(drawn) > 1:
        sets = [squeeze_features(images, eyes.network) for images in (drawn, [scene.image for scene in scenes])]
        row["feature"] = frechet_distance(*sets)
    if found:
        row["objects"] = mean_average_precision(found, there)
    if depths:
        row["depth"] = float(np.mean(depths))
    return row


def analog(engine: Engine, psnr: float, sampling: Sampling, *, fds: bool = True, rival: Callable | None = None,
           power: str = "unit"):  # fmt: skip
    """Scene, seed -> `Received`: the true map over GESCO's channel. rival: draws instead of the network."""
    link = GescoLink(engine, psnr_db=psnr, sampling=sampling, fds=fds, rival=rival, power=power)
    return lambda scene, seed: link.transmit(scene.image, seed=seed, labels=scene.labels)


def digital(codec: GescoCodec, psnr: float, drawn: dict | None = None):
    """Scene, seed -> `Received`: the codec's file of the true map over AWGN of as many dB, by the fastest modulation
    and 5G code that are rarely lost there. drawn: pictures of files that arrived before, to which these are added."""
    link = PictureLink(codec, DigitalLink("awgn", min(psnr, 30.0)), adapt=True, target=0.01)

    def send(scene: Scene, seed: int):
        blob = codec.encode(scene.image, labels=scene.labels)
        return link.carry(blob, link.radio_for(len(blob)), scene.image.shape, seed, decoded=drawn)

    return send


def links(codec: GescoCodec, psnr: float, rivals: dict[str, Callable], drawn: dict | None = None):
    """What is compared at one PSNR: name -> (scene, seed) -> `Received`. drawn: see `digital`."""
    full = FullImageLink(psnr)
    senders = {"GESCO": analog(codec.engine, psnr, codec.sampling), "GESCO, digital map": digital(codec, psnr, drawn)}
    senders |= {name: analog(codec.engine, psnr, codec.sampling, rival=rival) for name, rival in rivals.items()}
    return senders | {"Full image": lambda scene, seed: full.transmit(scene.image, seed=seed)}


def run(scenes: Sequence[Scene], send: Callable, eyes: Eyes, classes: int) -> dict:
    """`score` of what arrives, with its mean CBR and how many were `lost` (they count as grey)."""
    received = [send(scene, seed) for seed, scene in enumerate(scenes)]
    row = score(scenes, [out.image for out in received], eyes, classes)
    return row | {"cbr": float(np.mean([out.cbr for out in received])), "lost": sum(out.lost for out in received)}


def bits_sent(scene: Scene, classes: int, taxonomy: str | None = None) -> dict[str, int]:
    """Bits of one picture as GESCO 4.2 counts them, each a whole file: the picture as PNG ("full image"), each present
    class as a black-and-white PNG and as a JPEG (its "strong compression"), and the map through our exact coder."""
    planes = [scene.labels == k for k in range(classes) if (scene.labels == k).any()]
    payload = labelmap.encode_map(scene.labels, classes + 1, prior=taxonomy)
    return {
        "picture_png": 8 * _size(scene.image, "PNG"),
        "planes_png": 8 * sum(_size(plane, "PNG") for plane in planes),
        "planes_jpeg": 8 * sum(_size(plane.astype(np.uint8) * 255, "JPEG", quality=10) for plane in planes),
        "map": 8 * len(payload),
    }


def mean_colours(scenes: Iterable[Scene], classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """The least that a receiver can do: every class in its mean colour over `scenes` (void too)."""
    total, count = np.zeros((classes + 1, 3)), np.zeros(classes + 1)
    for scene in scenes:
        flat = np.minimum(scene.labels, classes).ravel()
        count += np.bincount(flat, minlength=classes + 1)
        for c in range(3):
            total[:, c] += np.bincount(flat, scene.image[..., c].ravel(), classes + 1)
    colours = np.rint(total / np.maximum(count, 1)[:, None]).astype(np.uint8)
    return lambda labels: colours[np.minimum(labels, classes)]


def _size(picture: np.ndarray, kind: str, **options) -> int:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return len(buffer.getvalue())
