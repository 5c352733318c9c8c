"""Shapes of the learned links. A preset is a config; the config is what is saved beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from chappe.errors import UsageError

__all__ = ["JSCC_PRESETS", "PPEN_PRESETS", "JsccConfig", "MutualConfig", "PcenConfig", "PpenConfig"]


class Saved:
    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict):
        try:
            return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})
        except TypeError as error:
            raise UsageError(f"This is no {cls.__name__}: {error}.") from error


@dataclass(frozen=True)
class PpenConfig(Saved):
    """Shape of a `PPEN`. stem: stride of the DAC branch's first convolution; context: width of the strip-pool gates as
    a share of their stage, in percent; strip: "max" (SCSC eq. 8) or "avg" (SPNet's code)."""

    pixel: int = 16
    widths: tuple[int, ...] = (16, 32, 64, 96)
    stem: int = 2
    hidden: int = 16  # of each two-layer perceptron of a quantisation-adaptive layer
    context: int = 50
    strip: str = "max"
    adaptive: bool = True  # False: "SCSC w/o QA"

    def __post_init__(self) -> None:
        if self.strip not in ("max", "avg") or self.stem not in (1, 2, 4) or not self.widths:
            raise UsageError("A PPEN pools by max or avg, its stem is 1, 2 or 4 and it has a width or more.")
        if len(self.widths) > 8:
            raise UsageError("A PPEN has 8 stages at most.")


PPEN_PRESETS = {
    "street": PpenConfig(),
    "paper": PpenConfig(pixel=3, widths=(32, 64, 128, 256, 512), stem=1, hidden=24, context=72),
}


@dataclass(frozen=True)
class PcenConfig(Saved):
    """A `PCEN`. base: the precoder that makes x_p. form: "literal" (SCSC Algorithm 1) or "gated" (starts at the base).

    target: what U2 H z is to be, "x_p" (paper) or "x_e". cen: "mmse" (closed form), "hyper" (that and a learned
    correction that sees H) or "fixed" (one free matrix: SCSC's single layer, for one static channel).
    alphabet_bits: bits an axis of the alphabet M that antennas are drawn to; 1 is QPSK. soft: Pi_M by a softmax, else
    the nearest point, with the soft one's gradient.
    """

    modulation: str = "qpsk"
    base: str = "svd-waterfill"
    form: str = "literal"
    target: str = "x_p"
    cen: str = "mmse"
    rounds: int = 8
    passes: int = 2  # literal: updates of U2
    alphabet_bits: int = 1
    soft: bool = True
    nt: int = 2
    nr: int = 2

    def __post_init__(self) -> None:
        known = (("form", ("literal", "gated")), ("target", ("x_p", "x_e")), ("cen", ("mmse", "hyper", "fixed")))
        for key, values in known:
            if getattr(self, key) not in values:
                raise UsageError(f"{key} of a PCEN is one of {', '.join(values)}, not {getattr(self, key)!r}.")
        if not (1 <= self.nt <= 16 and 1 <= self.nr <= 16):
            raise UsageError("A PCEN has 1 to 16 antennas a side.")
        if not (1 <= self.rounds <= 100 and 1 <= self.passes <= 10 and 1 <= self.alphabet_bits <= 6):
            raise UsageError("A PCEN has 1 to 100 rounds, 1 to 10 passes and an alphabet of 1 to 6 bits an axis.")


@dataclass(frozen=True)
class MutualConfig(Saved):
    """base: "minmse" or "equal" powers, with the DFT; hidden: width of the network."""

    modulation: str = "qpsk"
    base: str = "equal"
    hidden: int = 32
    nt: int = 2
    nr: int = 2

    def __post_init__(self) -> None:
        if self.base not in ("minmse", "equal"):
            raise UsageError(f"The base of a trained precoder is minmse or equal, not {self.base!r}.")
        if not (1 <= self.nt <= 16 and 1 <= self.nr <= 16 and 1 <= self.hidden <= 1024):
            raise UsageError("A trained precoder has 1 to 16 antennas a side and 1 to 1024 hidden units.")


@dataclass(frozen=True)
class JsccConfig(Saved):
    """A `JsccNet`: body "conv" (ADJSCC, ProxyNet) or "vit" (DeepJSCC-MIMO).

    symbols: real numbers a grid cell that the encoder can make; a transmission sends the first of them. conv: kernels,
    strides and widths of the encoder's layers, the last of which makes the symbols; the decoder mirrors them.
    vit: a cell is a patch of `patch` pixels; dim, heads, depth (of each side), ratio of the MLP, window of cells that
    attend to each other.
    """

    body: str = "conv"
    symbols: int = 64
    kernels: tuple[int, ...] = (5, 5, 3, 3, 3)
    strides: tuple[int, ...] = (2, 2, 2, 1, 1)
    widths: tuple[int, ...] = (24, 48, 96, 96)
    gdn: bool = False  # the papers' normalisation; without it 80 steps came 1 dB further here, and a step is shorter
    patch: int = 8
    dim: int = 80
    heads: int = 4
    depth: int = 3
    ratio: int = 2
    window: tuple[int, int] = (16, 32)
    head: tuple[int, ...] = (40, 24, 12)  # widths at 1/4, 1/2 and full size behind a vit of patch 8

    def __post_init__(self) -> None:
        if self.body not in ("conv", "vit"):
            raise UsageError(f"The body of a JSCC network is conv or vit, not {self.body!r}.")
        if len({len(self.kernels), len(self.strides), len(self.widths) + 1}) != 1 or set(self.strides) - {1, 2}:
            raise UsageError("kernels and strides (1 or 2) need an entry a layer, widths one less.")
        if not 2 <= self.patch <= 64 or max(len(self.widths), self.depth) > 64:
            raise UsageError("A patch has 2 to 64 pixels a side, and a side 64 layers at most.")
        if 1 << len(self.head) != self.patch or self.dim % self.heads:
            raise UsageError("A head has a width for each doubling up to the patch; heads divide dim.")

    @property
    def factor(self) -> int:
        """Pixels a side of a grid cell."""
        return self.patch if self.body == "vit" else 1 << sum(s == 2 for s in self.strides)


JSCC_PRESETS = {
    ("adjscc", "street"): JsccConfig(),
    ("adjscc", "paper"): JsccConfig(
        symbols=16, kernels=(9, 5, 5, 5, 5), strides=(2, 2, 1, 1, 1), widths=(256, 256, 256, 256), gdn=True
    ),
    ("deepjscc-mimo", "street"): JsccConfig(body="vit"),
    ("deepjscc-mimo", "paper"): JsccConfig(
        body="vit", symbols=16, patch=4, dim=256, heads=8, depth=8, ratio=4, window=(8, 8), head=(128, 64)
    ),
    ("proxy", "street"): JsccConfig(widths=(24, 48, 64, 64)),
    ("proxy", "paper"): JsccConfig(
        symbols=64, kernels=(5, 5, 5, 5), strides=(2, 2, 2, 1), widths=(256, 256, 256), gdn=True
    ),
}  # fmt: skip
