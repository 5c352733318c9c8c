"""Small RL-ASC shapes and a segmenter without weights, for the tests in tests/rlasc."""

from __future__ import annotations

import numpy as np
import torch

from chappe.systems.rlasc.config import AgentConfig, RLASCConfig

__all__ = ["PAPER", "TINY", "Segmenter"]

TINY = RLASCConfig(
    taxonomy="street11", channels=4, vote=(2, 2, 5, 2, 3, 2, 5, 4, 3, 4, 4, 1), patch=4, stem_kernel=3, encoder=(8, 8),
    encoder_blocks=1, encoder_norm="none", direct=True, sigma_scaled=True, see_level=True, trunk="joint", local=(8, 8),
    local_blocks=1, globally=(8, 8), global_blocks=1, attention=(4,), upsampling="bilinear", fine=(4, 4, 1), coarse=2,
    tanh=False, spade_hidden=4, spade_kernel=1, resize="area",
    agent=AgentConfig((4, 4), (1, 2), (8, 8), 4, 0.1, see_lambda=True, facts=True, start="greedy"),
)  # fmt: skip
PAPER = RLASCConfig(  # the paper's roads at toy widths
    taxonomy="street11", channels=4, encoder=(4, 4, 4, 8), local=(8, 8, 4), local_blocks=1, globally=(8, 8, 4, 4),
    global_blocks=1, attention=(4, 4, 4), spade_hidden=4, agent=AgentConfig((4, 4), (1, 2), (8, 8), 4),
)  # fmt: skip


class Segmenter:
    """A stand-in that goes by colour, with the interface of `BuiltinSegmenter`."""

    taxonomy = "street11"

    def logits(self, image: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) / 64
        return torch.cat([x, -x, x.flip(0), 0.3 * x[:2]])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.logits(image).argmax(0).to(torch.uint8).numpy()
