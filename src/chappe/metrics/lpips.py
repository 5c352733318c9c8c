"""LPIPS: perceptual distance in the feature space of a classification network, in plain torch.

Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*, CVPR 2018, version 0.1:

    d(x, y) = sum_l  mean_{h,w}  sum_c  w_lc * (f_lc(x) - f_lc(y))^2

with f_l the activations at tap l, divided by their L2 norm over channels, and w_l >= 0 the trained heads.
Here the backbone is SqueezeNet 1.1 (seven taps) or, from two files the caller names, VGG16 (five taps).
No image is rescaled. Scores are comparable only between equal backbones: always say "LPIPS (SqueezeNet)".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..pretrained import pretrained_path

__all__ = ["LPIPS", "SQUEEZE_FILE", "VGGLPIPS", "SqueezeLPIPS", "lpips", "lpips_weights_path"]

SQUEEZE_FILE = "squeezenet1_1_lpips.safetensors"
MIN_SIDE = 17  # below, SqueezeNet's third pooling has nothing left

# The scaling layer of LPIPS v0.1: ImageNet statistics, restated for inputs in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

# torchvision's numbering of squeezenet1_1().features: index -> (in, squeeze, expand of each branch).
_FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128),
          9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}  # fmt: skip
_SQUEEZE_POOLS = (2, 5, 8)
_SQUEEZE_TAPS = {1: 64, 4: 128, 7: 256, 9: 384, 10: 384, 11: 512, 12: 512}

# torchvision's numbering of vgg16().features: index of each convolution -> (in, out); taps follow a ReLU.
_VGG_CONVS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256),
              14: (256, 256), 17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512),
              28: (512, 512)}  # fmt: skip
_VGG_POOLS = (4, 9, 16, 23)
_VGG_TAPS = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}


def lpips_weights_path() -> Path:
    """Where the SqueezeNet LPIPS weights are: `$CHAPPE_DATA/weights/squeezenet1_1_lpips.safetensors`.

    Raises `InputError` when the variable is unset or the file is not there.
    """
    return pretrained_path(SQUEEZE_FILE, "LPIPS")


def lpips(a: np.ndarray, b: np.ndarray, network: LPIPS | None = None) -> float:
    """LPIPS of two images, (H, W, 3) uint8 each: 0 for equal images, about 0.7 for unrelated ones.

    `network` defaults to `SqueezeLPIPS.from_file(lpips_weights_path())`, loaded anew at each call: keep one and pass
    it when there are many images. Raises `InputError` for anything but two equal shapes of uint8, 17 pixels or more a
    side.
    """
    for name, image in (("first", a), ("second", b)):
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
            raise InputError(f"LPIPS compares (H, W, 3) uint8 images and the {name} one is {found}: convert it first.")
    network = network if network is not None else SqueezeLPIPS.from_file(lpips_weights_path())
    device = network.shift.device

    def to_tensor(image: np.ndarray) -> Tensor:
        planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))[None]).to(device)
        return planes.float() / 127.5 - 1

    with torch.inference_mode():
        return float(network(to_tensor(a), to_tensor(b))[0])


class _Fire(nn.Module):
    """SqueezeNet's block: 1x1 squeeze, then 1x1 and 3x3 expansions side by side: (N, inputs, H, W) to 2*expand."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat((self.expand1x1(x), self.expand3x3(x)), 1))


class LPIPS(nn.Module):
    """A frozen backbone in torchvision's numbering, its taps and their heads. Use a subclass's constructor.

    `forward(x, y)`: (N, 3, H, W) float in [-1, 1] each -> (N,) distances; the gradient flows to `x` alone.
    For a target met again and again: `target = net.features(y)` once (under `no_grad`), then
    `net.distance(net.features(x), target)`.
    Always in eval mode and without parameter gradients, whatever the parent module does.
    """

    def __init__(self, layers: Mapping[int, nn.Module], taps: Mapping[int, int]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({str(index): layers[index] for index in sorted(layers)})
        self.taps = tuple(taps)
        for number, channels in enumerate(taps.values()):
            self.register_buffer(f"head{number}", torch.zeros(1, channels, 1, 1))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> LPIPS:
        """Stays in eval mode: a metric that changes with its parent's mode is not a metric."""
        return super().train(False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Unit-length activations at every tap, (N, C_l, H_l, W_l) each; `x` is (N, 3, H, W) float in [-1, 1]."""
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < MIN_SIDE:
            raise InputError(
                f"LPIPS takes (N, 3, H, W) tensors with sides of at least {MIN_SIDE}, found {tuple(x.shape)}: "
                "reshape or enlarge the images."
            )
        x = (x - self.shift) / self.scale
        out = []
        for name, layer in self.layers.items():
            x = layer(x)
            if int(name) in self.taps:
                # In float32 even under autocast: the reciprocal of a small norm overflows half precision.
                # vector_norm, because the gradient of sqrt(sum of squares) is NaN where all channels are zero.
                wide = x.float()
                out.append(wide / (torch.linalg.vector_norm(wide, dim=1, keepdim=True) + 1e-10))
        return out

    def distance(self, fx: Sequence[Tensor], fy: Sequence[Tensor]) -> Tensor:
        """(N,) distances of two lists from `features`; no gradient flows to `fy`. Shapes may broadcast over N."""
        total = fx[0].new_zeros(())
        for number, (p, q) in enumerate(zip(fx, fy, strict=True)):
            if p.shape[1:] != q.shape[1:]:
                raise InputError(
                    f"LPIPS compares equal sizes, found features {tuple(p.shape)} and {tuple(q.shape)}: "
                    "resize one of the images."
                )
            head = getattr(self, f"head{number}")
            total = total + ((p - q.detach()).square() * head).sum(1).mean((1, 2))
        return total

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, 3, H, W) float in [-1, 1], twice -> (N,) float32 distances >= 0, differentiable in `x` alone."""
        with torch.no_grad():
            target = self.features(y)
        return self.distance(self.features(x), target)

    def _fill(self, tensors: Mapping[str, Tensor], layer_prefix: str, head_prefix: str, source: str) -> None:
        """Copy a backbone (torchvision keys) and its heads from named tensors; `InputError` on any gap or mismatch."""
        own = self.state_dict()
        filled = {}
        for key, value in own.items():
            if key.startswith("head"):
                name = f"{head_prefix}lin{key[4:]}.model.1.weight"
            else:
                name = layer_prefix + key.removeprefix("layers.")
            if name not in tensors or tensors[name].shape != value.shape:
                found = f"shape {tuple(tensors[name].shape)}" if name in tensors else "nothing"
                raise InputError(
                    f"{source} should hold {name} of shape {tuple(value.shape)} and holds {found}: "
                    "give weights in torchvision's and LPIPS v0.1's naming."
                )
            filled[key] = tensors[name].float()
        self.load_state_dict(filled)


class SqueezeLPIPS(LPIPS):
    """LPIPS v0.1 on SqueezeNet 1.1 (722,496 frozen weights up to the last tap, 2,240 in the heads)."""

    def __init__(self) -> None:
        layers: dict[int, nn.Module] = {0: nn.Conv2d(3, 64, 3, stride=2), 1: nn.ReLU()}
        layers |= {index: nn.MaxPool2d(3, 2, ceil_mode=True) for index in _SQUEEZE_POOLS}
        layers |= {index: _Fire(*shape) for index, shape in _FIRES.items()}
        super().__init__(layers, _SQUEEZE_TAPS)

    @classmethod
    def from_file(cls, path: str | Path) -> SqueezeLPIPS:
        """Load from a safetensors file with `squeezenet1_1.features.*` and `lpips_squeeze_v0.1.lin0..6.model.1.weight`.

        Weights stored as float16 are widened. Raises `InputError` for a missing or unfit file.
        """
        net = cls()
        net._fill(_read(path), "squeezenet1_1.features.", "lpips_squeeze_v0.1.", str(path))
        return net


class VGGLPIPS(LPIPS):
    """LPIPS v0.1 on VGG16 (14.7 M frozen weights); both files come from the caller, none is shipped."""

    def __init__(self) -> None:
        layers: dict[int, nn.Module] = {index: nn.Conv2d(*shape, 3, padding=1) for index, shape in _VGG_CONVS.items()}
        layers |= {index + 1: nn.ReLU() for index in _VGG_CONVS}
        layers |= {index: nn.MaxPool2d(2, 2) for index in _VGG_POOLS}
        super().__init__(layers, _VGG_TAPS)

    @classmethod
    def from_files(cls, backbone: str | Path, heads: str | Path) -> VGGLPIPS:
        """Load torchvision's `vgg16` (keys `features.N.weight|bias`) and LPIPS's `vgg` heads (`linN.model.1.weight`).

        Both as safetensors; a .pth is converted with
        `safetensors.torch.save_file(torch.load(pth, weights_only=True), file)`. Raises `InputError` naming both files.
        """
        missing = [str(path) for path in (backbone, heads) if not Path(path).is_file()]
        if missing:
            raise InputError(
                "LPIPS on VGG16 needs two safetensors files, torchvision's vgg16 weights and LPIPS v0.1's vgg heads, "
                f"and {' and '.join(missing)} does not exist: download vgg16-397923af.pth (torchvision) and "
                "lpips/weights/v0.1/vgg.pth (richzhang/PerceptualSimilarity) and convert them."
            )
        net = cls()
        net._fill(_read(backbone) | _read(heads), "features.", "", f"{backbone} with {heads}")
        return net


def _read(path: str | Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file ({error}): give the LPIPS weights.") from error
