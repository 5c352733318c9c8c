"""The engine of the concept code: one function over plain integers, run as it stands or compiled by numba.

A concept's cells come in raster order, the channels of a cell in theirs. A value in -level ... level becomes binary
decisions: is it 0, is it negative, is its size above 1, above 2, ... Each is predicted by CONTEXTS adaptive counters,
mixed in the logistic domain, and coded by the range coder. Counters, mixing and learning are those of the label-map
coder (docs/format.md, 6.3); the contexts are in the chapter on semantic concepts.
"""

from __future__ import annotations

__all__ = ["ACTIVITY", "CONTEXTS", "DECISIONS", "SETS", "run", "slot_count"]

CONTEXTS = 6
DECISIONS = 6  # zero, sign, above 1, 2, 3, 4
ACTIVITY = 9  # classes of the sizes around; the last: no neighbour belongs to the concept
SETS = DECISIONS * ACTIVITY
STEP_SHIFT = 22
WEIGHT_MAX = 1 << 24


def slot_count(channels: int, concepts: int) -> int:
    """Counters of one level."""
    by_channel = channels * DECISIONS
    return by_channel * (1 + concepts + ACTIVITY + 25 + 25) + DECISIONS * ACTIVITY * 30


def run(decode, values, inside, height, width, channels, concepts, concept, level, slots, weights, seen, buf, state,
        out, squash, stretch, rate, trust, lr, lr_first):  # fmt: skip
    """Code one concept; returns the number of decisions.

    values: (height * width * channels,), 0 outside the concept; read (decode = 0) or filled in (1). inside: (height *
    width,) 0 or 1. slots (slot_count,), weights (SETS * CONTEXTS,), seen (SETS,): the state, changed in place. buf,
    state: bytes and (code, range, position) of the range decoder. out: 2 p + bit of each decision (encoding only).
    """
    limit = (len(squash) - 1) >> 1
    last = len(rate) - 1
    code = state[0]
    span = state[1]
    at = state[2]
    index = [0] * CONTEXTS
    inp = [0] * CONTEXTS
    first = [0] * CONTEXTS
    by_channel = channels * DECISIONS
    base1 = by_channel
    base2 = base1 + by_channel * concepts
    base3 = base2 + by_channel * ACTIVITY
    base4 = base3 + DECISIONS * ACTIVITY * 30
    base5 = base4 + by_channel * 25
    energy = [0] * (height * width)
    used = 0
    for y in range(height):
        for x in range(width):
            k = y * width + x
            if inside[k] == 0:
                continue
            has_w = x > 0 and inside[k - 1] == 1
            has_n = y > 0 and inside[k - width] == 1
            has_nw = x > 0 and y > 0 and inside[k - width - 1] == 1
            has_ne = x + 1 < width and y > 0 and inside[k - width + 1] == 1
            alone = not (has_w or has_n or has_nw or has_ne)
            around = 0
            if has_w:
                around += energy[k - 1]
            if has_n:
                around += energy[k - width]
            qe = 0
            for bound in (1, 3, 6, 11):
                if around >= bound:
                    qe += 1
            own = 0
            before = 0
            for c in range(channels):
                w = values[(k - 1) * channels + c] if has_w else 0
                n = values[(k - width) * channels + c] if has_n else 0
                nw = values[(k - width - 1) * channels + c] if has_nw else 0
                ne = values[(k - width + 1) * channels + c] if has_ne else 0
                sizes = 2 * abs(w) + 2 * abs(n) + abs(nw) + abs(ne)
                qa = 0
                for bound in (1, 2, 3, 5, 7, 10, 15):
                    if sizes >= bound:
                        qa += 1
                if alone:
                    qa = 8
                qb = 0
                for bound in (1, 2, 3, 5, 9):
                    if own >= bound:
                        qb += 1
                w2 = min(max(w, -2), 2) + 2
                n2 = min(max(n, -2), 2) + 2
                b2 = min(max(before, -2), 2) + 2
                v = values[k * channels + c]
                size = abs(v)
                done = False
                if decode:
                    v = 0
                    size = 0
                d = 0
                while not done:
                    cd = c * DECISIONS + d
                    first[0] = cd
                    first[1] = base1 + concept * by_channel + cd
                    first[2] = base2 + cd * ACTIVITY + qa
                    first[3] = base3 + ((d * ACTIVITY + qa) * 6 + qb) * 5 + qe
                    first[4] = base4 + cd * 25 + w2 * 5 + n2
                    first[5] = base5 + cd * 25 + b2 * 5 + w2
                    chosen = d * ACTIVITY + qa
                    base = chosen * CONTEXTS
                    dot = 0
                    for j in range(CONTEXTS):
                        s = slots[first[j]]
                        index[j] = first[j]
                        inp[j] = (stretch[s >> 14] * trust[s & 255]) >> 8
                        dot += inp[j] * weights[base + j]
                    dot = min(max(dot >> 16, -limit), limit)
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
                    else:
                        if d == 0:
                            bit = 1 if v == 0 else 0
                        elif d == 1:
                            bit = 1 if v < 0 else 0
                        else:
                            bit = 1 if size > d - 1 else 0
                        out[used] = 2 * p + bit
                    used += 1
                    step = (65536 * bit - p) * (lr + lr_first // (seen[chosen] + 1))
                    for j in range(CONTEXTS):
                        moved = weights[base + j] + ((inp[j] * step + (1 << STEP_SHIFT - 1)) >> STEP_SHIFT)
                        weights[base + j] = min(max(moved, -WEIGHT_MAX), WEIGHT_MAX)
                        s = slots[index[j]]
                        q = s >> 8
                        m = s & 255
                        if bit:
                            q += ((4194303 - q) * rate[m]) >> 16
                        else:
                            q -= (q * rate[m]) >> 16
                        if m < last:
                            m += 1
                        slots[index[j]] = q << 8 | m
                    if seen[chosen] < 65535:
                        seen[chosen] += 1
                    # what was learnt of the value, and whether that is all
                    if d == 0:
                        if bit:
                            done = True
                        elif decode:
                            size = 1
                    elif d == 1:
                        if decode:
                            v = -1 if bit else 1
                        if level == 1:
                            done = True
                    elif bit == 0:
                        done = True
                    else:
                        if decode:
                            size = d
                        if d == level:
                            done = True
                    d += 1
                if decode:
                    v = v * size
                    values[k * channels + c] = v
                before = v
                own += size
            energy[k] = own
    state[0] = code
    state[1] = span
    state[2] = at
    return used
