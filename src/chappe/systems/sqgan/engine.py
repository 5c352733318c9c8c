"""SQ-GAN's networks run by torch."""

from __future__ import annotations

import torch

from chappe.nn.run import TorchRun
from chappe.systems.sqgan.analysis import Analysis, TiledEngine
from chappe.systems.sqgan.model import SQGAN
from chappe.systems.sqgan.networks import networks

__all__ = ["Analysis", "Engine"]


class Engine(TiledEngine):
    """See `TiledEngine`; `model` is put into evaluation mode."""

    def __init__(self, model: SQGAN):
        self.model = model.eval().to(memory_format=torch.channels_last)
        super().__init__(model.config, TorchRun(networks(model)))
