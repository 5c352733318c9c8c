from __future__ import annotations

import math
import zlib
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstream.mixes import formula_prior, mixes
from bitstream.test_format import PAGE, Stranger
from chappe.bitstream import tokenmix_engine
from chappe.bitstream.tokenmix import UNKNOWN, cell_classes, cost, decode_tokens, encode_tokens, knowledge, sizes
from chappe.bitstream.tokenmix_prior import Net, TokenPrior, pack_priors, power, unpack_priors
from chappe.bitstream.tokens import bound_bits, encode_grid
from chappe.errors import ChappeError, ModelError, StreamError, UsageError


def prior_for(levels: int) -> TokenPrior:
    return formula_prior(levels, clusters=min(3, levels))


def blank_prior(levels: int = 12) -> TokenPrior:
    """Every network number 0: all decisions even, all clusters alike, all members alike."""
    prior = formula_prior(levels)
    nets = {name: Net(net.units, net.values * 0) for name, net in vars(prior).items() if isinstance(net, Net)}
    return replace(prior, **nets)


@settings(max_examples=80, deadline=None)
@given(mixes(), st.booleans())
def test_round_trip_within_the_bound(grid, trained: bool) -> None:
    mask, indices, levels, context = grid
    prior = prior_for(levels) if trained else None
    data = encode_tokens(mask, indices, levels, **context, prior=prior)
    found, values = decode_tokens(data, mask.shape, levels, **context, prior=prior)
    assert found.dtype == np.bool_
    assert values.dtype == np.int32
    assert np.array_equal(found, mask)
    assert np.array_equal(values, indices)
    free = mask.size if context["candidates"] is None else int(context["candidates"].sum())
    if free:
        assert len(data) * 8 <= bound_bits(free, len(indices), levels) + 16


@settings(max_examples=25, deadline=None)
@given(mixes(side=5))
def test_interpreter_and_compiler_write_the_same_bytes(grid) -> None:
    mask, indices, levels, context = grid
    prior = prior_for(levels)
    written = {}
    for engine in ("python", "numba"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHAPPE_LABELMAP_ENGINE", engine)
            written[engine] = encode_tokens(mask, indices, levels, **context, prior=prior)
            found, values = decode_tokens(written[engine], mask.shape, levels, **context, prior=prior)
            assert np.array_equal(found, mask)
            assert np.array_equal(values, indices)
    assert written["python"] == written["numba"]


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60), mixes(), st.booleans())
def test_any_bytes_are_a_grid_or_an_error(data: bytes, grid, trained: bool) -> None:
    mask, _, levels, context = grid
    prior = prior_for(levels) if trained else None
    try:
        found, values = decode_tokens(data, mask.shape, levels, **context, prior=prior)
    except ChappeError:
        return
    assert len(values) == int(found.sum())
    assert context["candidates"] is None or not (found & ~context["candidates"]).any()
    if not trained:  # chapter 5 lets an encoder choose among models, of which ours takes the cheapest
        return
    again = decode_tokens(data, mask.shape, levels, **context, prior=prior)
    assert np.array_equal(again[1], values)


@pytest.mark.parametrize("damage", [b"\0", b"\1"])
def test_added_bytes_are_found(damage: bytes) -> None:
    mask = np.eye(6, dtype=np.bool_)
    data = encode_tokens(mask, np.arange(6), 11, prior=formula_prior())
    with pytest.raises(StreamError):
        decode_tokens(data + damage, mask.shape, 11, prior=formula_prior())


def test_without_a_prior_it_is_the_plain_token_grid() -> None:
    rng = np.random.default_rng(0)
    mask, candidates = rng.random((5, 8)) < 0.4, np.ones((5, 8), np.bool_)
    indices = rng.integers(0, 1024, int(mask.sum()))
    assert encode_tokens(mask, indices, 1024) == encode_grid(mask, indices, 1024)
    candidates[0] = False
    part = mask & candidates
    assert encode_tokens(part, indices[: int(part.sum())], 1024, candidates=candidates) == encode_grid(
        part[candidates][None], indices[: int(part.sum())], 1024
    )


def test_a_prior_that_knows_nothing_finds_all_choices_alike() -> None:
    """Eighteen even decisions, the two ones behind them implied; then one of three clusters, one of four members."""
    mask = np.zeros(20, np.uint8)
    mask[18:] = 1
    grid = knowledge((4, 5), None, None, None)
    coded = tokenmix_engine.run(grid, blank_prior(), 2, mask, np.array([0, 7]))[2].tolist()
    assert coded[:18] == [[0, 32768, 0]] * 18
    e = 65536
    assert coded[18:] == [[0, e, 3 * e], [0, e, 4 * e], [e, e, 3 * e], [2 * e, e, 4 * e]]


@settings(max_examples=40, deadline=None)
@given(mixes(side=12))
def test_a_stream_is_as_long_as_its_cost(grid) -> None:
    mask, indices, levels, context = grid
    if context["candidates"] is not None and not context["candidates"].any():
        return
    prior = prior_for(levels)
    bits = sum(cost(mask, indices, levels, **context, prior=prior))
    assert 8 * len(encode_tokens(mask, indices, levels, **context, prior=prior)) < bits + 9


@pytest.mark.parametrize("prior", [formula_prior(), formula_prior(most=60), blank_prior(11)])
def test_the_cost_is_exact_to_a_byte(prior: TokenPrior) -> None:
    rng = np.random.default_rng(1)
    for share in (0.1, 0.5, 0.9):
        mask = rng.random((12, 16)) < share
        indices = rng.integers(0, 11, int(mask.sum()))
        bits = sum(cost(mask, indices, 11, prior=prior))
        assert abs(8 * len(encode_tokens(mask, indices, 11, prior=prior)) - bits) < 9


def test_sizes_follow_the_real_lengths() -> None:
    rng = np.random.default_rng(2)
    grid, order = rng.integers(0, 11, (12, 16)), rng.permutation(192)
    counts = [4, 30, 100, 150, 192]
    guessed = sizes(order, grid, counts, 11, prior=formula_prior())
    for count, guess in zip(counts, guessed, strict=True):
        mask = np.zeros(192, np.bool_)
        mask[order[:count]] = True
        mask = mask.reshape(12, 16)
        real = len(encode_tokens(mask, grid[mask], 11, prior=formula_prior()))
        assert abs(guess - real) <= 2 + 0.04 * real


def test_a_prior_that_is_sure_and_wrong_costs_four_bits_at_most() -> None:
    prior = formula_prior(64, most=30000)
    rng = np.random.default_rng(3)
    mask = rng.random((10, 10)) < 0.5
    indices = rng.integers(0, 64, int(mask.sum()))
    data = encode_tokens(mask, indices, 64, prior=prior)
    assert len(data) * 8 <= bound_bits(100, len(indices), 64)
    found, values = decode_tokens(data, (10, 10), 64, prior=prior)
    assert np.array_equal(found, mask)
    assert np.array_equal(values, indices)


def test_power_is_the_exponential() -> None:
    expected = np.maximum(1, np.rint(65536 * np.exp(-np.arange(2816) / 256)))
    assert np.array_equal(power(), expected)


def test_cell_classes_are_sixteen_samples() -> None:
    labels = np.random.default_rng(0).integers(0, 12, (40, 50)).astype(np.uint8)
    cells = cell_classes(labels)
    assert cells.shape == (3, 4, 16)
    for y, x, s in [(0, 0, 0), (1, 2, 7), (2, 3, 15), (2, 0, 4)]:
        row, column = 16 * y + 4 * (s // 4) + 2, 16 * x + 4 * (s % 4) + 2
        assert cells[y, x, s] == labels[min(row, 39), min(column, 49)]


def test_priors_survive_their_file() -> None:
    prior = formula_prior(64)
    again = unpack_priors(pack_priors({"image": prior, "map": formula_prior(11, classes=5)}))
    assert list(again) == ["image", "map"]
    for name, value in vars(prior).items():
        if isinstance(value, Net):
            assert np.array_equal(getattr(again["image"], name).values, value.values)
        elif isinstance(value, np.ndarray):
            assert np.array_equal(getattr(again["image"], name), value)
    assert again["image"].shifts == prior.shifts
    assert again["map"].classes == 5


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 2**32 - 1))
def test_a_damaged_prior_file_is_refused_or_harmless(noise: bytes, seed: int) -> None:
    raw = bytearray(zlib.decompress(pack_priors({"map": formula_prior()})))
    rng = np.random.default_rng(seed)
    for data in (noise, zlib.compress(noise), zlib.compress(b"CTM1\1" + noise), zlib.compress(raw[: rng.integers(99)])):
        with pytest.raises(ModelError):
            unpack_priors(data)
    raw[rng.integers(4, 60)] ^= 1 << rng.integers(8)
    try:
        unpack_priors(zlib.compress(raw))
    except ModelError:
        pass


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask": np.ones((2, 2), np.uint8)},
        {"indices": np.array([11, 0])},
        {"indices": np.array([1])},
        {"levels": 12},
        {"candidates": np.zeros((2, 2), np.bool_)},
        {"known": np.zeros((2, 2), np.int32)},
        {"classes": np.zeros((2, 2, 3), np.uint8)},
        {"classes": np.zeros((2, 2), np.int64)},
    ],
)
def test_arguments_that_do_not_fit_are_refused(wrong: dict) -> None:
    call = {"mask": np.eye(2, dtype=np.bool_), "indices": np.array([1, 2]), "levels": 11, **wrong}
    with pytest.raises(UsageError):
        encode_tokens(call.pop("mask"), call.pop("indices"), call.pop("levels"), **call, prior=formula_prior())


def test_the_shipped_prior_is_small_and_the_same_in_both_engines(monkeypatch) -> None:
    path = resources.files("chappe") / "weights" / "sqgan-street-v3" / "tokens.bin"
    data = path.read_bytes()
    assert len(data) < 250_000
    rng = np.random.default_rng(4)
    mask = rng.random((5, 6)) < 0.3
    indices = rng.integers(0, 1024, int(mask.sum()))
    classes = rng.integers(0, 12, (5, 6, 16)).astype(np.uint8)
    for prior in unpack_priors(data).values():
        grid = tokenmix_engine.Grid((5, 6), np.ones(30, np.uint8), np.full(30, -1, np.int32), classes.reshape(-1))
        coded = []
        for engine in ("python", "numba"):
            monkeypatch.setenv("CHAPPE_LABELMAP_ENGINE", engine)
            coded.append(tokenmix_engine.run(grid, prior, len(indices), mask.reshape(-1), indices)[2])
        assert np.array_equal(*coded)


class Reader(Stranger):
    """Chapter 8, written from the page alone: {(y, x): index} of a mixed stream."""

    def mixed(self, h: int, w: int, prior: TokenPrior, classes, free: set, known: dict) -> dict:
        if self.symbol([15, 1]):
            counter = [0, 0]
            plain = [p for p in sorted(free) if self.counted(counter)]
            return {p: self.uniform(prior.levels) for p in plain}
        total = self.uniform(len(free) + 1)
        cells = [(y, x) for y in range(h) for x in range(w)]
        c_count, size = prior.classes, prior.size
        vector = {j: [int(v) for v in prior.vectors[j]] for j in range(prior.levels)}
        own = {}
        for cell in cells:
            held = [classes[cell].tolist().count(c) for c in range(c_count)]
            own[cell] = held.index(max(held)) if any(held) else c_count
        sent, grid, decided = set(), dict(known), []

        def mean(places: list) -> list[int]:
            return (
                [sum(vector[grid[p]][i] for p in places) // len(places) for i in range(size)] if places else [0] * size
            )

        def look(y: int, x: int, second: bool) -> list[int]:
            found = []
            for p in [(y + i, x + j) for i in range(-2, 3) for j in range(-3, 4) if (i, j) != (0, 0)]:
                found += [16, *vector[grid[p]]] if p in grid else [0] * (size + 1)
                found += [16 * (p in sent), 16 * (p in free)]
            samples = classes[y, x].reshape(4, 4)
            for quarter in (samples[:2, :2], samples[:2, 2:], samples[2:, :2], samples[2:, 2:]):
                found += [4 * int((quarter == c).sum()) for c in range(c_count)]
            for p in [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]:
                found += [int((classes[p] == c).sum()) if p in own else 0 for c in range(c_count)]
            found += [16 * (k == 8 * y // h) for k in range(8)] + [16 * (k == 8 * x // w) for k in range(8)]
            part, whole = (total, len(free)) if second else (total - len(sent), len(free) - len(decided))
            shares = (4, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
            found += [16 * (100 * (len(known) + total) >= q * h * w) for q in shares]
            found += [16 * (100 * part >= q * whole) for q in shares]
            alike = [p for p in grid if own[p] == own[y, x]]
            found += [*mean(list(grid)), 16 * bool(grid), *mean(alike), *(16 * (len(alike) > n) for n in (0, 1, 3, 8))]
            asked = [p for p in decided if own[p] == own[y, x]]
            ones = sum(p in sent for p in asked)
            found += [(2 * ones + 1) * 32 // (len(asked) + 1), 16] if len(asked) > 3 else [0, 0]
            same = [p for p in cells if own[p] == own[y, x]]
            return [*found, 64 * sum(p in known for p in same) // len(same), 64 * part // whole]

        def network(net: Net, x: list[int], a: int, b: int, groups: list[int]) -> list[list[int]]:
            numbers = iter(net.values.tolist())
            weights = [[next(numbers) for _ in range(net.units)] for _ in x]
            acts = [
                next(numbers) + sum(v * row[u] for v, row in zip(x, weights, strict=True)) for u in range(net.units)
            ]
            acts = [min(max(t >> a, 0), 2047) for t in acts]
            outputs = []
            for group in groups:
                sums = [sum(t * next(numbers) for t in acts) for _ in range(group)]
                outputs.append([(s + next(numbers)) >> b for s in sums])
            return outputs

        def pick(logits: dict) -> int:
            freqs = [
                max(1, round(65536 * math.exp(-min(max(logits.values()) - v, 2815) / 256))) for v in logits.values()
            ]
            return list(logits)[self.symbol(freqs)]

        for p in cells:
            if p in free:
                left, rest = total - len(sent), len(free) - len(decided)
                if 0 < left < rest:
                    ((v,),) = network(prior.position, look(*p, False), *prior.shifts[:2], [1])
                    v = min(max(v, -2815), 2815)
                    half = min(65535, round(65536 / (1 + math.exp(-abs(v) / 256))))
                    bit = self.decision(half if v >= 0 else 65536 - half)
                else:
                    bit = left > 0
                decided.append(p)
                sent |= {p} if bit else set()
        clusters = int(prior.cluster.max()) + 1
        for y, x in sorted(sent):
            groups = [8, clusters, prior.levels]
            gates, first, second = network(prior.index, look(y, x, True), *prior.shifts[2:], groups)
            near = [grid.get(p) for p in ((y, x - 1), (y - 1, x), (y - 1, x - 1), (y - 1, x + 1))]
            for n, index in enumerate(near):
                if index is not None:
                    first[prior.cluster[index]] += gates[4 + n]
                    second[index] += gates[n]
            chosen = pick(dict(enumerate(first)))
            grid[y, x] = pick({j: second[j] for j in range(prior.levels) if prior.cluster[j] == chosen})
        return {p: grid[p] for p in sent}


def example(number: int):
    """The page's examples: (mask, indices, context)."""
    rows, cols = np.mgrid[:4, :6]
    classes = ((rows[..., None] + np.arange(16) // 4 + cols[..., None]) // 3 % 4).astype(np.uint8)
    mask = (rows * 5 + cols * 3) % 4 == 1
    grid = (rows * 7 + cols * 2) % 11
    if number == 0:
        return mask, grid[mask], {"classes": classes, "candidates": None, "known": None}
    known = np.where(mask, grid, -1)
    later = (rows + cols) % 3 == 2
    later &= ~mask
    return later, grid[later], {"classes": np.full((4, 6, 16), UNKNOWN, np.uint8), "candidates": ~mask, "known": known}


@pytest.mark.parametrize(("number", "most"), [(0, 12), (1, 12), (0, 60)])
def test_the_page_describes_the_mixed_code(number: int, most: int) -> None:
    mask, indices, context = example(number)
    prior = formula_prior(most=most)
    data = encode_tokens(mask, indices, 11, **context, prior=prior)
    assert f"`{data.hex()}`" in PAGE
    free = mask | True if context["candidates"] is None else context["candidates"]
    known = {} if context["known"] is None else {
        tuple(p): int(context["known"][tuple(p)]) for p in np.argwhere(context["known"] >= 0).tolist()
    }  # fmt: skip
    places = {tuple(p) for p in np.argwhere(free).tolist()}
    found = Reader(data).mixed(4, 6, prior, context["classes"], places, known)
    assert sorted(found) == [tuple(p) for p in np.argwhere(mask).tolist()]
    assert [found[p] for p in sorted(found)] == indices.tolist()


@settings(max_examples=15, deadline=None)
@given(mixes(side=4))
def test_a_stranger_reads_what_we_write(grid) -> None:
    mask, indices, levels, context = grid
    prior = prior_for(levels)
    data = encode_tokens(mask, indices, levels, **context, prior=prior)
    classes = context["classes"]
    if classes is None:
        classes = np.full((*mask.shape, 16), UNKNOWN, np.uint8)
    elif classes.ndim == 2:
        classes = np.repeat(classes[..., None], 16, 2)
    free = np.ones(mask.shape, np.bool_) if context["candidates"] is None else context["candidates"]
    known = np.full(mask.shape, -1) if context["known"] is None else context["known"]
    there = {tuple(p): int(known[tuple(p)]) for p in np.argwhere(known >= 0).tolist()}
    places = {tuple(p) for p in np.argwhere(free).tolist()}
    found = Reader(data).mixed(*mask.shape, prior, classes, places, there) if places else {}
    assert [found[p] for p in sorted(found)] == indices.tolist()
