"""The semantic U-Net of diffusion receivers: GESCO's, SPIC's SemCoRe, and the small one that serves both.

Plain group norm in the encoder; SPADE group norm, driven by the label map, in the middle and the decoder; the time of
the diffusion scales and shifts every block (GESCO 3.3, after the semantic diffusion model). `fold` > 1 runs the whole
network on space-to-depth pixels, so that no layer works at full resolution.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.errors import UsageError
from chappe.nn.blocks import SPADE, Downsample, GroupNorm, Upsample, split_windows
from chappe.nn.tiling import WINDOW

__all__ = ["COARSE", "UNET_PRESETS", "Planes", "SemanticUNet", "UNetConfig", "time_embedding", "unet_preset"]

COARSE = ("none", "always", "optional")


@dataclass(frozen=True)
class UNetConfig:
    """`planes`: channels of the condition. `coarse`: whether a coarse picture (3 channels) comes with the noisy one;
    `optional` adds a channel that says so. `multipliers`: widths of the levels by `width`. `attention`: coarsest levels
    that have it. `resample`: `block`, a residual block that changes the size (published), or `conv`."""

    planes: int = 11
    coarse: str = "optional"
    width: int = 32
    multipliers: tuple[float, ...] = (1, 1.5, 2, 3, 4)
    blocks: int = 1  # a level of the encoder; the decoder has one more
    attention: int = 3
    head: int = 32  # channels of an attention head
    spade_hidden: int = 32
    spade_kernel: int = 1
    fold: int = 2
    resample: str = "conv"
    resize: str = "area"  # how the map reaches a layer's resolution: nearest (published) or area

    def __post_init__(self):
        choices = (("coarse", COARSE), ("resample", ("block", "conv")), ("resize", ("area", "nearest")))
        for key, known in choices:
            if getattr(self, key) not in known:
                raise UsageError(f"{key}={getattr(self, key)!r} is none of {', '.join(known)}")
        if not 0 <= self.attention <= len(self.multipliers):
            raise UsageError(f"attention at {self.attention} levels of {len(self.multipliers)}")

    @property
    def widths(self) -> list[int]:
        return [round(self.width * m) for m in self.multipliers]

    @property
    def multiple(self) -> int:
        """What height and width have to be multiples of."""
        return self.fold * 2 ** (len(self.multipliers) - 1)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> UNetConfig:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


_PAPER = {"width": 256, "multipliers": (1, 1, 2, 2, 4, 4), "blocks": 2, "head": 64, "spade_hidden": 128,
          "spade_kernel": 3, "fold": 1, "resample": "block", "resize": "nearest"}  # fmt: skip
UNET_PRESETS: dict[str, dict] = {
    "paper": {"planes": 19, "coarse": "always", **_PAPER},  # SPIC's SemCoRe: 19 classes, coarse picture
    "paper-gesco": {"planes": 36, "coarse": "none", **_PAPER},  # 35 label ids and the instance edges
    "street": {},
}


def unet_preset(name: str, **changes) -> UNetConfig:
    """`paper` (SPIC), `paper-gesco` or `street`, with keys changed. Raises UsageError for another name."""
    if name not in UNET_PRESETS:
        raise UsageError(f"There is no U-Net preset {name!r}; there are {', '.join(UNET_PRESETS)}.")
    return UNetConfig(**(UNET_PRESETS[name] | changes))


class Planes:
    """A condition that is not hard labels: planes (N, C, H, W) float at the resolution a layer asks for."""

    def __init__(self, planes: Tensor, resize: str = "area"):
        self.planes, self.resize = planes, resize
        self._cache: dict[tuple[int, int], Tensor] = {tuple(planes.shape[2:]): planes}

    def at(self, height: int, width: int) -> Tensor:
        key = (height, width)
        if key not in self._cache:
            if self.resize == "nearest":
                self._cache[key] = F.interpolate(self.planes, key, mode="nearest")
            else:
                self._cache[key] = F.adaptive_avg_pool2d(self.planes, key)
        return self._cache[key]


def time_embedding(t: Tensor, width: int) -> Tensor:
    """Sinusoids of time steps (N,) -> (N, width): cosines, then sines, periods from 2 pi to 10000 x 2 pi."""
    half = width // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * rates
    return F.pad(torch.cat([angles.cos(), angles.sin()], 1), (0, width % 2))


class _Block(nn.Module):
    """norm, swish, (resample), conv; norm scaled and shifted by time, swish, zero conv; plus a skip."""

    def __init__(self, c_in: int, c_out: int, time: int, spade: dict | None = None, size: str = ""):
        super().__init__()
        self.size = size  # "", "up" or "down"
        self.norm1 = SPADE(c_in, **spade) if spade else GroupNorm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time = nn.Linear(time, 2 * c_out)
        self.norm2 = SPADE(c_out, **spade) if spade else GroupNorm(c_out)
        self.conv2 = _zero(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, time: Tensor, condition: Planes) -> Tensor:
        h, x = self._sized(F.silu(self.norm1(x, condition))), self._sized(x)
        h = self.conv1(h)
        scale, shift = self.time(time)[..., None, None].chunk(2, 1)
        h = self.norm2(h, condition) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))

    def _sized(self, x: Tensor) -> Tensor:
        if self.size == "down":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2, mode="nearest") if self.size == "up" else x


class _Attention(nn.Module):
    """Multi-head self-attention over positions, residual, in windows of at most the training size."""

    def __init__(self, channels: int, head: int):
        super().__init__()
        self.heads = max(1, channels // head)
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x))
        rows = []
        for ys in split_windows(x.shape[2], WINDOW[0]):
            parts = [self._attend(qkv[:, :, ys, xs]) for xs in split_windows(x.shape[3], WINDOW[1])]
            rows.append(torch.cat(parts, 3))
        return x + self.out(torch.cat(rows, 2))

    def _attend(self, qkv: Tensor) -> Tensor:
        n, _, h, w = qkv.shape
        q, k, v = (t.reshape(n, self.heads, -1, h * w).transpose(2, 3) for t in qkv.chunk(3, 1))
        return F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, -1, h, w)


class SemanticUNet(nn.Module):
    """Noisy picture, time, condition (and coarse picture) -> prediction and variance."""

    def __init__(self, config: UNetConfig | None = None):
        super().__init__()
        self.config = config = config or UNetConfig()
        spade = {"classes": config.planes, "hidden": config.spade_hidden, "kernel": config.spade_kernel}
        widths, emb, cells = config.widths, 4 * config.width, config.fold**2
        given = cells * (3 if config.coarse == "none" else 6) + (config.coarse == "optional")
        last = len(widths) - 1
        attended = range(last + 1 - config.attention, last + 1)
        self.time = nn.Sequential(nn.Linear(config.width, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.stem = nn.Conv2d(given, widths[0], 3, padding=1)
        self.encoder, kept, width = nn.ModuleList(), [widths[0]], widths[0]
        for level, target in enumerate(widths):
            for _ in range(config.blocks):
                self.encoder.append(_Stage(width, target, emb, None, config.head if level in attended else 0))
                width = target
                kept.append(width)
            if level < last:
                self.encoder.append(_Resize(width, width, emb, None, "down", config.resample))
                kept.append(width)
        self.middle = nn.ModuleList(
            [_Stage(width, width, emb, spade, config.head), _Stage(width, width, emb, spade, 0)]
        )
        self.decoder = nn.ModuleList()
        for level in range(last, -1, -1):
            for _ in range(config.blocks + 1):
                head = config.head if level in attended else 0
                self.decoder.append(_Stage(width + kept.pop(), widths[level], emb, spade, head))
                width = widths[level]
            if level:
                target = widths[level] if config.resample == "block" else widths[level - 1]
                self.decoder.append(_Resize(width, target, emb, spade, "up", config.resample))
                width = target
        self.norm = GroupNorm(width)
        self.out = _zero(nn.Conv2d(width, 6 * cells, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, planes: Tensor | Planes, coarse: Tensor | None = None) -> Tensor:
        """x (N, 3, H, W); t (N,) time steps; planes (N, C, H, W), all zero for the null map; coarse (N, 3, H, W) in
        [-1, 1], or None where the configuration allows it -> (N, 6, H, W): prediction, then variance in about [-1, 1].
        """
        config = self.config
        condition = planes if isinstance(planes, Planes) else Planes(planes, config.resize)
        time = self.time(time_embedding(t, config.width))
        h = self.stem(self._inputs(x, coarse))
        kept = [h]
        for stage in self.encoder:
            h = stage(h, time, condition)
            kept.append(h)
        for stage in self.middle:
            h = stage(h, time, condition)
        for stage in self.decoder:
            h = stage(h if isinstance(stage, _Resize) else torch.cat([h, kept.pop()], 1), time, condition)
        h = self.out(F.silu(self.norm(h)))
        return F.pixel_shuffle(h, config.fold) if config.fold > 1 else h

    def _inputs(self, x: Tensor, coarse: Tensor | None) -> Tensor:
        mode = self.config.coarse
        if mode == "always" and coarse is None:
            raise UsageError("this network needs a coarse picture")
        parts = [x] if mode == "none" else [x, torch.zeros_like(x) if coarse is None else coarse]
        h = torch.cat(parts, 1)
        h = F.pixel_unshuffle(h, self.config.fold) if self.config.fold > 1 else h
        if mode != "optional":
            return h
        flag = h.new_zeros(h.shape[0], 1, *h.shape[2:]) if coarse is None else present(coarse, h)
        return torch.cat([h, flag], 1)


def present(coarse: Tensor, like: Tensor) -> Tensor:
    """(N, 1, h, w): 1 for pictures of the batch whose coarse picture is there, 0 where it is all zero (dropped)."""
    there = coarse.flatten(1).abs().amax(1) > 0
    return there.to(like.dtype)[:, None, None, None].expand(-1, 1, *like.shape[2:])


class _Stage(nn.Module):
    """A residual block, then attention where `head` is not 0."""

    def __init__(self, c_in: int, c_out: int, time: int, spade: dict | None, head: int):
        super().__init__()
        self.block = _Block(c_in, c_out, time, spade)
        self.attention = _Attention(c_out, head) if head else nn.Identity()

    def forward(self, x: Tensor, time: Tensor, condition: Planes) -> Tensor:
        return self.attention(self.block(x, time, condition))


class _Resize(nn.Module):
    """Half or twice the sides: a residual block (keeps the width) or a convolution."""

    def __init__(self, c_in: int, c_out: int, time: int, spade: dict | None, size: str, kind: str):
        super().__init__()
        self.kind = kind
        if kind == "block":
            self.step = _Block(c_in, c_out, time, spade, size)
        else:
            self.step = Downsample(c_in, c_out, "avg") if size == "down" else Upsample(c_in, c_out)

    def forward(self, x: Tensor, time: Tensor, condition: Planes) -> Tensor:
        return self.step(x, time, condition) if self.kind == "block" else self.step(x)


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv
