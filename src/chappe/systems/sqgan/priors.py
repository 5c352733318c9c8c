"""Statistics of a trained model's tokens: the integer tables that its token coders start from."""

from __future__ import annotations

from functools import partial

import numpy as np

from chappe.bitstream.labelmap_near import Ladder, decode_near
from chappe.bitstream.tokenmix import UNKNOWN, cell_classes
from chappe.bitstream.tokenmix_prior import pack_priors
from chappe.systems.sqgan.config import CODEC_DEFAULTS
from chappe.systems.sqgan.engine import Engine
from chappe.systems.sqgan.token_training import Material, train_prior
from chappe.training.frames import Augment, Frames

__all__ = ["token_material", "token_priors", "train_token_prior"]

RUNGS = ((2, 1.0), (3, 1.0), (4, 1.0), (5, 0.7), (5, 1.5), (8, 2.0))  # of the near-lossless ladder
RECIPES = {
    "map": {"hidden": (32, 80), "steps": 2000, "batch": 16},
    "image": {"hidden": (32, 80), "steps": 2400, "batch": 20},
}


def token_priors(engine: Engine, frames: Frames, fraction: float = 0.4) -> dict[str, np.ndarray]:
    """How often each index is sent over `frames`, (J,) int32 for "map" and "image", all at least 1.

    Counts the best `fraction` of each frame's tokens, plus half a count for every index.
    """
    from chappe.data import street_protocol

    config = engine.config
    counts = {"map": np.zeros(config.map.codes), "image": np.zeros(config.image.codes)}
    for image, labels in zip(frames.images, frames.labels, strict=True):
        image, labels = street_protocol(image, labels)
        for which, analysis in (("map", engine.analyse_map(labels)), ("image", engine.analyse_image(image, labels))):
            _, indices = analysis.best(int(fraction * analysis.scores.size))
            np.add.at(counts[which], indices, 1)
    return {which: np.maximum(1, np.rint(2 * count + 1)).astype(np.int32) for which, count in counts.items()}


def token_material(engine: Engine, frames: Frames, *, copies: int = 3, seed: int = 0) -> dict[str, Material]:
    """The tokens of `frames` with the maps a receiver may have, for "map" and "image".

    Every frame is analysed with its true labels and with the segmenter's, then `copies` times changed: mirrored once,
    else cut and coloured at random. The maps are near-lossless ones of a random rung of the useful middle of the
    ladder, and for unchanged frames the exact one too. The map's own stream has no map to look at.
    """
    from chappe.data import street_protocol
    from chappe.segment.builtin import load_segmenter

    rng, segment = np.random.default_rng(seed), load_segmenter()
    found: dict[str, list] = {"scores": [], "indices": [], "cells": [], "map_scores": [], "map_indices": []}

    def add(image: np.ndarray, labels: np.ndarray, exact: bool) -> None:
        scale, slope = RUNGS[rng.integers(len(RUNGS))]
        ladder = Ladder(labels, engine.config.map_channels, protect=CODEC_DEFAULTS["protect"])
        near = decode_near(ladder.point(scale, slope), labels.shape, engine.config.map_channels)
        found["cells"].append(np.stack([cell_classes(near), cell_classes(labels if exact else near)]))
        for prefix, analysis in (("", engine.analyse_image(image, labels)), ("map_", engine.analyse_map(labels))):
            found[prefix + "scores"].append(analysis.scores)
            found[prefix + "indices"].append(analysis.indices)

    change = Augment(zoom=(0.8, 1.05), rotate=2.0, flip=0.5, colour=0.4)
    for image, labels in zip(frames.images, frames.labels, strict=True):
        straight, truth = street_protocol(image, labels)
        add(straight, truth, True)
        add(straight, segment(straight), True)
        for copy in range(copies):
            if copy == 0:
                add(np.ascontiguousarray(straight[:, ::-1]), np.ascontiguousarray(truth[:, ::-1]), False)
            else:
                add(*(np.ascontiguousarray(part) for part in change(image, labels, rng)), False)
    arrays = {key: np.stack(values) for key, values in found.items()}
    return {
        "map": Material(arrays["map_scores"], arrays["map_indices"], np.full_like(arrays["cells"], UNKNOWN)),
        "image": Material(arrays["scores"], arrays["indices"], arrays["cells"]),
    }


def train_token_prior(engine: Engine, frames: Frames, report=None) -> bytes:
    """The model folder's tokens.bin: priors of the mixed token code for the streams "map" and "image".

    frames: the training frames; about 25 minutes on two cores for 305 of them. report(stream, step, position bits,
    index bits): progress, bits a symbol while learning.
    """
    material, priors = token_material(engine, frames), {}
    for which in ("map", "image"):
        stream = getattr(engine.model, which)
        codes = stream.quantizer.codebook.detach().numpy()
        tell = None if report is None else partial(report, which)
        priors[which] = train_prior(material[which], codes, engine.config.map_channels, **RECIPES[which], report=tell)
    return pack_priors(priors)
