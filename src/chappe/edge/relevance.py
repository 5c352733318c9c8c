"""Class weights learned from the task instead of set by hand, as a profile that `chappe.taxonomy.relevance` reads.

Three ways. From a benchmark: how much of each class's IoU a codec gives back for a doubling of the rate. From the
task's own gradient: the loss that repairing the pixels of a class would save, to first order, grad L(decoded) .
(decoded - original). From leaving one class out after the other: what the mIoU loses when a class gets the last bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from chappe.errors import InputError, UsageError
from chappe.taxonomy import get_taxonomy

__all__ = ["Relevance", "relevance_from_gradient", "relevance_from_omission", "relevance_from_rows"]

LEAST = 0.05  # no class may vanish: its pixels would be free to become anything


@dataclass(frozen=True)
class Relevance:
    """weights by class name, in LEAST..1; gains: what they were made of (IoU a doubling, loss a pixel, mIoU lost)."""

    taxonomy: str
    weights: Mapping[str, float]
    gains: Mapping[str, float]

    def text(self) -> str:
        """'Sky=0.05,Building=0.31,…': what `--relevance` and `relevance()` take."""
        return ",".join(f"{name}={weight:.3g}" for name, weight in self.weights.items())

    def softened(self, strength: float) -> Relevance:
        """A step from all 1 towards these weights: 1 - strength (1 - w). Raises UsageError outside 0..1.

        Slopes and gradients are those at all 1: how far they hold is to be measured, on the pictures they are from.
        """
        if not 0 <= strength <= 1:
            raise UsageError(f"a strength lies in 0..1, found {strength}.")
        return replace(self, weights={n: round(1 - strength * (1 - w), 4) for n, w in self.weights.items()})


def relevance_from_rows(
    rows: Iterable[Mapping], codec: str, *, split: str | None = None, labels: str = "predicted", eye: str = "judge",
    taxonomy: str = "street11"
) -> Relevance:  # fmt: skip
    """Weights from the slope of each class's IoU over log2 of the rate, all classes counting alike in the mean.

    A class whose IoU falls or that never occurs gets the least weight. Only rates that every picture reaches count.
    Raises InputError for fewer than two of them.
    """
    classes = get_taxonomy(taxonomy)
    groups: dict[str, list[Mapping]] = {}
    for row in rows:
        if row["codec"] == codec and row["labels"] in ("none", labels) and split in (None, row["split"]):
            groups.setdefault(row["point"], []).append(row)
    full = [g for g in groups.values() if all(r["reached"] and r.get(f"eye:{eye}") is not None for r in g)]
    if len(full) < 2:
        raise InputError(f"{codec} has {len(full)} rates that all pictures reach, with truth: two or more are needed.")
    from chappe.metrics.semantic import per_class_iou

    rate = np.array([math.log2(np.mean([r["bpp"] for r in g])) for g in full])
    iou = np.stack([per_class_iou(np.sum([r[f"eye:{eye}"] for r in g], 0)) for g in full])
    centred = rate - rate.mean()
    if not (centred**2).sum() > 0:
        raise InputError(f"the rates of {codec} are all the same: measure it at different ones.")
    slope = centred @ np.nan_to_num(iou) / (centred @ centred)
    return _profile(taxonomy, {n: float(slope[i]) for i, n in enumerate(classes.classes) if i != classes.void})


def relevance_from_gradient(
    network: Callable, pairs: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], *, taxonomy: str = "street11",
    scale: Callable | None = None, balanced: bool = False
) -> Relevance:  # fmt: skip
    """Weights from the first-order saving of loss a pixel of each class.

    The loss is the cross-entropy of all pixels; `balanced`: with every class's pixels at 1 / their number, since all
    classes count alike in mIoU however small.

    network: differentiable, (1, 3, H, W) float32 -> (1, C, H, W) logits of `taxonomy` without void; pairs: (original,
    decoded, truth) as (H, W, 3) uint8 twice and (H, W); scale: of a (1, 3, H, W) picture in 0..255 before the network
    (default / 127.5 - 1). Classes that occur nowhere get the least weight. Raises InputError without pairs.
    """
    import torch
    from torch.nn import functional

    classes = get_taxonomy(taxonomy)
    kinds = len(classes.classes)
    saved, pixels = np.zeros(kinds), np.zeros(kinds)
    scale = scale or (lambda x: x / 127.5 - 1)
    as_tensor = lambda a: torch.from_numpy(np.array(a)).permute(2, 0, 1)[None].float()  # noqa: E731
    weigh = None
    if balanced:
        pairs = list(pairs)
        area = np.sum([np.bincount(truth.ravel(), minlength=kinds)[:kinds] for _, _, truth in pairs], 0)
        known = [i for i in range(kinds) if i != classes.void]
        weigh = torch.tensor(1e6 / np.maximum(area[known], 1), dtype=torch.float32)
    for original, decoded, truth in pairs:
        x = as_tensor(decoded).requires_grad_()
        target = torch.from_numpy(truth.astype(np.int64))[None]
        ignore = -100 if classes.void is None else classes.void
        loss = functional.cross_entropy(network(scale(x)), target, weigh, ignore_index=ignore, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        gain = (gradient * (x.detach() - as_tensor(original))).sum(1)[0].numpy()
        saved += np.bincount(truth.ravel(), gain.ravel().astype(np.float64), kinds)[:kinds]
        pixels += np.bincount(truth.ravel(), minlength=kinds)[:kinds]
    if not pixels.sum():
        raise InputError("there is no picture to learn the relevance from: give at least one.")
    gain = saved / np.maximum(pixels, 1)
    return _profile(taxonomy, {n: float(gain[i]) for i, n in enumerate(classes.classes) if i != classes.void})


def relevance_from_omission(
    measure: Callable[[str], np.ndarray], *, taxonomy: str = "street11", area: bool = False
) -> Relevance:
    """Weights from what the mIoU loses, at equal bytes, when one class is given weight 0 and all others 1.

    measure: profile -> (C, C) confusion counts of what a task reads in pictures coded with it, the same pictures each
    time. Called once with all classes at 1, then once for each class. The bytes a class gives up go to the others, so
    that a class is worth only what it does better with them than they do; one whose omission helps gets the least.
    `area`: what is lost is divided by the class's share of the pixels, a value a bit rather than of the whole class.
    """
    from chappe.metrics.semantic import miou

    classes = get_taxonomy(taxonomy)
    counts = np.asarray(measure("rest=1"))
    whole, share = miou(counts, ignore=classes.void), counts.sum(1) / max(counts.sum(), 1)
    gains = {}
    for i, name in enumerate(classes.classes):
        if i != classes.void:
            lost = whole - miou(measure(f"rest=1,{name}=0"), ignore=classes.void)
            gains[name] = float(lost / max(share[i], 1e-9) if area else lost)
    return _profile(taxonomy, gains)


def _profile(taxonomy: str, gains: dict[str, float]) -> Relevance:
    top = max(gains.values())
    if top <= 0:
        raise InputError("no class gains anything from more bits: there is nothing to weigh them by.")
    weights = {name: round(max(gain / top, LEAST), 4) for name, gain in gains.items()}
    return Relevance(taxonomy, weights, gains)
