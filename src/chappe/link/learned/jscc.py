"""Joint source-channel networks: a picture as complex symbols, and back; no file, no code, no bits.

`JsccNet` with body "conv" is ADJSCC (J. Xu et al., IEEE TCSVT 2022): convolutions with GDN and, after each, a gate that
sees the channel; it also serves as SCSC's proxy. Body "vit" is DeepJSCC-MIMO (H. Wu et al., IEEE TWC 2024). Decoders
enlarge bilinearly: no layer knows where in a cell it is, so none can cover a picture with a grid.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.link.learned.config import JsccConfig
from chappe.nn.tiling import split_windows

__all__ = ["GDN", "JsccNet", "pack", "unpack"]

CONDITIONS = 5  # SNR, best and worst stream, share of the symbols sent, strength of a codec to be mimicked


class GDN(nn.Module):
    """x / sqrt(beta + sum gamma x^2) over channels, or times it (`inverse`). J. Balle et al., ICLR 2016."""

    def __init__(self, channels: int, inverse: bool = False):
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(0.316 * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.gamma.square()[:, :, None, None]
        norm = F.conv2d(x.square(), weight, self.beta.square() + 1e-4)
        return x * (norm.sqrt() if self.inverse else norm.rsqrt())


class _Attention(nn.Module):
    """ADJSCC's attention feature module: channel means and the condition -> a gate for each channel."""

    def __init__(self, channels: int, conditions: int):
        super().__init__()
        hidden = max(8, channels // 16)
        self.first, self.second = nn.Linear(channels + conditions, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gate = self.second(F.relu(self.first(torch.cat([x.mean((2, 3)), condition], 1)))).sigmoid()
        return x * gate[:, :, None, None]


class _ConvSide(nn.Module):
    """Encoder (3 -> symbols) or its mirror."""

    def __init__(self, config: JsccConfig, decode: bool):
        super().__init__()
        widths = (3, *config.widths, config.symbols)
        layers = list(zip(widths, widths[1:], config.kernels, config.strides, strict=False))
        if decode:
            layers = [(b, a, k, s) for a, b, k, s in reversed(layers)]
        self.decode, self.strides = decode, [s for *_, s in layers]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, k, 1 if decode else s, k // 2) for a, b, k, s in layers)
        inner = [b for _, b, *_ in layers[:-1]]
        self.norms = nn.ModuleList(GDN(c, inverse=decode) if config.gdn else nn.Identity() for c in inner)
        self.slopes = nn.ModuleList(nn.PReLU(c) for c in inner)
        self.gates = nn.ModuleList(_Attention(c, CONDITIONS) for c in inner)
        if not config.gdn:  # nothing else keeps the signal's size from layer to layer
            for conv in self.convs:
                nn.init.kaiming_normal_(conv.weight, a=0.25)
                nn.init.zeros_(conv.bias)
            for gate in self.gates:
                nn.init.constant_(gate.second.bias, 2.0)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            if self.decode and self.strides[i] == 2:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = conv(x)
            if i < len(self.norms):
                x = self.gates[i](self.slopes[i](self.norms[i](x)), condition)
        return x


class _Block(nn.Module):
    """Transformer block over a grid of tokens (N, h, w, dim): attention in windows, then an MLP; norms first."""

    def __init__(self, config: JsccConfig):
        super().__init__()
        dim = config.dim
        self.heads, self.window = config.heads, config.window
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, config.ratio * dim), nn.GELU(), nn.Linear(config.ratio * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x))
        rows = []
        for ys in split_windows(x.shape[1], self.window[0]):
            cells = [self._attend(qkv[:, ys, xs]) for xs in split_windows(x.shape[2], self.window[1])]
            rows.append(torch.cat(cells, 2))
        x = x + self.out(torch.cat(rows, 1))
        return x + self.mlp(self.norm2(x))

    def _attend(self, qkv: Tensor) -> Tensor:
        n, h, w, _ = qkv.shape
        q, k, v = qkv.reshape(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h, w, -1)


class _VitSide(nn.Module):
    """Encoder or decoder: tokens of a patch each; the condition is added to every token, on both sides."""

    def __init__(self, config: JsccConfig, decode: bool):
        super().__init__()
        self.decode, dim = decode, config.dim
        self.enter = nn.Conv2d(config.symbols, dim, 1) if decode else nn.Conv2d(3, dim, config.patch, config.patch)
        self.place = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)  # where a token is, for any size of picture
        self.condition = nn.Linear(CONDITIONS, dim)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim)
        if decode:
            widths = pairwise((dim, *config.head))
            self.head = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in widths)
            self.last = nn.Conv2d(config.head[-1], 3, 3, padding=1)
        else:
            self.last = nn.Conv2d(dim, config.symbols, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.enter(x)
        x = x + self.place(x) + self.condition(condition)[:, :, None, None]
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x).permute(0, 3, 1, 2)
        if self.decode:
            for conv in self.head:
                x = F.silu(conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)))
        return self.last(x)


class JsccNet(nn.Module):
    """`encode`: picture -> real symbols of unit mean power; `decode`: what is left of them -> picture."""

    def __init__(self, config: JsccConfig | None = None):
        super().__init__()
        self.config = config = config or JsccConfig()
        side = _ConvSide if config.body == "conv" else _VitSide
        self.encoder, self.decoder = side(config, False), side(config, True)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Cells of a picture; an even number a row, since two reals make a symbol."""
        f = self.config.factor
        return -(-height // f), 2 * -(-width // (2 * f))

    def encode(self, image: Tensor, condition: Tensor, count: int) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, count, h, w) real, mean square 1/2 for each picture (so |symbol|^2 is 1)."""
        height, width = image.shape[2:]
        h, w = self.grid(height, width)
        f = self.config.factor
        x = F.pad(image, (0, w * f - width, 0, h * f - height), mode="replicate")
        s = self.encoder(x, condition)[:, :count]
        return s * (2 * s.square().mean((1, 2, 3), keepdim=True) + 1e-9).rsqrt()

    def decode(self, symbols: Tensor, condition: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, count, h, w) -> (N, 3, H, W), not yet clamped to [-1, 1]; symbols that were not sent are 0."""
        missing = self.config.symbols - symbols.shape[1]
        out = self.decoder(F.pad(symbols, (0, 0, 0, 0, 0, missing)), condition)
        return out[..., : size[0], : size[1]]


def pack(symbols: Tensor, streams: int) -> Tensor:
    """(N, C, h, w) real, w even -> (N, Ns, ceil(C / Ns) h w / 2) complex: channel c on stream c mod Ns, two neighbours
    in a row a symbol. Where Ns does not divide C, the last are 0."""
    n, c, h, w = symbols.shape
    full = F.pad(symbols, (0, 0, 0, 0, 0, -c % streams))
    pairs = torch.view_as_complex(full.reshape(n, full.shape[1], h * w // 2, 2).contiguous())
    return pairs.reshape(n, -1, streams, h * w // 2).transpose(1, 2).reshape(n, streams, -1)


def unpack(x: Tensor, count: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `pack`: (N, Ns, K) -> (N, count, h, w)."""
    n, streams, _ = x.shape
    h, w = grid
    pairs = x.reshape(n, streams, -1, h * w // 2).transpose(1, 2).reshape(n, -1, h * w // 2)
    return torch.view_as_real(pairs.contiguous()).reshape(n, -1, h, w)[:, :count]
