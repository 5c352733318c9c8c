"""Channels: what happens between the antennas, as torch modules with gradients, batch first, complex tensors.

A `Fading` draws responses H (B, Nr, Nt) for as many channel uses as are wanted; `propagate` sends z (B, Nt, K) through
them: y = H z + n with n ~ CN(0, sigma2). One use is one complex symbol on every antenna (for TDL and CDL: one resource
element of OFDM; pilots and cyclic prefix are not counted). E|H_ij|^2 = 1 for every fading law; 1x1 AWGN is H = 1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch

from chappe.errors import UsageError

__all__ = ["LAWS", "ChannelSpec", "Fading", "Response", "complex_normal", "disturb", "parse_channel", "propagate"]

COMPLEX_LAWS = ("awgn", "rayleigh", "rician", "tdl-a", "tdl-c", "cdl-c")
LAWS = (*COMPLEX_LAWS, "bsc", "erasure")
_MOST_ANTENNAS = 16


@dataclass(frozen=True)
class ChannelSpec:
    """A channel. `fade_every`: uses after which rayleigh and rician draw anew, independently; None: never, one response
    for everything that is sent at once (SCSC's block fading); 1: every use.

    k_factor_db: power of the line of sight by the scattered, rician. For TDL and CDL: delay_spread in s (RMS), speed in
    m/s, carrier in Hz, subcarriers, spacing in Hz; 14 symbols a slot. flip: probability of a wrong bit (bsc);
    loss: probability that a packet of `packet` bytes is lost (erasure).
    """

    law: str = "rayleigh"
    nt: int = 1
    nr: int = 1
    fade_every: int | None = None
    k_factor_db: float = 6.0
    delay_spread: float = 100e-9
    speed: float = 1.0
    carrier: float = 3.5e9
    subcarriers: int = 64
    spacing: float = 30e3
    flip: float = 0.01
    loss: float = 0.1
    packet: int = 1024

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise UsageError(f"There is no channel {self.law!r}; there are {', '.join(LAWS)}.")
        if not (1 <= self.nt <= _MOST_ANTENNAS and 1 <= self.nr <= _MOST_ANTENNAS):
            raise UsageError(f"A channel has 1 to {_MOST_ANTENNAS} antennas a side, not {self.nt}x{self.nr}.")
        if self.law == "awgn" and self.nt != self.nr:
            raise UsageError(f"AWGN joins equal numbers of antennas, not {self.nt}x{self.nr}.")
        if not self.complex and (self.nt, self.nr) != (1, 1):
            raise UsageError(f"A channel of bits or packets has no antennas: write {self.law}.")
        if self.fade_every is not None and not 1 <= self.fade_every <= 1 << 30:
            raise UsageError(f"fade_every is a number of channel uses from 1, not {self.fade_every!r}.")
        if not (0 <= self.flip <= 0.5 and 0 <= self.loss <= 1 and 1 <= self.packet <= 65536):
            raise UsageError("flip is 0 to 0.5, loss 0 to 1 and packet 1 to 65536 bytes.")
        finite = (self.k_factor_db, self.delay_spread, self.speed, self.carrier, self.spacing)
        if not all(math.isfinite(x) for x in finite) or min(finite[1:]) < 0 or not 1 <= self.subcarriers <= 4096:
            raise UsageError("delay_spread, speed, carrier and spacing are not negative; subcarriers are 1 to 4096.")

    @property
    def complex(self) -> bool:
        """Whether a use carries complex symbols (and not a bit or a packet)."""
        return self.law in COMPLEX_LAWS

    @property
    def name(self) -> str:
        """'rayleigh2x2', 'awgn', 'bsc'."""
        return self.law if (self.nt, self.nr) == (1, 1) else f"{self.law}{self.nt}x{self.nr}"


def parse_channel(name: str | ChannelSpec, **options: object) -> ChannelSpec:
    """'rayleigh2x2' -> ChannelSpec('rayleigh', nt=2, nr=2): law, transmit x receive antennas; options: its fields."""
    if isinstance(name, ChannelSpec):
        return replace(name, **options)
    match = re.fullmatch(r"(.*?)(?:(\d{1,2})x(\d{1,2}))?", name)
    law, nt, nr = match[1], int(match[2] or 1), int(match[3] or 1)
    return ChannelSpec(law, nt, nr, **options)


@dataclass(frozen=True, eq=False)
class Response:
    """Channels h (B, Nr, Nt) complex64, in the order of the uses; each holds for `per` uses."""

    h: torch.Tensor
    per: int


def complex_normal(shape: tuple[int, ...], generator: torch.Generator | None = None) -> torch.Tensor:
    """CN(0, 1) of that shape, complex64."""
    return torch.view_as_complex(torch.randn(*shape, 2, generator=generator)) * math.sqrt(0.5)


def propagate(
    z: torch.Tensor, h: torch.Tensor, sigma2: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """y = H z + n: z (B, Nt, K), h (B, Nr, Nt), sigma2 (B,) -> (B, Nr, K). Gradients go to z, h and sigma2."""
    clean = h @ z
    return clean + complex_normal(tuple(clean.shape), generator).to(clean) * sigma2.sqrt()[:, None, None]


def disturb(h: torch.Tensor, error: float, generator: torch.Generator | None = None) -> torch.Tensor:
    """What is taken for the channel when each entry's estimate is off by CN(0, error)."""
    return h if error == 0 else h + complex_normal(tuple(h.shape), generator) * math.sqrt(error)


class Fading(torch.nn.Module):
    """The channel of a `ChannelSpec` as a layer: `draw` for responses, the call for y = H z + n."""

    def __init__(self, spec: ChannelSpec) -> None:
        super().__init__()
        if not spec.complex:
            raise UsageError(f"{spec.law} carries bits or packets, not complex symbols: it is no fading channel.")
        self.spec = spec

    def draw(self, uses: int, generator: torch.Generator | None = None) -> Response:
        """Responses for at least `uses` channel uses that follow each other."""
        spec = self.spec
        if spec.law == "awgn":
            return Response(torch.eye(spec.nr, dtype=torch.complex64)[None], uses)
        if spec.law in ("rayleigh", "rician"):
            per = uses if spec.fade_every is None else min(spec.fade_every, uses)
            return Response(self.draw_blocks(-(-uses // per), generator), per)
        if spec.law == "cdl-c":
            from chappe.link.sionna_adapter import cdl_response

            return Response(cdl_response(spec, uses, generator), 1)
        from chappe.link.tdl import tdl_response

        return Response(tdl_response(spec, uses, generator), 1)

    def draw_blocks(self, blocks: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """`blocks` independent responses (B, Nr, Nt): a batch of fades to train on."""
        spec = self.spec
        if spec.law == "awgn":
            return torch.eye(spec.nr, dtype=torch.complex64).expand(blocks, -1, -1)
        if spec.law not in ("rayleigh", "rician"):
            parts = [self.draw(1, generator).h[:1] for _ in range(blocks)]
            return torch.cat(parts)
        scattered = complex_normal((blocks, spec.nr, spec.nt), generator)
        if spec.law == "rayleigh":
            return scattered
        k = 10 ** (spec.k_factor_db / 10)
        # Line of sight between two uniform arrays of half a wavelength: a plane wave from a random direction.
        angles = torch.rand(blocks, 2, generator=generator) * 2 * math.pi
        leave = torch.sin(angles[:, :1]) * torch.arange(spec.nt)
        arrive = torch.sin(angles[:, 1:]) * torch.arange(spec.nr)
        sight = torch.exp(1j * math.pi * (arrive[:, :, None] + leave[:, None, :]))
        return math.sqrt(k / (k + 1)) * sight + math.sqrt(1 / (k + 1)) * scattered

    def forward(
        self, z: torch.Tensor, h: torch.Tensor, sigma2: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """`propagate`: z (B, Nt, K), h (B, Nr, Nt) from `draw_blocks`, sigma2 (B,) -> y (B, Nr, K)."""
        return propagate(z, h, sigma2, generator)
