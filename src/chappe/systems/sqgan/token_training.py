"""Training of the token coder's prior: two small networks a stream, learnt on what the coder itself would see.

The inputs of every symbol are written by the coder's own engine, so that training and coding cannot differ. Grids are
drawn as they are sent: any share of the cells, in one layer, as a later layer, or as one of several slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.bitstream.slices import owners, strip
from chappe.bitstream.tokenmix import UNKNOWN, knowledge
from chappe.bitstream.tokenmix_engine import run
from chappe.bitstream.tokenmix_prior import Net, TokenPrior
from chappe.bitstream.tokenmix_python import ACT_MAX, FLAG, GATES, inputs

__all__ = ["Material", "code_vectors", "split_codes", "train_prior"]

VECTOR_SIZE = 8
SHIFTS, STEPS = (4, 7, 4, 5), (2, 4, 2, 3)
WEIGHT_IN, WEIGHT_POSITION, WEIGHT_INDEX = 1 << 7, 1 << 8, 1 << 6  # units of the weights
TOP = ACT_MAX / 128  # where the engine cuts hidden values


@dataclass(frozen=True, eq=False)
class Material:
    """Grids of one stream and size. scores (n, h, w), indices (n, h, w), cells (n, v, h, w, 16): v maps of each."""

    scores: np.ndarray
    indices: np.ndarray
    cells: np.ndarray


def code_vectors(codes: np.ndarray) -> np.ndarray:
    """(J, d) codebook -> (J, min(d, 8)) int8: its main directions, 16 for a standard deviation."""
    centred = codes - codes.mean(0)
    if centred.shape[1] > VECTOR_SIZE:
        centred = centred @ np.linalg.svd(centred, full_matrices=False)[2][:VECTOR_SIZE].T
    scaled = centred / (centred.std(0) + 1e-6) * FLAG
    return np.clip(np.rint(scaled), -127, 127).astype(np.int8)


def split_codes(vectors: np.ndarray, clusters: int) -> np.ndarray:
    """(J,) uint8 clusters of equal size: halved again and again across the widest direction."""
    cluster = np.zeros(len(vectors), np.uint8)

    def halve(members: np.ndarray, low: int, high: int) -> None:
        if high - low == 1:
            cluster[members] = low
            return
        points = vectors[members].astype(np.float64)
        axis = np.linalg.svd(points - points.mean(0), full_matrices=False)[2][0]
        order = members[np.argsort(points @ axis, kind="stable")]
        middle = (low + high) // 2
        cut = len(order) * (middle - low) // (high - low)
        halve(order[:cut], low, middle)
        halve(order[cut:], middle, high)

    halve(np.arange(len(vectors)), 0, clusters)
    return cluster


class _Networks(nn.Module):
    """The two networks in floating point, with the engine's shapes and the engine's cuts."""

    def __init__(self, vectors: np.ndarray, cluster: np.ndarray, classes: int, hidden: tuple[int, int]):
        super().__init__()
        width = inputs(vectors.shape[1], classes)
        levels, clusters = len(cluster), int(cluster.max()) + 1
        self.hidden = nn.ModuleList([nn.Linear(width, units) for units in hidden])
        self.position = nn.Linear(hidden[0], 1)
        self.gates, self.clusters, self.levels = (nn.Linear(hidden[1], n) for n in (2 * GATES, clusters, levels))
        for layer in (self.position, self.gates, self.clusters, self.levels):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        member = np.argsort(cluster, kind="stable")
        groups = [member[cluster[member] == c] for c in range(clusters)]
        table = np.full((clusters, max(map(len, groups))), -1)
        for c, group in enumerate(groups):
            table[c, : len(group)] = group
        self.register_buffer("table", torch.from_numpy(table))
        self.register_buffer("cluster", torch.from_numpy(cluster.astype(np.int64)))

    def _act(self, which: int, x: Tensor) -> Tensor:
        return self.hidden[which](x).clamp(0, TOP)

    def position_bits(self, x: Tensor, bit: Tensor) -> Tensor:
        """Bits of each decision."""
        logit = self.position(self._act(0, x))[:, 0]
        return F.binary_cross_entropy_with_logits(logit, bit, reduction="none") / np.log(2)

    def index_bits(self, x: Tensor, target: Tensor, near: Tensor) -> Tensor:
        """Bits of each index; near (n, 4): the neighbours' indices, -1 where there is none."""
        order = torch.argsort(self.cluster[target])
        x, target, near = x[order], target[order], near[order]
        h, chosen, there = self._act(1, x), self.cluster[target], (near >= 0).float()
        gate = self.gates(h)
        logits = self.clusters(h).scatter_add(1, self.cluster[near.clamp(min=0)], gate[:, GATES:] * there)
        bits = F.cross_entropy(logits, chosen, reduction="none")
        counts = torch.bincount(chosen, minlength=len(self.table)).tolist()
        parts = []
        for group, part in zip(self.table, h.split(counts), strict=True):
            rows = group.clamp(min=0)
            parts.append(F.linear(part, self.levels.weight[rows], self.levels.bias[rows]))
        found = self.table[chosen]
        logits = torch.cat(parts).masked_fill(found < 0, -1e9)
        for k in range(GATES):
            logits = logits + gate[:, k : k + 1] * (found == near[:, k : k + 1])
        own = (found == target[:, None]).float().argmax(1)
        return (bits + F.cross_entropy(logits, own, reduction="none")) / np.log(2)

    def integers(self, vectors: np.ndarray, classes: int) -> TokenPrior:
        """The networks as the engine's integer tables."""
        nets = []
        outputs = ((self.position,), (self.gates, self.clusters, self.levels))
        for which, unit in enumerate((WEIGHT_POSITION, WEIGHT_INDEX)):
            layer = self.hidden[which]
            scale = FLAG * WEIGHT_IN  # of the sums before the first shift
            parts = [_rounded(layer.weight.T, WEIGHT_IN), _rounded(layer.bias, scale, STEPS[2 * which])]
            scale = unit * (scale >> SHIFTS[2 * which])
            for output in outputs[which]:
                parts += [_rounded(output.weight, unit), _rounded(output.bias, scale, STEPS[2 * which + 1])]
            nets.append(Net(layer.out_features, np.concatenate(parts)))
        cluster = self.cluster.numpy().astype(np.uint8)
        return TokenPrior(len(cluster), classes, vectors, cluster, *nets, SHIFTS, STEPS)


def _rounded(values: Tensor, unit: int, step: int = 0) -> np.ndarray:
    numbers = np.rint(values.detach().double().numpy() * unit / (1 << step))
    return np.clip(numbers, -32768, 32767).astype(np.int32).reshape(-1) << step


def _draw(material: Material, number: int, rng: np.random.Generator):
    """Grid `number` as it may be sent: (mask, indices, classes, candidates, known)."""
    scores, grid = material.scores[number], material.indices[number]
    cells = material.cells[number, rng.integers(material.cells.shape[1])]
    rank = np.empty(scores.size, np.int64)
    rank[np.argsort(-scores, axis=None, kind="stable")] = np.arange(scores.size)
    rank = rank.reshape(scores.shape)
    last = max(1, int(np.exp(rng.uniform(np.log(0.04), 0.05)) * scores.size))
    mask, known = rank < last, np.full(scores.shape, -1, np.int32)
    candidates = np.ones(scores.shape, bool)
    way = rng.random()
    if way < 0.3:  # a later layer
        earlier = rank < int(last * rng.choice([0.1, 0.25, 0.5, 0.75]))
        known[earlier] = grid[earlier]
        candidates = ~earlier
    elif way < 0.42:  # a slice, with its strip of the map or with none
        count = int(rng.integers(2, 17))
        number = int(rng.integers(count))
        candidates = owners(*scores.shape, count) == number
        rows = strip(number, count, len(cells))
        cells, whole = np.full_like(cells, UNKNOWN), cells
        cells[rows] = whole[rows]
    elif way < 0.5:  # the map came as tokens: its labels are not exact, so the coder does not look at them
        cells = np.full_like(cells, UNKNOWN)
    mask = mask & candidates
    return mask, grid[mask], cells, candidates, known


def _batch(material: Material, prior: TokenPrior, rng: np.random.Generator, count: int, part: float):
    """Inputs and targets of `count` grids; of the decisions where cells lie only the share `part`."""
    width = inputs(prior.size, prior.classes)
    bits, tokens = [], []
    for number in rng.integers(len(material.scores), size=count):
        mask, indices, cells, candidates, known = _draw(material, int(number), rng)
        sent = len(indices)
        grid = knowledge(mask.shape, cells, candidates, known)
        _, _, symbols, notes = run(grid, prior, sent, mask.reshape(-1), indices, trace=True)
        asked = len(symbols) - 2 * sent
        rows = notes[: asked * (width + 1)].reshape(asked, width + 1)
        bits.append(rows[rng.random(asked) < part])
        tokens.append(notes[asked * (width + 1) :][: sent * (width + 5)].reshape(sent, width + 5))
    return torch.from_numpy(np.concatenate(bits)), torch.from_numpy(np.concatenate(tokens))


def train_prior(material: Material, codes: np.ndarray, classes: int, *, clusters: int = 32,
                hidden: tuple[int, int] = (32, 64), steps: int = 1500, batch: int = 16, rate: float = 4e-3,
                decay: float = 0.02, seed: int = 0, report=None) -> TokenPrior:  # fmt: skip
    """The prior of one stream. codes (J, d): the codebook; report(step, position bits, index bits): progress."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vectors = code_vectors(codes)
    cluster = split_codes(vectors, min(clusters, max(2, len(codes) // 2)))
    networks = _Networks(vectors, cluster, classes, hidden)
    blank = networks.integers(vectors, classes)  # what the engine needs to describe a grid; its weights do not matter
    width = inputs(vectors.shape[1], classes)
    optimiser = torch.optim.AdamW(networks.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=decay)
    mean = np.zeros(2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        bits, tokens = _batch(material, blank, rng, batch, 0.3)
        x = bits[:, :width].float() / FLAG
        position = networks.position_bits(x, bits[:, width].float()).mean()
        x, target, near = tokens[:, :width].float() / FLAG, tokens[:, width].long(), tokens[:, width + 1 :].long()
        index = networks.index_bits(x, target, near).mean()
        optimiser.zero_grad(set_to_none=True)
        (position + 0.2 * index).backward()
        optimiser.step()
        mean += (np.array([position.item(), index.item()]) - mean) * max(0.02, 1 / (step + 1))
        if report is not None and (step + 1) % 100 == 0:
            report(step + 1, *mean)
    return networks.integers(vectors, classes)
