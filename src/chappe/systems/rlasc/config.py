"""RL-ASC's shapes and choices. A preset is a `RLASCConfig`; every preset runs the same code.

What the paper leaves open is a key here, see docs/rlasc.md. Its three rate models are `paper-low`, `paper-medium` and
`paper-high`: 16, 32 and 64 channels. `street` traces its whole curve with one set of weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from chappe.bitstream.concepts import LEVELS, MAX_CHANNELS, MAX_CONCEPTS
from chappe.errors import UsageError
from chappe.taxonomy import get_taxonomy

__all__ = ["CODEC_DEFAULTS", "LEVELS", "PRESETS", "AgentConfig", "RLASCConfig", "preset"]


@dataclass(frozen=True)
class AgentConfig:
    """The policy network pi, and what it sees beside f(m), s(m) and m."""

    convolutions: tuple[int, int] = (32, 64)
    pool: tuple[int, int] = (4, 8)  # cells that the features are pooled to
    hidden: tuple[int, int] = (256, 128)
    embedding: int = 16  # of m
    dropout: float = 0.5
    see_lambda: bool = False  # ln(lambda) as an input: one set of weights for every rate
    facts: bool = False  # bits and quantisation error at every level as inputs: the sender knows them
    start: str = "uniform"  # an untrained agent's policy: `uniform` over the levels, or `greedy` (the allocator's)

    def __post_init__(self):
        if self.start not in ("uniform", "greedy"):
            raise UsageError(f"an agent starts uniform or greedy, not {self.start!r}")


@dataclass(frozen=True)
class RLASCConfig:
    """Encoder, quantiser, generative decoder and agent. Widths run over 1/8, 1/4, 1/2 and full size in the generators,
    from 1/patch to 1/8 in the encoder."""

    taxonomy: str = "cityscapes30"
    channels: int = 32  # n
    vote: tuple[int, ...] = ()  # weight of each class in a cell's majority vote; (): all 1
    patch: int = 1  # pixels a side folded into channels at the encoder's input
    stem_kernel: int = 7
    encoder: tuple[int, ...] = (60, 120, 240, 480)
    encoder_blocks: int = 0  # residual blocks at 1/8
    encoder_norm: str = "instance"  # after each convolution (paper), or `none`: the picture's own light is kept
    direct: bool = False  # the cell's mean colour is added before the tanh: colours from the first step on
    sigma_scaled: bool = False  # the softness of eq. (25) counts in steps of the level rather than in units
    see_level: bool = False  # the generators get each cell's level: what was dropped is not the same as 0
    trunk: str = "separate"  # G_l runs once for each concept (paper), or once for all (`joint`)
    local: tuple[int, ...] = (256, 128, 64)
    local_blocks: int = 5
    globally: tuple[int, ...] = (256, 128, 64, 32)
    global_blocks: int = 3
    attention: tuple[int, ...] = (128, 64, 32)
    upsampling: str = "deconv"  # of G_l and the attention (G_g: nearest), or `bilinear` throughout
    fine: tuple[int, ...] = ()  # widths at 1/2 and full size and noise channels of a `FineHead` from 1/4 on
    coarse: int = 0  # colours per side a cell predicts in a straight line, added (bilinear) to what G_g draws
    tanh: bool = True  # at the ends of G_l and G_g
    spade_hidden: int = 128
    spade_kernel: int = 3
    resize: str = "nearest"  # how the map reaches a layer's resolution
    agent: AgentConfig = field(default_factory=AgentConfig)
    tasks: tuple[str, ...] = ("segmentation",)  # an agent for each

    def __post_init__(self):
        steps = 2 if self.fine else 4
        if self.patch * 2 ** (len(self.encoder) - 1) != 8:
            raise UsageError(f"an encoder {self.encoder} from 1/{self.patch} does not end at 1/8")
        if len(self.globally) != steps or len(self.local) != min(steps, 3) or len(self.attention) != steps - 1:
            raise UsageError(f"generators {self.local}, {self.globally} and {self.attention} do not end at full size")
        for key, found, known in (
            ("encoder_norm", self.encoder_norm, ("instance", "none")), ("trunk", self.trunk, ("separate", "joint")),
            ("upsampling", self.upsampling, ("deconv", "bilinear")),
        ):  # fmt: skip
            if found not in known:
                raise UsageError(f"{key} is {' or '.join(known)}, not {found!r}")
        if not 3 <= self.channels <= MAX_CHANNELS or self.concepts > MAX_CONCEPTS:
            raise UsageError(f"{self.concepts} concepts of {self.channels} channels are not coded")
        if self.vote and (len(self.vote) != self.concepts or not all(1 <= v <= 255 for v in self.vote)):
            raise UsageError(f"a vote needs {self.concepts} whole weights from 1 to 255, not {self.vote}")
        if self.fine and self.trunk == "separate":
            raise UsageError("a G_l that ends in a FineHead has a joint trunk")

    @property
    def concepts(self) -> int:
        """M: all classes, void among them, so that every pixel belongs to one."""
        return len(get_taxonomy(self.taxonomy))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> RLASCConfig:
        unknown = set(data) - {f.name for f in fields(cls)}
        if unknown:
            raise UsageError(f"unknown RL-ASC configuration keys {sorted(unknown)}")
        data = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        agent = {k: tuple(v) if isinstance(v, list) else v for k, v in data.pop("agent", {}).items()}
        return cls(**data, agent=AgentConfig(**agent))


PRESETS: dict[str, RLASCConfig] = {
    "paper-low": RLASCConfig(channels=16),
    "paper-medium": RLASCConfig(),
    "paper-high": RLASCConfig(channels=64),
    "street": RLASCConfig(
        taxonomy="street11", channels=8, vote=(2, 2, 5, 2, 3, 2, 5, 4, 3, 4, 4, 1), patch=4, stem_kernel=3,
        encoder=(64, 112), encoder_blocks=2, encoder_norm="none", direct=True, sigma_scaled=True, see_level=True,
        trunk="joint", local=(64, 48), local_blocks=2, globally=(112, 64), global_blocks=3, attention=(24,),
        upsampling="bilinear", fine=(24, 12, 2), coarse=1, tanh=False, spade_hidden=32, spade_kernel=1, resize="area",
        agent=AgentConfig(
            (16, 32), (2, 4), (128, 64), 16, 0.1, see_lambda=True, facts=True, start="greedy"
        ),
    ),
}  # fmt: skip


# What the codec does when not told otherwise; written into config.json beside the weights. `sensitivity`: see
# `picture.Concepts.losses`; `chappe train rlasc` measures it.
CODEC_DEFAULTS: dict = {
    "map": "near",
    "bpp": 0.04,
    "allocator": "agent",
    # Cost of a wrong pixel of each class in a near-lossless map: thin and rare classes stay, void may become anything.
    "protect": [1, 1, 2, 1, 1, 1, 2, 1.5, 1.5, 2, 2, 0],
    "map_share": {
        "near": [[0.01, 0.6], [0.025, 0.5], [0.04, 0.4], [0.08, 0.3], [0.16, 0.2], [0.32, 0.1]],
        "lossless": [[0.0, 0.5]],
    },
    "map_bpp": [[0.1, 0.03], [1.0, 0.016], [10.0, 0.008]],  # of the map where lambda alone is given
    "sensitivity": {"segmentation": [1.0] * 12},
    "points": {
        "low": {"bpp": 0.02},
        "medium": {"bpp": 0.04},
        "high": {"bpp": 0.08},
        "max": {"map": "lossless", "allocator": "uniform", "level": LEVELS - 1},
    },
}


def preset(name: str) -> RLASCConfig:
    """`street` (under 3 M parameters), or one of the paper's three rate models (`paper` is `paper-medium`)."""
    name = "paper-medium" if name == "paper" else name
    if name not in PRESETS:
        raise UsageError(f"unknown RL-ASC preset {name!r}; there are paper, {', '.join(PRESETS)}")
    return PRESETS[name]
