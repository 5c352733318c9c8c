"""Networks with arrays in and out: what a codec's engine asks of torch, ONNX Runtime or anything else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["TorchRun", "channels_last", "from_bytes", "to_bytes"]


class TorchRun:
    """`run(network, grid, *arrays)`: one of `networks` over arrays, its results as a tuple of arrays.

    `grid` is the size of the picture in cells of 16x16, which other backends need and torch reads off the arrays.
    """

    def __init__(self, networks: Mapping[str, nn.Module]):
        self.networks = dict(networks)

    @torch.inference_mode()
    def __call__(self, network: str, grid: tuple[int, int], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        out = self.networks[network](*(torch.from_numpy(np.require(a, requirements=("C", "W"))) for a in arrays))
        return tuple(y.numpy() for y in out)


def channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) in the memory layout that convolutions on a CPU are fastest in; an exported graph has no layouts."""
    return x if torch.onnx.is_in_onnx_export() else x.contiguous(memory_format=torch.channels_last)


def from_bytes(image: Tensor) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [-1, 1]."""
    return channels_last(image.permute(2, 0, 1)[None].float() / 127.5 - 1)


def to_bytes(y: Tensor) -> Tensor:
    """(1, 3, H, W) -> (H, W, 3) uint8; [-1, 1] becomes 0 to 255, what is outside is held at the ends."""
    return y[0].clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0)
