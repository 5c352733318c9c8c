"""SQ-GAN's shapes and choices. A preset is a `SQGANConfig`; both presets run the same code.

Where the paper and its public code disagree, the choice is a key here (`downsample`, `heads`, `sempe_channels`,
`codebook_update`, `spade_resize`, `condition`; training keys live in `TrainConfig`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

from chappe.errors import UsageError

__all__ = ["CODEC_DEFAULTS", "PRESETS", "SQGANConfig", "StreamConfig", "preset"]


@dataclass(frozen=True)
class StreamConfig:
    """One of the two pipelines, encoder to decoder. Levels run from 1/patch down to 1/16."""

    patch: int = 1  # pixels per side folded into channels at the input and unfolded at the output
    encoder: tuple[int, ...] = (128, 128, 256, 256, 512)  # width at each level, fine to coarse
    decoder: tuple[int, ...] = (128, 128, 256, 256, 512)
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    encoder_mid: bool = True  # residual, attention, residual after the last level
    decoder_mid: bool = True
    latent: int = 256
    code_dim: int = 256  # street: 6; ten bits keep 58 % of the variance of 16 iid dimensions, 90 % of 6
    codes: int = 1024  # J
    adm_blocks: int = 8
    adm_width: int = 256
    heads: int = 1  # paper: multi-head; code: 1
    stem_kernel: int = 3
    head_kernel: int = 3
    coarse: int = 0  # colours per side a latent cell predicts in a straight line, added (bilinear) to what D_x draws
    fine: tuple[int, ...] = ()  # widths at 1/2 and full size and noise channels of a `FineHead`; (): a pixel shuffle
    residual: int = 0  # codes of a second quantiser for what the first leaves; 0: none
    upsample_narrows: bool = False  # the decoder's width falls at the upsampling (cheap) or in the block after it

    def __post_init__(self):
        if self.patch * 2 ** (len(self.encoder) - 1) != 16 or len(self.decoder) != len(self.encoder):
            raise UsageError(f"levels {self.encoder}/{self.decoder} from 1/{self.patch} do not end at 1/16")


@dataclass(frozen=True)
class SQGANConfig:
    """The whole generator."""

    taxonomy: str = "cityscapes19"
    classes: int = 19  # that condition; void is the all-zero vector
    map: StreamConfig = field(default_factory=StreamConfig)
    image: StreamConfig = field(default_factory=lambda: StreamConfig(decoder_mid=False))
    spade_hidden: int = 128
    spade_kernel: int = 3
    spade_resize: str = "nearest"  # code: nearest; `area` keeps small signs in the conditioning
    samm_spade: bool = True  # False: MQ-VAE's unconditioned AMM (ablation)
    sempe: bool = True
    sempe_hidden: int = 128
    sempe_channels: int = 0  # 0: the stem's width (paper); 1: one broadcast channel (code)
    downsample: str = "conv"  # code: conv; paper: avg
    codebook_update: str = "ema"  # code: ema; paper: gradient
    condition: str = "argmax"  # what D_x is conditioned on: argmax of s^ (paper)

    @property
    def map_channels(self) -> int:
        """G_s also codes void."""
        return self.classes + 1

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> SQGANConfig:
        known = {f.name for f in fields(cls)}
        unknown = set(data) - known
        if unknown:
            raise UsageError(f"unknown SQ-GAN configuration keys {sorted(unknown)}; this version knows {sorted(known)}")
        data = dict(data)
        for key in ("map", "image"):
            if key in data:
                data[key] = StreamConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in data[key].items()})
        return cls(**data)


_STREET_MAP = StreamConfig(
    patch=4, encoder=(32, 64, 96), decoder=(32, 64, 96), encoder_blocks=1, decoder_blocks=1, encoder_mid=False,
    decoder_mid=False, latent=96, code_dim=6, adm_blocks=2, adm_width=96, coarse=4, head_kernel=1,
    upsample_narrows=True,
)  # fmt: skip
_STREET_IMAGE = StreamConfig(
    patch=4, encoder=(48, 80, 112), decoder=(48, 96, 128), encoder_blocks=1, decoder_blocks=2, encoder_mid=False,
    decoder_mid=False, latent=112, code_dim=6, adm_blocks=2, adm_width=112, coarse=4, fine=(24, 12, 2), residual=1024,
    upsample_narrows=True,
)  # fmt: skip

PRESETS: dict[str, SQGANConfig] = {
    "paper": SQGANConfig(),
    "street": SQGANConfig(
        taxonomy="street11", classes=11, map=_STREET_MAP, image=_STREET_IMAGE, spade_hidden=32, spade_kernel=1,
        spade_resize="area", sempe_hidden=48,
    ),
}  # fmt: skip


# What the codec does when not told otherwise; written into config.json beside the weights. `map_share` gives, for each
# way to send the map, the share of the file it gets at a rate (bpp, share): chosen on training frames.
CODEC_DEFAULTS: dict = {
    "map": "near",
    "bpp": 0.04,
    # Cost of a wrong pixel of each class in a near-lossless map: thin and rare classes stay, void may become anything.
    "protect": [1, 1, 2, 1, 1, 1, 2, 1.5, 1.5, 2, 2, 0],
    "map_share": {
        "near": [[0.015, 0.45], [0.025, 0.55], [0.08, 0.55]],
        "tokens": [[0.01, 0.55], [0.04, 0.5], [0.08, 0.5]],
        "lossless": [[0.0, 0.5]],
    },
    "goals": {  # best judge mIoU and best LPIPS on 10 training frames (tools/rate_slopes.py), smoothed: both are flat
        "meaning": {"near": [[0.015, 0.45], [0.025, 0.6], [0.04, 0.55]]},
        "looks": {"near": [[0.015, 0.4], [0.025, 0.55], [0.04, 0.65]]},
    },
    "points": {
        "low": {"bpp": 0.015},
        "medium": {"bpp": 0.025},
        "high": {"bpp": 0.04},
        "paper-low": {"map": "tokens", "m_s": 0.4, "m_x": 0.4},
        "paper-high": {"map": "tokens", "m_s": 1.0, "m_x": 1.0},
        "max": {"map": "lossless", "m_x": 1.0, "m_f": 1.0},
    },
}


def preset(name: str) -> SQGANConfig:
    """`paper` (183 M parameters) or `street` (under 5 M)."""
    if name not in PRESETS:
        raise UsageError(f"unknown SQ-GAN preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
