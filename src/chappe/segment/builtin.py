"""The two segmenters that ship, any picture to a `street11` label map: the sender's eye, and the judge.

The judge never enters a loss, so that its reading of a decoded picture is evidence. Its network is in `judge_model.py`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from chappe.errors import InputError
from chappe.segment.judge_model import JudgeConfig, JudgeNet
from chappe.segment.model import SegConfig, SegNet

__all__ = ["BuiltinSegmenter", "load_judge", "load_segmenter"]

WEIGHTS = Path(__file__).parent.parent / "weights" / "segmenter-street-v1"
JUDGE_WEIGHTS = Path(__file__).parent.parent / "weights" / "judge-street-v1"
SHORT_SIDE = 320  # larger pictures are segmented at this short side: the scale of the training frames


class BuiltinSegmenter:
    """Callable: picture (H, W, 3) uint8 -> labels (H, W) uint8 of `taxonomy`; never answers void."""

    def __init__(self, net: SegNet | JudgeNet):
        self.net = net.eval()
        self.taxonomy = net.config.taxonomy

    @torch.inference_mode()
    def logits(self, image: np.ndarray) -> torch.Tensor:
        """(classes, H, W) float32."""
        height, width = image.shape[:2]
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float().div_(127.5).sub_(1.0)
        scale = min(1.0, SHORT_SIDE / min(height, width))
        if scale < 1:
            size = [max(1, round(side * scale)) for side in (height, width)]
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        h, w = x.shape[2:]
        x = F.pad(x, (0, -w % 16, 0, -h % 16), mode="replicate")
        y = self.net(x.contiguous(memory_format=torch.channels_last))[:, :, :h, :w]
        if scale < 1:
            y = F.interpolate(y, (height, width), mode="bilinear", align_corners=False)
        return y[0]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.logits(image).argmax(0).to(torch.uint8).numpy()


@lru_cache(maxsize=2)
def load_segmenter(folder: Path = WEIGHTS) -> BuiltinSegmenter:
    """The sender's eye, or one that `chappe train segmenter` wrote. Raises InputError without weights."""
    return _load(Path(folder), SegConfig, SegNet)


@lru_cache(maxsize=2)
def load_judge(folder: Path = JUDGE_WEIGHTS) -> BuiltinSegmenter:
    """The judge of decoded pictures, or one that `chappe train judge` wrote. Raises InputError without weights."""
    return _load(Path(folder), JudgeConfig, JudgeNet)


def _load(folder: Path, shape: type, network: type) -> BuiltinSegmenter:
    from chappe.training.export import TRAINING_ONLY, load_model

    state, meta = load_model(folder)
    config = {k: v for k, v in meta["config"].items() if k != "kind"}
    net = network(shape.from_dict(config))
    missing, unexpected = net.load_state_dict(state, strict=False)
    if unexpected or any(not key.endswith(TRAINING_ONLY) for key in missing):
        raise InputError(
            f"{folder}: the weights do not fit config.json (missing {missing[:3]}, unexpected {unexpected[:3]})"
        )
    return BuiltinSegmenter(net)
