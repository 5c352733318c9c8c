"""An independent judge: ESPNetv2 (s = 2.0) trained on Cityscapes, in plain torch.

Mehta et al., *ESPNetv2: A Light-weight, Power Efficient, and General Purpose Convolutional Neural Network*, CVPR 2019;
weights of sacmehta/EdgeNets (MIT; Cityscapes is research-use data). It saw neither CamVid nor our pictures, so its
mIoU on decoded pictures is a second opinion beside our own segmenter's. Never use it in a training loss: a network that
a codec was trained against is no longer a judge of it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..pretrained import pretrained_path
from ..taxonomy import mapping

__all__ = ["WEIGHTS_FILE", "ESPNetv2", "Judge", "load_espnetv2"]

WEIGHTS_FILE = "espnetv2_s2_city20.safetensors"
SIZE = (512, 672)  # height, width the frames are resized to: the best of six settings tried on CamVid val
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_espnetv2(path: str | Path | None = None, device: str | torch.device = "cpu") -> Judge:
    """The judge, ready to call: image (H, W, 3) uint8 RGB -> labels (H, W) uint8 of street11 (never void).

    `path`: the safetensors file; by default `$CHAPPE_DATA/weights/espnetv2_s2_city20.safetensors`. Raises `InputError`
    if it is missing or holds other tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path) if path is not None else pretrained_path(WEIGHTS_FILE, "the ESPNetv2 judge")
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file ({error}): give {WEIGHTS_FILE}.") from error
    network = ESPNetv2()
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path} does not hold the tensors of ESPNetv2 s=2.0: give {WEIGHTS_FILE}.") from error
    return Judge(network.to(device))


class Judge:
    """A callable segmenter around a loaded `ESPNetv2`; see `load_espnetv2`. Resizes to 512 x 672 and back."""

    taxonomy = "street11"

    def __init__(self, network: ESPNetv2) -> None:
        self.network = network.eval().requires_grad_(False)
        self._to_street = mapping("cityscapes19", self.taxonomy)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            found = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
            raise InputError(f"the judge looks at (H, W, 3) uint8 pictures, found {found}: convert it first.")
        device = next(self.network.parameters()).device
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(device).float()[None] / 255
        x = F.interpolate(x, SIZE, mode="bilinear", align_corners=False)
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        logits = self.network((x - mean) / std)[:, :19]  # channel 19 is background
        logits = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
        return self._to_street[logits.argmax(1)[0].cpu().numpy()]


class _Conv(nn.Module):
    """Convolution, batch norm and (optionally) PReLU, named as in the checkpoint: conv, bn, act."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        if act:
            self.act = nn.PReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return self.act(x) if hasattr(self, "act") else x


class _NormAct(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(x))


class _Dilated(nn.Module):
    def __init__(self, channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _EESP(nn.Module):
    """Extremely efficient spatial pyramid: grouped reduction, four dilated depthwise branches summed up, expansion."""

    def __init__(self, c_in: int, c_out: int, stride: int, field: int) -> None:
        super().__init__()
        self.stride = stride
        width = c_out // 4
        self.proj_1x1 = _Conv(c_in, width, 1, groups=4)
        dilations = (1, 1, 2, 3) if field == 7 else (1, 2, 3, 4)
        self.spp_dw = nn.ModuleList(_Dilated(width, stride, d) for d in dilations)
        self.br_after_cat = _NormAct(c_out)
        self.conv_1x1_exp = _Conv(c_out, c_out, 1, groups=4, act=False)
        self.module_act = nn.PReLU(c_out)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.proj_1x1(x)
        sums = [self.spp_dw[0](reduced)]
        for branch in self.spp_dw[1:]:
            sums.append(sums[-1] + branch(reduced))
        out = self.conv_1x1_exp(self.br_after_cat(torch.cat(sums, 1)))
        return out if self.stride == 2 else self.module_act(out + x)


class _Down(nn.Module):
    """Halve the size: pooled input beside a strided EESP, plus the image itself, pooled to that size and reinforced."""

    def __init__(self, c_in: int, c_out: int, field: int) -> None:
        super().__init__()
        self.eesp = _EESP(c_in, c_out - c_in, 2, field)
        self.inp_reinf = nn.Sequential(_Conv(3, 3, 3), _Conv(3, c_out, 1, act=False))
        self.act = nn.PReLU(c_out)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        out = torch.cat((F.avg_pool2d(x, 3, 2, 1), self.eesp(x)), 1)
        while image.shape[2] > out.shape[2]:
            image = F.avg_pool2d(image, 3, 2, 1)
        return self.act(out + self.inp_reinf(image))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.level1 = _Conv(3, 32, 3, 2)
        self.level2_0 = _Down(32, 128, 13)
        self.level3_0 = _Down(128, 256, 11)
        self.level3 = nn.ModuleList(_EESP(256, 256, 1, 9) for _ in range(3))
        self.level4_0 = _Down(256, 512, 9)
        self.level4 = nn.ModuleList(_EESP(512, 512, 1, 7) for _ in range(7))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first = self.level1(image)
        second = self.level2_0(first, image)
        third = self.level3_0(second, image)
        for block in self.level3:
            third = block(third)
        fourth = self.level4_0(third, image)
        for block in self.level4:
            fourth = block(fourth)
        return first, second, third, fourth


class _Shuffle(nn.Module):
    """Channel shuffle in 5 groups."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 5, c // 5, h, w).transpose(1, 2).reshape(n, c, h, w)


class _Named(nn.Module):
    """A sequence under one attribute name, as the checkpoint has it ("cbr.0", "br.1")."""

    def __init__(self, name: str, *layers: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.name)(x)


def _cbr(c_in: int, c_out: int, kernel: int, groups: int = 1) -> _Named:
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, groups=groups, bias=False)
    return _Named("cbr", conv, nn.BatchNorm2d(c_out), nn.PReLU(c_out))


def _br(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels))


class _Pyramid(nn.Module):
    """Efficient pyramid pooling: depthwise 3x3 at five scales of the size, merged. `last` ends in a biased 1x1."""

    SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)

    def __init__(self, c_in: int, c_out: int, last: bool = False) -> None:
        super().__init__()
        self.projection_layer = _cbr(c_in, 10, 1)
        self.stages = nn.ModuleList(nn.Conv2d(10, 10, 3, padding=1, groups=10, bias=False) for _ in self.SCALES)
        merge = (_Named("br", *_br(50)), _Shuffle(), _cbr(50, 10, 3, groups=10), nn.Conv2d(10, c_out, 1, bias=last))
        self.merge_layer = nn.Sequential(*merge)
        self.br = nn.Identity() if last else _Named("br", *_br(c_out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.projection_layer(x)
        size = x.shape[2:]
        outs = []
        for scale, stage in zip(self.SCALES, self.stages, strict=True):
            other = tuple(max(math.ceil(side * scale), 5) for side in size)
            if scale > 1:
                outs.append(F.adaptive_avg_pool2d(stage(_resize(x, other)), size))
            elif scale < 1:
                outs.append(_resize(stage(F.adaptive_avg_pool2d(x, other)), size))
            else:
                outs.append(stage(x))
        return self.br(self.merge_layer(torch.cat(outs, 1)))


class _Merge(nn.Module):
    """An encoder level, expanded, times a gate from its global average."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.expansion_layer = _cbr(c_in, c_out, 3, groups=math.gcd(c_in, c_out))
        self.wt_layer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c_in, c_out, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.expansion_layer(x) * self.wt_layer(x)


class ESPNetv2(nn.Module):
    """The network of the checkpoint (789,242 parameters): image (N, 3, H, W), ImageNet-normalised RGB, sides multiples
    of 16, -> logits (N, 20, H, W): Cityscapes' 19 train ids and background.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base_net = _Encoder()
        self.bu_dec_l1 = _Pyramid(512, 64)
        self.merge_enc_dec_l2, self.bu_br_l2, self.bu_dec_l2 = _Merge(256, 64), _br(64), _Pyramid(64, 48)
        self.merge_enc_dec_l3, self.bu_br_l3, self.bu_dec_l3 = _Merge(128, 48), _br(48), _Pyramid(48, 32)
        self.merge_enc_dec_l4, self.bu_br_l4, self.bu_dec_l4 = _Merge(32, 32), _br(32), _Pyramid(32, 20, last=True)

    def forward(self, image: Tensor) -> Tensor:
        first, second, third, fourth = self.base_net(image)
        x = self.bu_dec_l1(fourth)
        x = self.bu_dec_l2(self.bu_br_l2(_double(x) + self.merge_enc_dec_l2(third)))
        x = self.bu_dec_l3(self.bu_br_l3(_double(x) + self.merge_enc_dec_l3(second)))
        x = self.bu_dec_l4(self.bu_br_l4(_double(x) + self.merge_enc_dec_l4(first)))
        return _resize(x, image.shape[2:])


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def _double(x: Tensor) -> Tensor:
    return _resize(x, (2 * x.shape[2], 2 * x.shape[3]))
