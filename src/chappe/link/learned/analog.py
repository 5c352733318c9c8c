"""Learned symbols over the air: the transmission that training and links share, and the links of ADJSCC and its kin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from chappe.codec import Decoded, StreamReport
from chappe.errors import RateError, UsageError
from chappe.image import read_image
from chappe.link.adaptation import uses_budget
from chappe.link.channels import propagate
from chappe.link.detection import linear
from chappe.link.digital import DigitalLink, Reception
from chappe.link.learned.jscc import JsccNet, pack, unpack
from chappe.link.picture import Link, Received, parse_cbr
from chappe.link.precoding import precoder

if TYPE_CHECKING:
    from chappe.codec import ImageSource
    from chappe.link.learned.pcen import PCEN
    from chappe.link.learned.ppen import PPEN

__all__ = ["JsccLink", "LearnedReceived", "condition", "linear_precoder", "over_air", "to_picture", "to_tensor"]


def condition(sigma2: Tensor, variance: Tensor, share: float, strength: Tensor | float = 0.0) -> Tensor:
    """(N, 5) what both ends know: SNR, quality of the best and of the worst stream (each dB / 10, -2 to 4), share of
    the symbols that are sent, strength. sigma2 (N,); variance (N, Ns) of what disturbs each stream's symbols."""
    quality = (-variance.detach().log10()).clamp(-2, 4)
    columns = [-sigma2.log10(), quality.amax(1), quality.amin(1)]
    rest = [torch.full_like(sigma2, share), strength + torch.zeros_like(sigma2)]
    return torch.stack([*columns, *rest], 1)


def over_air(
    x: Tensor, g: Tensor, h: Tensor, a: Tensor, sigma2: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Send x (B, Ns, K) by precoder g (B, Nt, Ns) over h (B, Nr, Nt), where the receiver takes H G for a (B, Nr, Ns).

    Returns z (B, Nt, K) as sent, x equalised and shrunk by LMMSE (B, Ns, K), and what disturbs it before shrinking,
    (B, Ns).
    """
    z = g @ x
    y = propagate(z, h, sigma2, generator)
    heard, variance = linear("lmmse", y, a, sigma2)
    return z, heard / (1 + variance[..., None]), variance


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().div_(127.5).sub_(1.0)


def to_picture(x: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [-1, 1] -> (H, W, 3) uint8."""
    return ((x[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


@dataclass(frozen=True, eq=False)
class LearnedReceived(Received):
    """A `Received` of a link that may have a resource map: (h, w) float32 over the picture, in `resource_unit`."""

    resources: np.ndarray | None = None
    resource_unit: str = ""


class JsccLink(Link):
    """A picture as learned symbols: never lost, only noisier. `radio` gives channel, SNR, its definition and CSI error;
    its seed gives the fades that a DigitalLink meets. ppen, pcen: the ProxyNet scheme's; else SVD with equal power.
    """

    def __init__(
        self, name: str, net: JsccNet, radio: DigitalLink, *, ppen: PPEN | None = None, pcen: PCEN | None = None
    ) -> None:
        if not radio.spec.complex:
            raise UsageError(f"{radio.spec.name} carries bits or packets: {name} sends complex symbols.")
        if pcen is not None and (pcen.config.nt, pcen.config.nr) != (radio.spec.nt, radio.spec.nr):
            raise UsageError(f"This {name} was made for {pcen.config.nt}x{pcen.config.nr} antennas.")
        self.name, self.net, self.radio, self.ppen, self.pcen = name, net.eval(), radio, ppen, pcen
        self.streams = min(radio.spec.nt, radio.spec.nr)

    def on(self, radio: DigitalLink) -> JsccLink:
        """See `Link.on`."""
        return JsccLink(self.name, self.net, radio, ppen=self.ppen, pcen=self.pcen)

    def count(self, height: int, width: int, cbr: str | float | Fraction | None) -> int:
        """Reals a cell that fit; all where no CBR is given. Raises RateError where not one a stream fits."""
        if cbr is None:
            return self.net.config.symbols
        h, w = self.net.grid(height, width)
        per = h * w // 2
        count = self.streams * (uses_budget(parse_cbr(cbr), height * width) // per)
        if count == 0:
            least = per / (3 * height * width)
            raise RateError(f"{self.name} sends {per} uses at least, a CBR of {least:.4f}: allow more than {cbr}.")
        return min(count, self.net.config.symbols)

    def transmit(
        self, image: ImageSource, *, cbr: str | float | Fraction | None = None, seed: int = 0
    ) -> LearnedReceived:
        """See `Link.transmit`. Without a CBR all symbols that the network has are sent."""
        picture = read_image(image)
        height, width = picture.shape[:2]
        count = self.count(height, width, cbr)
        uses = -(-count // self.streams) * math.prod(self.net.grid(height, width)) // 2
        noise = torch.Generator().manual_seed(2 * seed + 1)
        with torch.inference_mode():
            h, known, per = self.radio.response(uses, seed)
            blocks = -(-uses // per)
            h, known = h[:blocks], known[:blocks]
            sigma2 = torch.full((blocks,), self.radio.sigma2)
            g = linear_precoder(self.pcen, known, sigma2)
            a = known @ g
            _, variance = linear("lmmse", a.new_zeros(blocks, a.shape[1], 1), a, sigma2)
            told = condition(sigma2[:1], variance.log().mean(0, keepdim=True).exp(), count / self.net.config.symbols)
            x = to_tensor(picture)
            if self.ppen is not None:
                x = self.ppen(x, x.new_zeros(1))
            symbols = self.net.encode(x, told, count)
            sent = pack(symbols, self.streams)
            rows = torch.nn.functional.pad(sent, (0, blocks * per - uses))[0].reshape(self.streams, blocks, per)
            _, heard, _ = over_air(rows.transpose(0, 1), g, h, a, sigma2, noise)
            heard = heard.transpose(0, 1).reshape(1, self.streams, -1)[..., :uses]
            got = unpack(heard, count, self.net.grid(height, width))
            out = to_picture(self.net.decode(got, told, (height, width)))
        report = StreamReport(self.name, 0, 0, width, height, 0, ())
        spent = symbols[0].square().sum(0).numpy()
        return LearnedReceived(
            Decoded(out, None, None, report), (self._reception(uses, heard),), 0, height, width, self.radio, None,
            resources=spent, resource_unit="energy of the symbols",
        )  # fmt: skip

    def _reception(self, uses: int, heard: Tensor) -> Reception:
        shown = heard.mT.reshape(-1)[:2048].numpy()
        radio = self.radio
        return Reception(b"", False, 0, 0, 0.0, 0.0, uses, "complex", 0, float(radio.snr_db), radio.text, 0.0, shown)


def linear_precoder(pcen: PCEN | None, known: Tensor, sigma2: Tensor) -> Tensor:
    """G (B, Nt, Ns), tr(G G^H) = Nt: SVD with equal power, or the part of a PCEN's table that is linear in symbols."""
    if pcen is None:
        return precoder("svd-equal", known, sigma2)
    g = pcen.table(known, sigma2) @ pcen.x.mH
    return g * (pcen.config.nt / g.abs().square().sum((1, 2), keepdim=True)).sqrt()
