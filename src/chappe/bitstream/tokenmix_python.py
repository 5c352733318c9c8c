"""The mixed token code's engine: one function over plain integers, run as it stands or compiled by numba.

Two passes over the grid in raster order: which candidate cells are sent, then their indices. For each symbol the
surroundings become a vector of small integers; a small integer network (one hidden layer) turns it into the
probability of a one, or of the index's cluster and then of the index in its cluster. Every quantity fits in signed
64 bits; divisions and shifts to the right round down. The function is long because it must stay free of calls: the
compiled and the interpreted engine share this source. Specification: docs/format.md, chapter 8.
"""

from __future__ import annotations

__all__ = ["ACT_MAX", "FLAG", "GATES", "STEPS", "WINDOW", "inputs", "run"]

FLAG = 16  # an input that stands for yes
ACT_MAX = 2047  # hidden values are 0 to 2047, in 1/128
WINDOW = 34  # cells at most two rows and three columns away
STEPS = (4, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)  # per cent: where the inputs that measure a share switch
GATES = 4  # neighbours whose index is worth naming: left, up, up-left, up-right


def inputs(size: int, classes: int) -> int:
    """Length of the input vector for vectors of `size` numbers a token and that many classes."""
    return WINDOW * (size + 3) + 12 * classes + 16 + 2 * len(STEPS) + 2 * size + 9


def run(decode, height, width, candidate, known, mask, grid, cells, classes, count, size, vectors, levels, cluster,
        member, first, hidden, position, index, shifts, squash, power, buf, state, out, trace, scratch):  # fmt: skip
    """Code one grid: fill `out` with the symbols' ranges, or read the symbols from `buf` into `mask` and `grid`.

    All arrays are flat. decode: 0 or 1. candidate, mask (K,): 0 or 1. known (K,), grid (K,): indices, -1 for none; grid
    starts with the indices to code, or as `known`. cells (16 K,): classes. count: cells that are sent. vectors
    (levels * size,). cluster (levels,), member (levels,) sorted by cluster, first (clusters + 1,): where each begins.
    hidden (2,): units of the two networks; position, index: their weights, see tokenmix_prior.Net. shifts (4,). squash,
    power: see tokenmix_prior. buf, state (3,): stream, and the range decoder's code, range and place. out (symbols, 3)
    flat: cum, freq, total; or bit, p1, 0. trace, if not empty: inputs and bit of every decision, inputs, index and the
    four neighbours' indices of every token. scratch, all zero: x (inputs,), act (units,), logits (levels + clusters,),
    major (K,), sums ((classes + 2) * size,), tokens (classes + 2,), stats (5 (classes + 1),), gate (12,).
    Returns the number of symbols.
    """
    x, act, logits, major, sums, tokens, stats, gate = scratch
    limit = (len(squash) - 1) >> 1
    far = len(power) - 1
    total_cells = height * width
    clusters = len(first) - 1
    wide = size + 3
    base_own = WINDOW * wide
    base_around = base_own + 4 * classes
    base_place = base_around + 8 * classes
    base_share = base_place + 16
    base_mean = base_share + 2 * len(STEPS)
    base_class = base_mean + size + 1
    base_rate = base_class + size + 4
    inputs = len(x)
    tracing = len(trace) > 0
    code = state[0]
    span = state[1]
    at = state[2]
    # the class that most samples of a cell have; `classes` where none is known
    kinds = classes + 1  # stats, by class: samples of a cell, cells, tokens known before, cells sent, cells asked
    area = kinds
    before = 2 * kinds
    ones = 3 * kinds
    asked = 4 * kinds
    for k in range(total_cells):
        major[k] = classes
        for c in range(classes):
            stats[c] = 0
        for s in range(16):
            v = cells[16 * k + s]
            if v < classes:
                stats[v] += 1
        best = 0
        for c in range(classes):
            if stats[c] > best:
                best = stats[c]
                major[k] = c
    # sums: over the tokens known so far, of the cells of each class and of all cells
    free = 0
    for k in range(total_cells):
        c = major[k]
        stats[area + c] += 1
        free += candidate[k]
        if known[k] >= 0:
            stats[before + c] += 1
            for i in range(size):
                v = vectors[known[k] * size + i]
                sums[c * size + i] += v
                sums[(classes + 1) * size + i] += v
            tokens[c] += 1
            tokens[classes + 1] += 1
    covered = tokens[classes + 1] + count
    left = count
    rest = free
    symbols = 0
    traced = 0
    for phase in range(2):
        units = hidden[phase]
        net = position if phase == 0 else index
        for k in range(total_cells):
            if phase == 0:
                if candidate[k] == 0:
                    continue
                if left == 0 or left == rest:  # nothing to ask
                    v = 1 if left > 0 else 0
                    mask[k] = v
                    left -= v
                    rest -= 1
                    stats[asked + major[k]] += 1
                    stats[ones + major[k]] += v
                    continue
            elif mask[k] == 0:
                continue
            y = k // width
            col = k - y * width
            own = major[k]
            for i in range(inputs):
                x[i] = 0
            slot = 0
            for dy in range(-2, 3):
                for dx in range(-3, 4):
                    if dy == 0 and dx == 0:
                        continue
                    if 0 <= y + dy < height and 0 <= col + dx < width:
                        o = k + dy * width + dx
                        v = known[o]
                        if phase == 1 and o < k and mask[o] == 1:
                            v = grid[o]
                        if v >= 0:
                            x[slot] = FLAG
                            for i in range(size):
                                x[slot + 1 + i] = vectors[v * size + i]
                        if (phase == 1 or o < k) and mask[o] == 1:
                            x[slot + size + 1] = FLAG
                        if candidate[o] == 1:
                            x[slot + size + 2] = FLAG
                    slot += wide
            for s in range(16):
                v = cells[16 * k + s]
                if v < classes:
                    x[base_own + ((s >> 3) * 2 + ((s >> 1) & 1)) * classes + v] += 4
            slot = base_around
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if dy == 0 and dx == 0:
                        continue
                    if 0 <= y + dy < height and 0 <= col + dx < width:
                        o = 16 * (k + dy * width + dx)
                        for s in range(16):
                            v = cells[o + s]
                            if v < classes:
                                x[slot + v] += 1
                    slot += classes
            x[base_place + y * 8 // height] = FLAG
            x[base_place + 8 + col * 8 // width] = FLAG
            part = left if phase == 0 else count
            whole = rest if phase == 0 else free
            slot = base_share
            for s in STEPS:
                if 100 * covered >= s * total_cells:
                    x[slot] = FLAG
                if 100 * part >= s * whole:
                    x[slot + len(STEPS)] = FLAG
                slot += 1
            seen = tokens[classes + 1]
            if seen > 0:
                for i in range(size):
                    x[base_mean + i] = sums[(classes + 1) * size + i] // seen
                x[base_mean + size] = FLAG
            seen = tokens[own]
            if seen > 0:
                for i in range(size):
                    x[base_class + i] = sums[own * size + i] // seen
                x[base_class + size] = FLAG
                if seen > 1:
                    x[base_class + size + 1] = FLAG
                if seen > 3:
                    x[base_class + size + 2] = FLAG
                if seen > 8:
                    x[base_class + size + 3] = FLAG
            if stats[asked + own] > 3:
                x[base_rate] = (2 * stats[ones + own] + 1) * 32 // (stats[asked + own] + 1)
                x[base_rate + 1] = FLAG
            x[base_rate + 2] = 64 * stats[before + own] // stats[area + own]
            x[base_rate + 3] = 64 * part // whole
            # the hidden layer: inputs that are zero, most of them, cost nothing
            bias = inputs * units
            for i in range(units):
                act[i] = net[bias + i]
            for d in range(inputs):
                v = x[d]
                if v != 0:
                    for i in range(units):
                        act[i] += v * net[d * units + i]
            for i in range(units):
                act[i] = min(max(act[i] >> shifts[2 * phase], 0), ACT_MAX)
            base = bias + units
            if phase == 0:
                dot = net[base + units]
                for i in range(units):
                    dot += act[i] * net[base + i]
                dot = min(max(dot >> shifts[1], -limit), limit)
                p = squash[dot + limit]
                if decode:
                    split = (span >> 16) * p
                    if code < split:
                        span = split
                        bit = 1
                    else:
                        code -= split
                        span -= split
                        bit = 0
                    while span < 1 << 40:
                        span <<= 8
                        code <<= 8
                        if at < len(buf):
                            code |= buf[at]
                        at += 1
                    mask[k] = bit
                else:
                    bit = mask[k]
                    out[3 * symbols] = bit
                    out[3 * symbols + 1] = p
                    out[3 * symbols + 2] = 0
                symbols += 1
                if tracing:
                    for d in range(inputs):
                        trace[traced + d] = x[d]
                    trace[traced + inputs] = bit
                    traced += inputs + 1
                left -= bit
                rest -= 1
                stats[asked + own] += 1
                stats[ones + own] += bit
                continue
            # logits: gates, clusters, then the members of one cluster; a neighbour's index gets its gates on top
            for g in range(8):
                dot = net[base + 8 * units + g]
                for i in range(units):
                    dot += act[i] * net[base + g * units + i]
                gate[g] = dot >> shifts[3]
            base += 8 * (units + 1)
            for g in range(clusters):
                dot = net[base + clusters * units + g]
                for i in range(units):
                    dot += act[i] * net[base + g * units + i]
                logits[g] = dot >> shifts[3]
            for g in range(4):
                gate[8 + g] = -1
                dy = 0 if g == 0 else -1
                dx = 0
                if g == 0 or g == 2:
                    dx = -1
                elif g == 3:
                    dx = 1
                if 0 <= y + dy < height and 0 <= col + dx < width:
                    o = k + dy * width + dx
                    gate[8 + g] = grid[o] if mask[o] == 1 else known[o]
                    if gate[8 + g] >= 0:
                        logits[cluster[gate[8 + g]]] += gate[4 + g]
            base += clusters * (units + 1)
            target = grid[k]
            chosen = 0 if decode else cluster[target]
            start = 0
            stop = clusters
            for level in range(2):
                if level == 1:
                    start = first[chosen]
                    stop = first[chosen + 1]
                    for j in range(start, stop):
                        dot = net[base + levels * units + member[j]]
                        for i in range(units):
                            dot += act[i] * net[base + member[j] * units + i]
                        logits[j] = dot >> shifts[3]
                    for g in range(4):
                        if gate[8 + g] >= 0 and cluster[gate[8 + g]] == chosen:
                            for j in range(start, stop):
                                if member[j] == gate[8 + g]:
                                    logits[j] += gate[g]
                top = logits[start]
                for j in range(start, stop):
                    top = max(top, logits[j])
                total = 0
                for j in range(start, stop):
                    logits[j] = power[min(top - logits[j], far)]
                    total += logits[j]
                cum = 0
                j = start
                if decode:
                    step = span // total
                    goal = min(code // step, total - 1)
                    while cum + logits[j] <= goal:
                        cum += logits[j]
                        j += 1
                    code -= step * cum
                    span = step * logits[j] if cum + logits[j] < total else span - step * cum
                    while span < 1 << 40:
                        span <<= 8
                        code <<= 8
                        if at < len(buf):
                            code |= buf[at]
                        at += 1
                    if level == 0:
                        chosen = j
                    else:
                        target = member[j]
                else:
                    while (j != chosen) if level == 0 else (member[j] != target):
                        cum += logits[j]
                        j += 1
                    out[3 * symbols] = cum
                    out[3 * symbols + 1] = logits[j]
                    out[3 * symbols + 2] = total
                symbols += 1
            grid[k] = target
            if tracing:
                for d in range(inputs):
                    trace[traced + d] = x[d]
                trace[traced + inputs] = target
                for g in range(4):
                    trace[traced + inputs + 1 + g] = gate[8 + g]
                traced += inputs + 5
            for i in range(size):
                v = vectors[target * size + i]
                sums[own * size + i] += v
                sums[(classes + 1) * size + i] += v
            tokens[own] += 1
            tokens[classes + 1] += 1
    state[0] = code
    state[1] = span
    state[2] = at
    return symbols
