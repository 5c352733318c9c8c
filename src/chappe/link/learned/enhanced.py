"""The digital link with a trained mapping between symbols and antennas in place of its linear precoder."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from chappe.errors import UsageError
from chappe.link.detection import point_llrs
from chappe.link.digital import DigitalLink
from chappe.link.learned.pcen import Moments, linear_receiver
from chappe.link.qam import constellation, demap

__all__ = ["EnhancedLink", "enhanced"]


@dataclass(frozen=True)
class EnhancedLink(DigitalLink):
    """A `DigitalLink` whose symbol vectors are sent as `enhancer.table(H, sigma2)` says: a PCEN or a MutualPrecoder.

    Fades and noise are those of a DigitalLink with the same seed. detector: "lmmse", from the table's exact moments, or
    "ml" over all its columns. `precoder` is not used.
    """

    enhancer: nn.Module | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = getattr(self.enhancer, "config", None)
        if shape is None:
            raise UsageError("An EnhancedLink needs an enhancer: a PCEN or a MutualPrecoder.")
        if (shape.nt, shape.nr, shape.modulation) != (self.spec.nt, self.spec.nr, self.modulation):
            raise UsageError(
                f"This enhancer was made for {shape.modulation} on {shape.nt}x{shape.nr} antennas, not for "
                f"{self.modulation} on {self.spec.name}."
            )
        if self.detector not in ("lmmse", "ml") or self.csi_aware:
            raise UsageError("An EnhancedLink detects by lmmse or ml and knows nothing of its channel's error.")

    @property
    def streams(self) -> int:
        return self.enhancer.streams

    def equivalent(self, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As a DigitalLink's, for what is linear in the symbols: link adaptation goes by it."""
        sigma2 = torch.full((len(known),), self.sigma2)
        g = Moments(self.enhancer.table(known, sigma2), self.enhancer.x).cross
        return g, known @ g, sigma2

    def air(self, x: Tensor, h: Tensor, known: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `DigitalLink.air`."""
        sigma2 = torch.full((len(known),), self.sigma2)
        table = self.enhancer.table(known, sigma2)
        index = _index(x, self.modulation)
        z = table.gather(2, index[:, None, :].expand(-1, table.shape[1], -1))
        y = self.disturbed(z, h, noise)
        w, variance = linear_receiver(table, self.enhancer.x, known, sigma2)
        symbols = w @ y
        if self.detector == "ml":
            return point_llrs(y, known @ table, sigma2, self.modulation, self.streams, self.llr), symbols
        return demap(symbols, variance[..., None], self.modulation, self.llr), symbols


def enhanced(radio: DigitalLink, enhancer: nn.Module) -> EnhancedLink:
    """`radio` with an enhancer at its antennas; detectors other than "ml" become "lmmse"."""
    kept = {name: getattr(radio, name) for name in DigitalLink.__dataclass_fields__}
    return EnhancedLink(**{**kept, "detector": "ml" if radio.detector == "ml" else "lmmse"}, enhancer=enhancer)


def _index(x: Tensor, modulation: str) -> Tensor:
    """Columns (B, K) of `symbol_vectors` that the symbols x (B, Ns, K) are."""
    points = constellation(modulation)
    each = (x[..., None] - points).abs().argmin(-1)
    index = torch.zeros_like(each[:, 0])
    for stream in range(x.shape[1]):
        index = index * len(points) + each[:, stream]
    return index
