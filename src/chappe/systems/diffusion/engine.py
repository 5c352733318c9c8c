"""Drawing pictures with a diffusion network: padding, tiles, guidance, and pixels that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chappe.errors import InputError, UsageError
from chappe.nn.condition import one_hot
from chappe.nn.tiling import split_windows
from chappe.nn.unet import SemanticUNet
from chappe.systems.diffusion.config import DiffusionConfig, Sampling
from chappe.systems.diffusion.first import FirstLook, hard_labels, load_first
from chappe.systems.diffusion.process import Diffusion
from chappe.systems.diffusion.sampler import open_chain

__all__ = ["Engine", "enlarged", "load_engine", "map_planes", "pixels"]

_TILE = (1024, 2048)  # pixels that run in one piece
_MARGIN = 64  # pixels of context around a tile


class Engine:
    """A trained network and its process. `model` is put into evaluation mode. `first`: see `first.FirstLook`."""

    def __init__(self, config: DiffusionConfig, model: SemanticUNet, first: FirstLook | None = None):
        self.config = config
        self.first = first
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.process = Diffusion(config.steps, config.beta_start, config.beta_end, config.prediction, config.mix)

    @torch.inference_mode()
    def draw(self, planes: np.ndarray, sampling: Sampling, seed: int, coarse: np.ndarray | None = None,
             known: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:  # fmt: skip
        """A picture (H, W, 3) uint8.

        planes: (C, H, W) float, the map as `map_planes` makes it or as a noisy channel left it. coarse: (h, w, 3)
        uint8, a quarter of the sides of the picture padded to multiples of 16. known: (mask (H, W) bool, picture
        (H, W, 3) uint8): pixels that were sent; they go into the condition and hold through the whole chain.
        Raises UsageError for a start that needs a coarse picture where there is none.
        """
        height, width = planes.shape[1:]
        if coarse is None and self.first is None and sampling.begin < 1000:
            raise UsageError(f"begin={sampling.begin} starts from a coarse picture, and there is none: use begin=1000")
        multiple = self.config.unet.multiple
        pad = (0, -width % multiple, 0, -height % multiple)
        shape = height + pad[3], width + pad[1]
        condition = F.pad(torch.from_numpy(np.ascontiguousarray(planes))[None].float(), pad, mode="replicate")
        if self.first is not None:
            drawn = self.first(hard_labels(planes, self.config.classes), coarse)
            given = F.pad(pixels(drawn), pad, mode="replicate")
        else:
            given = None if coarse is None else enlarged(coarse, shape)
        held = None
        if known is not None:
            mask = F.pad(torch.from_numpy(known[0])[None, None], pad)
            held = mask, F.pad(pixels(known[1]), pad, mode="replicate")
            given = given if given is None else torch.where(mask, held[1], given)
        chain = open_chain(self.config, sampling, seed, shape)
        x = chain.start(given)
        for k, t in enumerate(chain.times):
            out = self._said(x, t, condition, given, sampling.guidance)
            x = chain.step(k, self._corrected(out, x, t, held), x)
        picture = x[0, :, :height, :width].clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
        picture = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
        if known is not None:
            picture[known[0]] = known[1][known[0]]
        return picture

    def _corrected(self, out: Tensor, x: Tensor, t: int, held: tuple[Tensor, Tensor] | None) -> Tensor:
        """`out` as if the network had seen a picture within [-1, 1] that has the known pixels."""
        said, v = out.chunk(2, 1)
        times = torch.tensor([t])
        clean = self.process.clean(said, x, times).clamp(-1, 1)
        if held is not None:
            clean = torch.where(held[0], held[1], clean)
        return torch.cat([self.process.said_for(clean, x, times), v], 1)

    def _said(self, x: Tensor, t: int, planes: Tensor, coarse: Tensor | None, guidance: float) -> Tensor:
        """The network's word with classifier-free guidance, e0 + s (e - e0), the null map being all zero."""
        out = torch.empty(1, 6, *x.shape[2:])
        for outer, inner, core in _tiles(*x.shape[2:]):
            part = [None if a is None else a[(..., *outer)] for a in (x, planes, coarse)]
            y = self._guided(*part, torch.tensor([t]), guidance)
            out[(..., *core)] = y[(..., *inner)]
        return out

    def _guided(self, x: Tensor, planes: Tensor, coarse: Tensor | None, t: Tensor, guidance: float) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        out = self.process.predict(self.model, x, t, planes, coarse) if guidance else None
        if guidance == 1:
            return out
        null = self.process.predict(self.model, x, t, torch.zeros_like(planes), coarse)
        if out is None:
            return null
        out[:, :3] = null[:, :3] + guidance * (out[:, :3] - null[:, :3])
        return out


def load_engine(folder: Path) -> tuple[Engine, dict]:
    """The engine of a folder as `chappe train diffusion` writes it, and its config.json. Raises InputError."""
    from chappe.training.export import load_model

    state, meta = load_model(folder)
    config = DiffusionConfig.from_dict({k: v for k, v in meta["config"].items() if k != "kind"})
    model = SemanticUNet(config.unet)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise InputError(
            f"{folder}: the weights do not fit config.json (missing {missing[:3]}, unexpected {unexpected[:3]})"
        )
    return Engine(config, model, load_first(config.first) if config.first else None), meta


def map_planes(labels: np.ndarray, config: DiffusionConfig, edges: np.ndarray | None = None) -> np.ndarray:
    """Labels (H, W) -> planes (C, H, W) float32: one-hot, void all zero; then `edges` (H, W), if it has them."""
    planes = one_hot(torch.from_numpy(labels.astype(np.int64))[None], config.classes)[0].numpy()
    if not config.edges:
        return planes
    last = np.zeros(labels.shape, np.float32) if edges is None else edges.astype(np.float32)
    return np.concatenate([planes, last[None]])


def enlarged(coarse: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """(h, w, 3) uint8 -> (1, 3, *shape) in [-1, 1], four times the sides, then the border repeated."""
    up = F.interpolate(pixels(coarse), scale_factor=4, mode="bilinear", align_corners=False)
    gap = shape[0] - up.shape[2], shape[1] - up.shape[3]
    up = F.pad(up, (0, max(0, gap[1]), 0, max(0, gap[0])), mode="replicate")
    return up[..., : shape[0], : shape[1]]


def pixels(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.require(picture, requirements=("C", "W"))).permute(2, 0, 1)[None].float() / 127.5 - 1


def _tiles(height: int, width: int):
    """(what to run, the part of that to keep, where it goes), in pixels; edges at multiples of the margin."""
    cells = -(-height // _MARGIN), -(-width // _MARGIN)
    for rows in split_windows(cells[0], _TILE[0] // _MARGIN):
        for columns in split_windows(cells[1], _TILE[1] // _MARGIN):
            core, outer, inner = [], [], []
            for part, size in ((rows, height), (columns, width)):
                start, stop = part.start * _MARGIN, min(size, part.stop * _MARGIN)
                low, high = max(0, start - _MARGIN), min(size, stop + _MARGIN)
                core.append(slice(start, stop))
                outer.append(slice(low, high))
                inner.append(slice(start - low, stop - low))
            yield tuple(outer), tuple(inner), tuple(core)
