"""The one-pass receiver's network run by torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chappe.nn.run import TorchRun, from_bytes, to_bytes
from chappe.systems.spic.onepass import OnePass
from chappe.systems.spic.restore import Restorer

__all__ = ["Engine", "networks"]


class Engine(Restorer):
    """See `Restorer`; `model` is put into evaluation mode."""

    def __init__(self, model: OnePass):
        self.model = model.eval().to(memory_format=torch.channels_last)
        super().__init__(model.config, TorchRun(networks(model)))


def networks(model: OnePass) -> dict[str, nn.Module]:
    """The network as an engine calls it: coarse (H/4, W/4, 3) and labels (H, W), uint8 -> picture (H, W, 3) uint8."""
    return {"restore": _Restore(model)}


class _Restore(nn.Module):
    def __init__(self, model: OnePass):
        super().__init__()
        self.model = model

    def forward(self, coarse: Tensor, labels: Tensor) -> tuple[Tensor]:
        return (to_bytes(self.model(from_bytes(coarse), labels[None].long())),)
