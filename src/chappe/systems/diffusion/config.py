"""Shapes and choices of the diffusion receivers. A preset is a config; where a paper and its public code disagree, the
choice is a key (docs/diffusion.md lists them)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from chappe.errors import UsageError
from chappe.nn.unet import UNetConfig, unet_preset

__all__ = ["GESCO_DEFAULTS", "PRESETS", "SAMPLERS", "SPIC_DEFAULTS", "STARTS", "DiffusionConfig", "Sampling", "preset"]

SAMPLERS = ("ddpm", "ddim", "dpm++", "sde-dpm++", "consistency")
STARTS = ("noised", "clean")


@dataclass(frozen=True)
class DiffusionConfig:
    """One network: label set, U-Net and process. `edges`: the last plane of the condition holds instance edges.
    `first`: a bundled one-pass model whose picture takes the place of the enlarged coarse one (`first.FirstLook`)."""

    taxonomy: str = "street11"
    classes: int = 11  # of that condition; void is the all-zero vector
    edges: bool = False
    unet: UNetConfig = field(default_factory=UNetConfig)
    first: str = ""
    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    prediction: str = "sample"  # published: epsilon
    mix: float = 0.1  # see `process.Diffusion`

    def __post_init__(self):
        if self.unet.planes != self.classes + self.edges:
            raise UsageError(f"the U-Net takes {self.unet.planes} planes and the maps have {self.classes + self.edges}")
        if self.first and self.unet.coarse != "always":
            raise UsageError("a network that begins with a one-pass picture always has one: set its coarse=always")

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> DiffusionConfig:
        return cls(**{**data, "unet": UNetConfig.from_dict(data["unet"])})


# `tiny` is for tests and for a first look on a CPU.
_TINY = {"width": 16, "multipliers": (1, 2, 2), "head": 16, "attention": 2, "spade_hidden": 16}
PRESETS = {
    "street": DiffusionConfig(unet=unet_preset("street", coarse="always"), first="spic-onepass-street-v2", mix=0.001),
    "tiny": DiffusionConfig(unet=unet_preset("street", **_TINY)),
    "paper": DiffusionConfig("cityscapes19", 19, False, unet_preset("paper"), prediction="epsilon"),
    "paper-gesco": DiffusionConfig("cityscapes35", 35, True, unet_preset("paper-gesco"), prediction="epsilon"),
}


def preset(name: str) -> DiffusionConfig:
    """One of `PRESETS`. Raises UsageError for another name."""
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name]


@dataclass(frozen=True)
class Sampling:
    """How a receiver samples.

    steps: network evaluations (twice as many passes where guidance is not 1). begin: share of the process to undo, in
    1000ths: 1000 starts from noise alone, less needs a coarse picture. start: that picture `noised` to where the chain
    begins, or `clean`, as SPIC's public code hands it over. guidance: in the form e0 + s (e - e0), 1 for none.
    """

    sampler: str = "dpm++"
    steps: int = 10
    begin: int = 1000
    start: str = "noised"
    guidance: float = 1.0

    def __post_init__(self):
        if self.sampler not in SAMPLERS:
            raise UsageError(f"There is no sampler {self.sampler!r}; there are {', '.join(SAMPLERS)}.")
        if self.start not in STARTS:
            raise UsageError(f"start={self.start!r} is not a way to begin; use noised or clean")
        if not 1 <= self.begin <= 1000 or not 1 <= self.steps <= 1000:
            raise UsageError(f"steps={self.steps} and begin={self.begin} should lie between 1 and 1000")
        if self.steps > self.begin:
            raise UsageError(f"{self.steps} steps do not fit into the last {self.begin} of 1000")
        if not 0 <= self.guidance < 16:
            raise UsageError(f"guidance={self.guidance} should lie between 0 and 16")
        object.__setattr__(self, "guidance", round(self.guidance * 16) / 16)

    def with_settings(self, values: dict, form: str = "code") -> Sampling:
        """With entries of `values` (the field names) replaced; `form`: what its guidance means, see `guidance_code`."""
        known = {"sampler": str, "steps": int, "begin": int, "start": str, "guidance": float}
        try:
            changes = {k: make(values[k]) for k, make in known.items() if k in values}
        except ValueError as error:
            raise UsageError(f"a setting of the sampler is not a number: {error}") from error
        if "guidance" in changes:
            changes["guidance"] = guidance_code(changes["guidance"], form)
        return replace(self, **changes)


def guidance_code(scale: float, form: str) -> float:
    """A scale as the public code has it, e0 + s (e - e0), from `code` or `paper` (GESCO eq. 13: e + s (e - e0))."""
    if form not in ("code", "paper"):
        raise UsageError(f"guidance has the forms code and paper, not {form!r}")
    return scale + 1 if form == "paper" else scale


# What the codecs do when not told otherwise; written into config.json beside the weights. Map shares and class costs
# are those of SPIC's one-pass codec: the sender is the same.
SPIC_DEFAULTS: dict = {
    "map": "near",
    "bpp": 0.04,
    "protect": [1, 1, 2, 1, 1, 1, 2, 1.5, 1.5, 2, 2, 0],
    "map_share": {
        "near": [[0.01, 0.5], [0.025, 0.4], [0.04, 0.45], [0.08, 0.4], [0.16, 0.35]],
        "lossless": [[0.0, 0.5]],
    },
    "guidance_form": "code",
    "sampling": {"sampler": "consistency", "steps": 2, "begin": 1000, "start": "noised", "guidance": 1.0},
    "points": {
        "low": {"bpp": 0.015},
        "medium": {"bpp": 0.025},
        "high": {"bpp": 0.04},
        "paper": {"map": "lossless", "quality": 35, "sampler": "ddpm", "steps": 20, "begin": 200, "start": "clean",
                  "guidance": 1.5},
        "max": {"map": "lossless", "quality": 90},
    },
}  # fmt: skip
GESCO_DEFAULTS: dict = {
    "map": "near",
    "bpp": 0.02,
    "protect": SPIC_DEFAULTS["protect"],
    "guidance_form": "code",
    "sampling": {"sampler": "consistency", "steps": 2, "begin": 1000, "start": "noised", "guidance": 1.0},
    "points": {
        "low": {"bpp": 0.008},
        "high": {"bpp": 0.02},
        "paper": {"map": "lossless", "sampler": "dpm++", "steps": 20, "guidance": 2.0},
        "max": {"map": "lossless"},
    },
}
