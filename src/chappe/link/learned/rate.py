"""Where the bits of a transform codec's file go, and a gradient for how many there are.

Bits of a block are taken as sum log2(1 + (c / step)^2) / 2 over its 8x8 cosine transform in luma and chroma, with the
one step at which the sum over the picture is the size of the real file. A model: codecs predict and skip besides.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["block_bits", "fit_step", "rate_of"]

_BLOCK = 8
_LUMA_CHROMA = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))


def _cosines() -> Tensor:
    """(8, 8) orthonormal DCT-II."""
    k = torch.arange(_BLOCK, dtype=torch.float64)
    basis = torch.cos(math.pi / _BLOCK * (k + 0.5) * k[:, None]) * math.sqrt(2 / _BLOCK)
    basis[0] /= math.sqrt(2)
    return basis.float()


def coefficients(x: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1] -> |c| (N, h, w, 3 * 64) of 8x8 blocks; the mean is predicted from the block before.

    Chroma counts at half resolution each way in 4:2:0: its finer half of the frequencies is left out.
    """
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate")
    planes = torch.einsum("kc,nchw->nkhw", x.new_tensor(_LUMA_CHROMA), x)
    pieces = planes.unfold(2, _BLOCK, _BLOCK).unfold(3, _BLOCK, _BLOCK)
    basis = _cosines().to(x)
    c = torch.einsum("ay,nkhwyx,bx->nkhwab", basis, pieces, basis)
    dc = c[..., 0, 0]
    before = F.pad(dc[..., :-1], (1, 0))
    mask = x.new_ones(3, _BLOCK, _BLOCK)
    mask[1:, _BLOCK // 2 :], mask[1:, :, _BLOCK // 2 :] = 0, 0
    first = torch.zeros_like(mask)
    first[:, 0, 0] = 1
    size = (
        c.abs() * (mask * (1 - first))[None, :, None, None]
        + (dc - before).abs()[..., None, None] * first[None, :, None, None]
    )
    return size.permute(0, 2, 3, 1, 4, 5).flatten(3)


def _bits(size: Tensor, step: Tensor) -> Tensor:
    """Of each coefficient: next to nothing, and no slope, far below the step; one more for each doubling above it."""
    return torch.log1p((size / step[:, None, None, None]).square()) / (2 * math.log(2))


def fit_step(size: Tensor, bits: Tensor, rounds: int = 24) -> Tensor:
    """(N,): the step at which `coefficients` (N, h, w, n) take bits (N,) in all. No gradient."""
    size = size.detach()
    low, high = torch.full_like(bits, -50.0), torch.full_like(bits, 12.0)
    for _ in range(rounds):
        middle = (low + high) / 2
        total = _bits(size, middle.exp2()).sum((1, 2, 3))
        low, high = torch.where(total > bits, middle, low), torch.where(total > bits, high, middle)
    return ((low + high) / 2).exp2()


def block_bits(x: Tensor, bits: Tensor) -> Tensor:
    """(N, h, w) bits of each 8x8 block of the coded pictures x (N, 3, H, W) whose files have bits (N,)."""
    size = coefficients(x)
    return _bits(size, fit_step(size, bits)).sum(3)


def rate_of(x: Tensor, bits: Tensor) -> Tensor:
    """(N,) bits a pixel: those of the real files, with the gradient of the model."""
    return block_bits(x, bits).sum((1, 2)) / (x.shape[2] * x.shape[3])
