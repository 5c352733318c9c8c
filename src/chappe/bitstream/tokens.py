"""A grid of masked codebook indices in as few bytes as its statistics allow, never more than two above the plain count.

For K cells of which N = m K are selected and J index levels, every stream keeps
8 * len <= ceil(K * (h2(m) + m * log2 J)) + 16 bits (SQ-GAN eq. (2) plus two bytes). The plain code owns that promise:
each cell is coded at (ones so far + 1/2) / (cells so far + 1), which costs log2 C(K, N) plus the count N under a
beta-binomial law, together at most K h2(m) + 8.4 bits for 65,536 cells, and each index at 1 / J. Better models are
tried and the cheapest is signalled. Specification: docs/format.md, chapter 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chappe.bitstream.rangecoder import Decoder, Encoder
from chappe.bitstream.token_models import COPY_CONTEXTS, INCREMENTS, IndexModel, clustered, rivals, start_weights
from chappe.errors import StreamError, UsageError

__all__ = ["MAX_CELLS", "MAX_LEVELS", "bound_bits", "decode_grid", "encode_grid"]

MAX_CELLS = 1 << 16
MAX_LEVELS = 1 << 16

_EMPTY, _FULL, _PLAIN, _CLUSTERED = range(4)
_UNIFORM = 0


@dataclass(frozen=True)
class _Choices:
    """Frequencies of the choices a stream opens with; on large grids, bound tight, plain ones are nearly free."""

    positions: tuple[int, ...]
    model: tuple[int, ...]
    copy: tuple[int, ...]


_SMALL = _Choices(positions=(1, 1, 6, 8), model=(6, 4, 2, 2, 1, 1), copy=(11, 5))
_LARGE = _Choices(positions=(1, 1, 60, 2), model=(59, 1, 1, 1, 1, 1), copy=(60, 4))


def _choices(cells: int) -> _Choices:
    return _SMALL if cells <= 1024 else _LARGE


def bound_bits(cells: int, selected: int, levels: int) -> int:
    """ceil(K * (h2(m) + m * log2 J)) + 16: no stream of `selected` tokens out of `cells` is longer than this."""
    m = selected / cells
    h2 = 0.0 if selected in (0, cells) else -m * math.log2(m) - (1 - m) * math.log2(1 - m)
    return math.ceil(cells * h2 + selected * math.log2(levels)) + 16


def encode_grid(mask: np.ndarray, indices: np.ndarray, levels: int, prior: np.ndarray | None = None) -> bytes:
    """Bytes of the selected positions and their indices.

    mask: (h, w) bool, at most 65,536 cells. indices: (N,) integers in [0, levels), raster order of the selected cells.
    levels: 2 to 65536. prior: (levels,) integer frequencies, 0 to 2**32 - 1, that the decoder is given as well.
    Raises UsageError for anything else.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise UsageError(f"the token mask must be a 2-D bool array, not {mask.ndim}-D {mask.dtype}")
    _check_shape(mask.shape, UsageError)
    table = _check_prior(levels, prior)
    symbols = np.asarray(indices)
    selected = int(mask.sum())
    if symbols.shape != (selected,) or (selected and symbols.dtype.kind not in "iu"):
        raise UsageError(f"{selected} selected cells need as many integer indices, not {symbols.dtype} {symbols.shape}")
    if selected and not (0 <= int(symbols.min()) and int(symbols.max()) < levels):
        raise UsageError(f"token indices must be 0 to {levels - 1}, not {symbols.min()} to {symbols.max()}")
    return _encode(mask, symbols.astype(np.int64), levels, table)


def decode_grid(
    data: bytes, shape: tuple[int, int], levels: int, prior: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The (h, w) bool mask and the (N,) int32 indices that `encode_grid` was given, with the same levels and prior.

    Work and memory depend on shape and levels alone, whatever the bytes. Raises StreamError unless `data` is exactly
    what the coder writes for the choices and symbols it decodes to; other damage is for the section's CRC to find.
    """
    height, width = _check_shape(shape, StreamError)
    table = _check_prior(levels, prior)
    choices = _choices(height * width)
    coder = Decoder(data)
    mode = _take(coder, choices.positions)
    bits = _read_positions(coder, mode, height, width)
    mask = np.array(bits, np.bool_).reshape(height, width)
    selected = sum(bits)
    if mode in (_PLAIN, _CLUSTERED) and selected in (0, len(bits)):
        raise StreamError("a token stream spells out a mask that is all empty or all full, which no encoder writes")
    values = _read_indices(coder, choices, mask, levels, table) if selected else []
    coder.finish()
    return mask, np.array(values, np.int32)


def _check_shape(shape: tuple[int, ...], error: type[UsageError] | type[StreamError]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > MAX_CELLS:
        raise error(f"a token grid has two sides and 1 to {MAX_CELLS} cells, not the shape {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def _check_prior(levels: int, prior: np.ndarray | None) -> np.ndarray | None:
    if not 2 <= levels <= MAX_LEVELS:
        raise UsageError(f"a codebook has 2 to {MAX_LEVELS} levels, not {levels}")
    if prior is None:
        return None
    table = np.asarray(prior)
    if table.shape != (levels,) or table.dtype.kind not in "iu":
        raise UsageError(f"the prior must be {levels} integer frequencies, not {table.dtype} {table.shape}")
    if int(table.min()) < 0 or int(table.max()) >= 1 << 32 or not table.any():
        raise UsageError("the prior's frequencies must be 0 to 2**32 - 1 and not all zero")
    return table.astype(np.int64)


# --- choices, positions ---


def _put(coder: Encoder, freqs: tuple[int, ...], symbol: int) -> None:
    coder.encode(sum(freqs[:symbol]), freqs[symbol], sum(freqs))


def _take(coder: Decoder, freqs: tuple[int, ...]) -> int:
    total = sum(freqs)
    target = coder.decode_target(total)
    symbol = cum = 0
    while target >= cum + freqs[symbol]:
        cum += freqs[symbol]
        symbol += 1
    coder.advance(cum, freqs[symbol], total)
    return symbol


def _choice_cost(freqs: tuple[int, ...], symbol: int) -> float:
    return math.log2(sum(freqs) / freqs[symbol])


def _put_counted(coder: Encoder, bit: int, ones: int, seen: int) -> None:
    """A bit at probability (ones + 1/2) / (seen + 1) of being 1; a one takes the lower part."""
    total, split = 2 * seen + 2, 2 * ones + 1
    if bit:
        coder.encode(0, split, total)
    else:
        coder.encode(split, total - split, total)


def _take_counted(coder: Decoder, ones: int, seen: int) -> int:
    total, split = 2 * seen + 2, 2 * ones + 1
    if coder.decode_target(total) < split:
        coder.advance(0, split, total)
        return 1
    coder.advance(split, total - split, total)
    return 0


def _plain_cost(cells: int, selected: int) -> float:
    halves = np.log2(2 * np.arange(max(selected, cells - selected)) + 1)
    return float(np.log2(2 * np.arange(cells) + 2).sum() - halves[:selected].sum() - halves[: cells - selected].sum())


def _clustered_probabilities(bits: list[int], height: int, width: int) -> list[int]:
    model = clustered(height, width)
    found = [next(model)]
    found += [model.send(bit) for bit in bits[:-1]]
    return found


def _read_positions(coder: Decoder, mode: int, height: int, width: int) -> list[int]:
    cells = height * width
    if mode in (_EMPTY, _FULL):
        return [int(mode == _FULL)] * cells
    bits: list[int] = []
    if mode == _PLAIN:
        ones = 0
        for seen in range(cells):
            bit = _take_counted(coder, ones, seen)
            ones += bit
            bits.append(bit)
        return bits
    model = clustered(height, width)
    p1 = next(model)
    while len(bits) < cells:
        bits.append(coder.decode_bit(p1))
        if len(bits) < cells:
            p1 = model.send(bits[-1])
    return bits


# --- indices ---


@dataclass(frozen=True)
class _Copying:
    """The questions "does this cell repeat that index?" of a grid, and the tokens they leave to the index model."""

    asked: list[list[tuple[int, int, int]]]  # per token: (answer, yes answers so far, answers so far)
    left: np.ndarray  # (N,) bool: coded by the index model
    cost: float


def _copying(mask: np.ndarray, symbols: np.ndarray) -> _Copying:
    grid, cells, stride = _blank(mask)
    yes, seen = [0] * COPY_CONTEXTS, [0] * COPY_CONTEXTS
    asked: list[list[tuple[int, int, int]]] = []
    left = np.ones(len(symbols), np.bool_)
    cost, last = 0.0, -1
    for token, (at, symbol) in enumerate(zip(cells, symbols.tolist(), strict=True)):
        questions = []
        for value, context in rivals(grid, at, stride, last):
            answer = int(value == symbol)
            ones, count = yes[context], seen[context]
            questions.append((answer, ones, count))
            cost += math.log2((2 * count + 2) / (2 * ones + 1 if answer else 2 * (count - ones) + 1))
            yes[context] += answer
            seen[context] += 1
            if answer:
                left[token] = False
                break
        asked.append(questions)
        grid[at] = last = symbol
    return _Copying(asked, left, cost)


def _blank(mask: np.ndarray) -> tuple[list[int], list[int], int]:
    """A padded grid of -1, where in it the selected cells lie (raster order), and its row length."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    stride = width + 1
    return [-1] * (stride * (height + 1)), ((rows + 1) * stride + columns + 1).tolist(), stride


def _read_indices(
    coder: Decoder, choices: _Choices, mask: np.ndarray, levels: int, prior: np.ndarray | None
) -> list[int]:
    number = _take(coder, choices.model)
    if number == 1 and prior is None:
        raise StreamError("the token stream asks for a table of index frequencies that this model does not have")
    copy = _take(coder, choices.copy)
    model = None if number == _UNIFORM else IndexModel(start_weights(levels, prior), INCREMENTS[number])
    grid, cells, stride = _blank(mask)
    yes, seen = [0] * COPY_CONTEXTS, [0] * COPY_CONTEXTS
    values: list[int] = []
    last = -1
    for at in cells:
        symbol = -1
        for value, context in rivals(grid, at, stride, last) if copy else ():
            answer = _take_counted(coder, yes[context], seen[context])
            yes[context] += answer
            seen[context] += 1
            if answer:
                symbol = value
                break
        if symbol < 0:
            symbol = coder.decode_uniform(levels) if model is None else model.decode(coder)
        values.append(symbol)
        grid[at] = last = symbol
    return values


# --- encoding ---


def _encode(mask: np.ndarray, symbols: np.ndarray, levels: int, prior: np.ndarray | None) -> bytes:
    choices = _choices(mask.size)
    selected = len(symbols)
    if selected == 0:
        return _write(mask, symbols, levels, prior, _EMPTY, _UNIFORM, None, None)
    mode, chances = _FULL, None
    if selected < mask.size:
        plain = _plain_cost(mask.size, selected) + _choice_cost(choices.positions, _PLAIN)
        bits = mask.ravel()
        chances = _clustered_probabilities(bits.astype(int).tolist(), *mask.shape)
        share = np.array(chances) / 65536
        patchy = -float(np.log2(np.where(bits, share, 1 - share)).sum()) + _choice_cost(choices.positions, _CLUSTERED)
        mode = _CLUSTERED if patchy < plain else _PLAIN
    copying = _copying(mask, symbols)
    weights = start_weights(levels, prior)
    numbers = [_UNIFORM, *(number for number in INCREMENTS if number > 1 or prior is not None)]
    best = (math.inf, _UNIFORM, None)
    for way in (None, copying):
        left = symbols if way is None else symbols[way.left]
        for number in numbers:
            if number == _UNIFORM:
                cost = len(left) * math.log2(levels)
            else:
                cost = IndexModel.cost(weights, INCREMENTS[number], left)
            cost += _choice_cost(choices.model, number) + _choice_cost(choices.copy, int(way is not None))
            cost += 0.0 if way is None else way.cost
            if cost < best[0]:
                best = (cost, number, way)
    _, number, way = best
    return _write(mask, symbols, levels, prior, mode, number, way, chances)


def _write(
    mask: np.ndarray,
    symbols: np.ndarray,
    levels: int,
    prior: np.ndarray | None,
    mode: int,
    number: int,
    copying: _Copying | None,
    chances: list[int] | None,
) -> bytes:
    choices = _choices(mask.size)
    coder = Encoder()
    _put(coder, choices.positions, mode)
    bits = mask.ravel().astype(int).tolist()
    if mode == _PLAIN:
        ones = 0
        for seen, bit in enumerate(bits):
            _put_counted(coder, bit, ones, seen)
            ones += bit
    elif mode == _CLUSTERED and chances is not None:
        for bit, p1 in zip(bits, chances, strict=True):
            coder.encode_bit(bit, p1)
    if len(symbols) == 0:
        return coder.finish()
    _put(coder, choices.model, number)
    _put(coder, choices.copy, int(copying is not None))
    model = None if number == _UNIFORM else IndexModel(start_weights(levels, prior), INCREMENTS[number])
    for token, symbol in enumerate(symbols.tolist()):
        if copying is not None:
            for answer, ones, count in copying.asked[token]:
                _put_counted(coder, answer, ones, count)
            if not copying.left[token]:
                continue
        if model is None:
            coder.encode_uniform(symbol, levels)
        else:
            model.encode(coder, symbol)
    return coder.finish()
