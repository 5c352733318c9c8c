"""Deformable convolution and strip pooling in plain torch (SCSC eqs. 7 and 8)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.errors import UsageError

__all__ = ["DeformConv2d", "StripGate", "deform_conv2d", "strip_pool"]


def deform_conv2d(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution whose taps are moved: F(p0) = sum_n w(p_n) x(p0 + p_n + offset_n), bilinear, 0 outside the picture.

    x (N, C, H, W); offset (N, 2 k k, H, W): dy, dx of each tap in pixels, taps in rows (torchvision's order); weight
    (O, C, k, k), k odd; result (N, O, H, W). Dai et al., ICCV 2017; SCSC eq. (7). Gradients go to all four.
    """
    n, channels, height, width = x.shape
    out, _, kernel, _ = weight.shape
    taps = kernel * kernel
    if kernel % 2 == 0 or offset.shape != (n, 2 * taps, height, width) or weight.shape[1] != channels:
        raise UsageError(
            f"Offsets {tuple(offset.shape)} and weights {tuple(weight.shape)} do not fit {tuple(x.shape)}."
        )
    move = offset.reshape(n, taps, 2, height, width)
    reach = torch.arange(kernel, device=x.device, dtype=x.dtype) - kernel // 2
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] + move[:, :, 0]
    columns = torch.arange(width, device=x.device, dtype=x.dtype) + move[:, :, 1]
    rows = rows + reach.repeat_interleave(kernel)[:, None, None]
    columns = columns + reach.repeat(kernel)[:, None, None]
    # grid_sample counts from -1 to 1 between the outer edges of the outer pixels.
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    seen = F.grid_sample(x, grid.reshape(n, taps * height, width, 2), padding_mode="zeros", align_corners=False)
    seen = seen.reshape(n, channels * taps, height * width)
    result = (weight.reshape(out, channels * taps) @ seen).reshape(n, out, height, width)
    return result if bias is None else result + bias[:, None, None]


class DeformConv2d(nn.Module):
    """k x k deformable convolution whose offsets come from a convolution of its own input; at first there are none."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
        self.offset = nn.Conv2d(c_in, 2 * kernel * kernel, kernel, padding=kernel // 2)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        return deform_conv2d(x, self.offset(x), self.conv.weight, self.conv.bias)


def strip_pool(x: Tensor, kind: str = "max") -> tuple[Tensor, Tensor]:
    """(N, C, H, W) -> each row's value (N, C, H) and each column's (N, C, W): "max" (SCSC eq. 8) or "avg"."""
    if kind not in ("max", "avg"):
        raise UsageError(f"Strips are pooled by max or avg, not {kind!r}.")
    return (x.amax(3), x.amax(2)) if kind == "max" else (x.mean(3), x.mean(2))


class StripGate(nn.Module):
    """x times a gate in (0, 1) made of its row and column strips: pool, 1-D convolution, add, 1x1, sigmoid.

    Q. Hou et al., Strip Pooling, CVPR 2020.
    """

    def __init__(self, channels: int, width: int, kind: str = "max"):
        super().__init__()
        self.kind = kind
        self.rows = nn.Conv1d(channels, width, 3, padding=1)
        self.columns = nn.Conv1d(channels, width, 3, padding=1)
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = strip_pool(x, self.kind)
        both = self.rows(rows)[..., None] + self.columns(columns)[:, :, None, :]
        return x * torch.sigmoid(self.out(F.relu(both)))
