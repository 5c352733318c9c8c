"""RL-ASC's networks over arrays of any size, whichever library runs them, and run by torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from chappe.nn.run import from_bytes, to_bytes
from chappe.nn.tiling import CELL, pixels, tiles
from chappe.systems.rlasc.config import RLASCConfig
from chappe.systems.rlasc.model import RLASC
from chappe.systems.rlasc.policy import Facts, Policy

__all__ = ["Engine", "TiledEngine", "networks"]

_FINE = 2  # cells of 8x8 a side in one of 16x16


class TiledEngine:
    """`run(network, grid, *arrays)` runs a network on a tile of `grid` cells of 16x16 pixels."""

    def __init__(self, config: RLASCConfig, run: Callable[..., tuple[np.ndarray, ...]]):
        self.config, self.run = config, run

    def analyse(self, image: np.ndarray) -> np.ndarray:
        """Features f: (H, W, 3) uint8, sides multiples of 16 -> (H/8, W/8, n) float32 in [-1, 1]."""
        h, w = (side // CELL for side in image.shape[:2])
        out = np.empty((_FINE * h, _FINE * w, self.config.channels), np.float32)
        for outer, inner, core in tiles(h, w):
            (f,) = self.run("analyse", _grid(outer), image[pixels(outer)])
            out[pixels(core, _FINE)] = f[pixels(inner, _FINE)]
        return out

    def restore(self, values: np.ndarray, levels: np.ndarray, cells: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Received values (h, w, n) int8 with the level (h, w) uint8 of each cell (0: nothing came), concepts of the
        cells (h, w) uint8 and labels (H, W) uint8, sides multiples of 16 -> picture (H, W, 3) uint8."""
        h, w = (side // CELL for side in labels.shape)
        out = np.empty((*labels.shape, 3), np.uint8)
        for outer, inner, core in tiles(h, w):
            fine = pixels(outer, _FINE)
            part = values[fine], levels[fine], cells[fine], labels[pixels(outer)]
            (y,) = self.run("restore", _grid(outer), *part)
            out[pixels(core)] = y[pixels(inner)]
        return out


class Engine(TiledEngine):
    """See `TiledEngine`; `model` and `agents` (task -> policy) are put into evaluation mode."""

    def __init__(self, model: RLASC, agents: dict[str, Policy] | None = None):
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.agents = {name: agent.eval() for name, agent in (agents or {}).items()}
        super().__init__(model.config, _run(networks(model)))

    @torch.inference_mode()
    def decide(self, task: str, f: np.ndarray, cells: np.ndarray, concepts: np.ndarray, lams: np.ndarray,
               rates: np.ndarray, losses: np.ndarray) -> np.ndarray:  # fmt: skip
        """Levels (K, T) of T concepts for K rows of lambdas (K, T): the policy's likeliest. rates, losses: (T, Q)."""
        agent = self.agents[task]
        numbers = torch.from_numpy(concepts.astype(np.int64))
        grid = torch.from_numpy(cells.astype(np.int64))
        seen = agent.look(torch.from_numpy(f).permute(2, 0, 1), grid, numbers)
        facts = Facts(*(torch.from_numpy(a.astype(np.float32)) for a in (rates, losses)))
        rows = torch.from_numpy(lams.astype(np.float32))
        return np.stack([agent(seen, numbers, row, facts).argmax(1).numpy() for row in rows])


def networks(model: RLASC) -> dict[str, nn.Module]:
    """The two networks as an engine calls them, see `TiledEngine`."""
    return {"analyse": _Analyse(model), "restore": _Restore(model)}


def _run(parts: dict[str, nn.Module]) -> Callable[..., tuple[np.ndarray, ...]]:
    """As `chappe.nn.run.TorchRun`, on the device that the networks are on when they run: training moves them."""

    @torch.inference_mode()
    def run(network: str, grid: tuple[int, int], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        device = next(parts[network].parameters()).device
        given = (torch.from_numpy(np.require(a, requirements=("C", "W"))).to(device) for a in arrays)
        return tuple(y.cpu().numpy() for y in parts[network](*given))

    return run


class _Analyse(nn.Module):
    def __init__(self, model: RLASC):
        super().__init__()
        self.encoder = model.encoder

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.encoder(from_bytes(image))[0].permute(1, 2, 0),)


class _Restore(nn.Module):
    def __init__(self, model: RLASC):
        super().__init__()
        self.model = model

    def forward(self, values: Tensor, levels: Tensor, cells: Tensor, labels: Tensor) -> tuple[Tensor]:
        steps = levels.float().clamp(min=1)[None, None]
        f = values.permute(2, 0, 1)[None].float() / steps
        y = self.model.decode(f.contiguous(), cells[None].long(), levels[None].long(), labels[None].long())
        return (to_bytes(y),)


def _grid(outer: tuple[slice, slice]) -> tuple[int, int]:
    return outer[0].stop - outer[0].start, outer[1].stop - outer[1].start
