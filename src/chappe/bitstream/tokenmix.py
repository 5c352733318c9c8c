"""The mixed token code: masked token grids in fewer bits, given what both sides know already.

Both sides know the label map, and of layered files the tokens sent before. A trained prior, two small integer networks,
predicts from them and from the symbols coded so far which cells are sent and with which index. Without a prior the
payload is the token grid of chapter 5 over the candidate cells. Specification: docs/format.md, chapter 8.

With a prior no payload is longer than `bound_bits` of the candidate cells + 16 bits: where the networks are wrong the
plain code takes over, at four bits. Decoding work is bounded by the shape of the grid and of the prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chappe.bitstream.rangecoder import Decoder, Encoder
from chappe.bitstream.tokenmix_engine import Grid, run
from chappe.bitstream.tokenmix_prior import TokenPrior
from chappe.bitstream.tokens import MAX_CELLS, MAX_LEVELS, decode_grid, encode_grid
from chappe.errors import StreamError, UsageError

__all__ = ["SAMPLES", "UNKNOWN", "cell_classes", "cost", "decode_tokens", "encode_tokens", "knowledge", "sizes"]

CELL = 16
SAMPLES = 16  # classes a cell is described by: one of each 4 x 4 pixels
UNKNOWN = 255  # class of a part of the map that was not received
_MIXED, _CHOICES = 15, 16  # the first symbol: mixed owns [0, 15) of 16, plain the rest
_PROBES = (0.02, 0.1, 0.3, 0.6, 1.0)


def cell_classes(labels: np.ndarray) -> np.ndarray:
    """What the coder looks at of a decoded label map: (H, W) uint8 -> (ceil(H / 16), ceil(W / 16), 16) uint8.

    Sample 4 i + j of a cell is the label at row 4 i + 2, column 4 j + 2 of its 16 x 16 pixels; beyond the edge the
    last row or column counts. Write UNKNOWN (255) into the cells, or samples, that the receiver may not have.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype != np.uint8 or labels.size == 0:
        raise UsageError(f"a label map is a 2-D uint8 array, not {labels.ndim}-D {labels.dtype} {labels.shape}")
    height, width = labels.shape
    rows = np.minimum(np.arange(-(-height // CELL) * 4) * 4 + 2, height - 1)
    cols = np.minimum(np.arange(-(-width // CELL) * 4) * 4 + 2, width - 1)
    h, w = len(rows) // 4, len(cols) // 4
    picked = labels[rows[:, None], cols].reshape(h, 4, w, 4).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(picked).reshape(h, w, SAMPLES)


def knowledge(
    shape: tuple[int, int],
    classes: np.ndarray | None,
    candidates: np.ndarray | None,
    known: np.ndarray | None,
    levels: int = MAX_LEVELS,
) -> Grid:
    """What both sides know, checked. Raises UsageError for arrays that do not fit `shape`."""
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > MAX_CELLS:
        raise UsageError(f"a token grid has two sides and 1 to {MAX_CELLS} cells, not the shape {tuple(shape)}")
    shape = (int(shape[0]), int(shape[1]))
    cells = np.full((*shape, SAMPLES), UNKNOWN, np.uint8)
    if classes is not None:
        given = np.asarray(classes)
        given = given[..., None] if given.ndim == 2 else given
        if given.dtype != np.uint8 or given.shape[:2] != shape or given.shape[2:] not in ((1,), (SAMPLES,)):
            raise UsageError(f"classes must be uint8 {shape} or {(*shape, SAMPLES)}, not {given.dtype} {given.shape}")
        cells[:] = given
    free = np.ones(shape, np.bool_) if candidates is None else np.asarray(candidates)
    before = np.full(shape, -1, np.int32) if known is None else np.asarray(known)
    if free.shape != shape or free.dtype != np.bool_:
        raise UsageError(f"candidates must be bool {shape}, not {free.dtype} {free.shape}")
    if before.shape != shape or before.dtype.kind != "i" or int(before.min()) < -1 or int(before.max()) >= levels:
        raise UsageError(f"known must be integers {shape} from -1 to {levels - 1}, not {before.dtype} {before.shape}")
    if (free & (before >= 0)).any():
        raise UsageError("a cell whose token is known cannot be a candidate")
    return Grid(shape, free.reshape(-1).astype(np.uint8), before.reshape(-1).astype(np.int32), cells.reshape(-1))


def encode_tokens(mask, indices, levels, *, classes=None, candidates=None, known=None, prior: TokenPrior | None = None):
    """Bytes of the newly sent cells and their indices.

    mask: (h, w) bool, a subset of candidates. indices: (N,) integers in [0, levels), raster order. levels: 2 to 65536,
    with a prior its own. candidates: (h, w) bool, cells that may be sent; None: all. known: (h, w) integers, tokens
    that the receiver has, -1 elsewhere; None: none. classes: `cell_classes` of the map as the receiver has it, or
    (h, w) uint8, or None. The decoder must be given the same. Raises UsageError for anything else.
    """
    grid, bits, symbols = _check(mask, indices, levels, classes, candidates, known, prior)
    if not grid.free:
        return b""
    if prior is None:
        compact = bits[None, grid.candidate == 1] if candidates is not None else bits.reshape(grid.shape)
        return encode_grid(compact, symbols, levels)
    coder = Encoder()
    coded = run(grid, prior, len(symbols), bits, symbols)[2]
    if _mixed_bits(coded, grid.free) <= _plain_bits(grid.free, len(symbols), levels):
        coder.encode(0, _MIXED, _CHOICES)
        coder.encode_uniform(len(symbols), grid.free + 1)
        for low, width, total in coded.tolist():
            if total:
                coder.encode(low, width, total)
            else:
                coder.encode_bit(low, width)
        return coder.finish()
    coder.encode(_MIXED, _CHOICES - _MIXED, _CHOICES)
    ones = 0
    for seen, bit in enumerate(bits[grid.candidate == 1].tolist()):
        total, split = 2 * seen + 2, 2 * ones + 1
        coder.encode(0 if bit else split, split if bit else total - split, total)
        ones += bit
    for symbol in symbols.tolist():
        coder.encode_uniform(symbol, levels)
    return coder.finish()


def decode_tokens(data, shape, levels, *, classes=None, candidates=None, known=None, prior: TokenPrior | None = None):
    """(mask (h, w) bool of the newly sent cells, indices (N,) int32 in raster order) of `encode_tokens`.

    Raises StreamError unless `data` is exactly what the encoder writes for the choice and symbols it decodes to.
    """
    grid = knowledge(shape, classes, candidates, known, levels)
    _check_prior(prior, levels)
    mask = np.zeros(grid.candidate.size, np.bool_)
    if not grid.free:
        if data:
            raise StreamError("a token section without candidate cells holds bytes: it is damaged")
        return mask.reshape(grid.shape), np.zeros(0, np.int32)
    free = grid.candidate == 1
    if prior is None:
        bits, indices = decode_grid(data, grid.shape if candidates is None else (1, grid.free), levels)
        mask[free] = bits.reshape(-1)
        return mask.reshape(grid.shape), indices
    coder = Decoder(data)
    if coder.decode_target(_CHOICES) < _MIXED:
        coder.advance(0, _MIXED, _CHOICES)
        count = coder.decode_uniform(grid.free + 1)
        state = np.array(coder.state(), np.int64)
        buf = np.frombuffer(data or b"\0", np.uint8).copy()  # compiled code knows writable arrays from others
        bits, tokens, _, _ = run(grid, prior, count, buf=buf, state=state)
        coder.resume(*state.tolist())
        coder.finish()
        mask = bits == 1
        return mask.reshape(grid.shape), tokens[mask]
    coder.advance(_MIXED, _CHOICES - _MIXED, _CHOICES)
    places, ones = np.flatnonzero(free).tolist(), 0
    for seen, place in enumerate(places):
        total, split = 2 * seen + 2, 2 * ones + 1
        bit = coder.decode_target(total) < split
        coder.advance(0 if bit else split, split if bit else total - split, total)
        mask[place] = bit
        ones += bit
    indices = np.array([coder.decode_uniform(levels) for _ in range(ones)], np.int32)
    coder.finish()
    return mask.reshape(grid.shape), indices


def cost(mask, indices, levels, *, classes=None, candidates=None, known=None, prior: TokenPrior) -> tuple[float, float]:
    """(bits of the positions, bits of the indices) that `encode_tokens` spends, without writing; arguments as there."""
    grid, bits, symbols = _check(mask, indices, levels, classes, candidates, known, prior)
    coded = run(grid, prior, len(symbols), bits, symbols)[2]
    each = _information(coded)
    split = len(coded) - 2 * len(symbols)
    overhead = math.log2(grid.free + 1) + math.log2(_CHOICES / _MIXED)
    mixed = overhead + float(each[:split].sum()), float(each[split:].sum())
    tokens = len(symbols) * math.log2(levels)
    plain = _plain_bits(grid.free, len(symbols), levels)
    return mixed if sum(mixed) <= plain else (plain - tokens, tokens)


def sizes(order, grid, counts: Sequence[int], levels, *, classes=None, known=None, prior: TokenPrior) -> np.ndarray:
    """Estimated payload bytes of sending the first n cells of `order`, for each n of `counts`: (len(counts),) float64.

    order: (M,) flat places, best first, none known; the candidates are all cells not known. grid: (h, w) indices.
    Five counts are measured with `cost`, the others interpolated: within about two per cent.
    """
    grid = np.asarray(grid)
    candidates = None if known is None else np.asarray(known) < 0
    wanted = np.asarray(counts, np.float64)
    probes = sorted({max(1, round(share * len(order))) for share in _PROBES} | {int(wanted.max(initial=1))})
    probes = [n for n in probes if n <= max(wanted.max(initial=1), 1)]
    found = [0.0]
    for count in probes:
        mask = np.zeros(grid.size, np.bool_)
        mask[order[:count]] = True
        mask = mask.reshape(grid.shape)
        found.append(
            sum(cost(mask, grid[mask], levels, classes=classes, candidates=candidates, known=known, prior=prior)) / 8
        )
    return np.interp(wanted, [0, *probes], found) + 0.5


def _check_prior(prior: TokenPrior | None, levels: int) -> None:
    if not 2 <= levels <= MAX_LEVELS:
        raise UsageError(f"a codebook has 2 to {MAX_LEVELS} levels, not {levels}")
    if prior is not None and prior.levels != levels:
        raise UsageError(f"the token prior is for {prior.levels} levels, not {levels}: use the model's own")


def _check(mask, indices, levels, classes, candidates, known, prior) -> tuple[Grid, np.ndarray, np.ndarray]:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise UsageError(f"the token mask must be a 2-D bool array, not {mask.ndim}-D {mask.dtype}")
    _check_prior(prior, levels)
    grid = knowledge(mask.shape, classes, candidates, known, levels)
    bits, symbols, count = mask.reshape(-1), np.asarray(indices), int(mask.sum())
    if (bits & (grid.candidate == 0)).any():
        raise UsageError("a cell is to be sent that is not a candidate")
    if symbols.shape != (count,) or (count and symbols.dtype.kind not in "iu"):
        raise UsageError(f"{count} selected cells need as many integer indices, not {symbols.dtype} {symbols.shape}")
    if count and not (0 <= int(symbols.min()) and int(symbols.max()) < levels):
        raise UsageError(f"token indices must be 0 to {levels - 1}, not {symbols.min()} to {symbols.max()}")
    return grid, bits, symbols.astype(np.int64)


def _information(coded: np.ndarray) -> np.ndarray:
    """Bits of each symbol (n, 3) of the engine."""
    low, width, total = coded.T
    share = np.where(total > 0, width / np.maximum(total, 1), np.where(low == 1, width, 65536 - width) / 65536)
    return -np.log2(share)


def _mixed_bits(coded: np.ndarray, free: int) -> float:
    return float(_information(coded).sum()) + math.log2(free + 1) + math.log2(_CHOICES / _MIXED)


def _plain_bits(free: int, count: int, levels: int) -> float:
    halves = np.log2(2 * np.arange(max(count, free - count)) + 1)
    positions = float(np.log2(2 * np.arange(free) + 2).sum() - halves[:count].sum() - halves[: free - count].sum())
    return positions + count * math.log2(levels) + math.log2(_CHOICES / (_CHOICES - _MIXED))
