"""Index statistics of a trained model: the integer tables its token coder starts from."""

from __future__ import annotations

import numpy as np

from chappe.systems.sqgan.engine import Engine
from chappe.training.frames import Frames

__all__ = ["token_priors"]


def token_priors(engine: Engine, frames: Frames, fraction: float = 0.4) -> dict[str, np.ndarray]:
    """How often each index is sent over `frames`, (J,) int32 for "map" and "image", all at least 1.

    Counts the best `fraction` of each frame's tokens, plus half a count for every index.
    """
    from chappe.data import street_protocol

    config = engine.model.config
    counts = {"map": np.zeros(config.map.codes), "image": np.zeros(config.image.codes)}
    for image, labels in zip(frames.images, frames.labels, strict=True):
        image, labels = street_protocol(image, labels)
        for which, analysis in (("map", engine.analyse_map(labels)), ("image", engine.analyse_image(image, labels))):
            _, indices = analysis.best(int(fraction * analysis.scores.size))
            np.add.at(counts[which], indices, 1)
    return {which: np.maximum(1, np.rint(2 * count + 1)).astype(np.int32) for which, count in counts.items()}
