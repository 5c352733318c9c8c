"""Shapes and choices of SPIC's receivers. A preset is a config."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from chappe.errors import UsageError

__all__ = ["CODEC_DEFAULTS", "OnePassConfig"]


@dataclass(frozen=True)
class OnePassConfig:
    """A feed-forward generator over the label map and the coarse picture (a quarter a side)."""

    taxonomy: str = "street11"
    classes: int = 11  # that condition; void is the all-zero vector
    factor: int = 4  # pixels of the picture a side for one of the coarse picture
    encoder: tuple[int, ...] = (48, 80, 112)  # width at 1/4, 1/8, 1/16
    encoder_blocks: tuple[int, ...] = (1, 1, 2)
    decoder: tuple[int, ...] = (64, 96, 112)
    decoder_blocks: tuple[int, ...] = (2, 1, 1)
    half: int = 24  # width of the last stages, at 1/2
    full: int = 12  # and at full size; 0 (version 1): none, pixels by two pixel shuffles
    noise: int = 2  # channels of fixed noise that each of these two gets, where there is a stage at full size
    spade_hidden: int = 32
    spade_kernel: int = 1
    resize: str = "area"  # how the map reaches a layer's resolution

    def __post_init__(self):
        if len({len(self.encoder), len(self.encoder_blocks), len(self.decoder), len(self.decoder_blocks)}) != 1:
            raise UsageError("encoder, decoder and their blocks need one entry a level")
        if self.factor != 4:
            raise UsageError(f"the coarse picture has a quarter of the sides, not 1/{self.factor}")

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> OnePassConfig:
        return cls(**{"full": 0} | {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


# What the codec does when not told otherwise; written into config.json beside the weights. `map_share` gives the map's
# share of the file at a rate (bpp, share), `goals` the shares that gave the best judge mIoU and the best LPIPS on 14
# training frames (tools/rate_slopes.py, neighbouring rates smoothed: the optimum is flat).
CODEC_DEFAULTS: dict = {
    "map": "near",
    "bpp": 0.04,
    # Cost of a wrong pixel of each class in a near-lossless map: thin and rare classes stay, void may become anything.
    "protect": [1, 1, 2, 1, 1, 1, 2, 1.5, 1.5, 2, 2, 0],
    "map_share": {
        "near": [[0.015, 0.4], [0.04, 0.35], [0.08, 0.35], [0.16, 0.3]],
        "lossless": [[0.0, 0.5]],
    },
    "goals": {
        "meaning": {"near": [[0.015, 0.4], [0.025, 0.45], [0.04, 0.4], [0.08, 0.35]]},
        "looks": {"near": [[0.015, 0.35], [0.025, 0.25]]},
    },
    "points": {
        "low": {"bpp": 0.015},
        "medium": {"bpp": 0.025},
        "high": {"bpp": 0.04},
        "max": {"map": "lossless", "quality": 90},
    },
}
