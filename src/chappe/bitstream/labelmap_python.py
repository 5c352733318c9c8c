"""The label-map engine: one function over plain integers, run as it stands or compiled by numba to the same bytes.

Every pixel becomes a few binary decisions: "is it candidate 0, 1, 2?" (the distinct labels of the causal
neighbourhood, ranked), then, if all three are refused, the bits of its class index. Every decision is predicted by
CONTEXTS adaptive counters found through hashes of its surroundings, mixed in the logistic domain by three sets of
integer weights, and coded by a 40-bit carryless binary range coder, in the manner of lpaq (M. Mahoney, 2007).

The function is long because it must stay free of calls: the compiled and the interpreted engine share this source.
All quantities fit in signed 64 bits; shifts to the right are arithmetic (they round down).
"""

from __future__ import annotations

__all__ = ["BITS", "BORDER", "CONTEXTS", "EMPTY", "LEFT", "RIGHT", "SETS", "START", "TOP", "WORK", "run"]

CONTEXTS = 22  # counters asked for each decision
BITS = 16  # log2 of the slots of one context
SETS = 344  # weight sets: 192 by pattern, 96 by distance to the edge above, 36 by run length, 20 for class bits
START = 4500  # first weight, in 1/65536
EMPTY = 2097152 << 8  # a counter: probability of "yes" in 22 bits, number of events in 8
BORDER = 256  # the label outside the map: no class
TOP, LEFT, RIGHT = 6, 4, 4  # margins of the padded map
STEP_SHIFT = 22
WEIGHT_MAX = 1 << 24
# parts of the scratch: hashes, places of the counters, counters, their steps and votes
PLACE, HELD, STEP, VOTE, WORK = (k * CONTEXTS for k in range(1, 6))


def run(decode, px, height, width, classes, slots, weights, seen, buf, cap, squash, stretch, rate, trust, lr, lr_first,
        work, right, left, down, same):  # fmt: skip
    """Code the padded map `px` into `buf`, or `buf` into `px`. Returns bytes written or read, -1 if `cap` is too small.

    decode: 0 or 1. px: flat ((height + TOP) * (width + LEFT + RIGHT),) of labels < classes, BORDER everywhere outside.
    slots (CONTEXTS << BITS,), weights (SETS * CONTEXTS,), seen (SETS,): the state, changed in place. buf: bytes, cap of
    them usable; the decoder reads zeros behind them. squash, stretch, rate, trust: see labelmap_tables. lr, lr_first:
    learning rate of the weights, and the excess of it in the first decisions of a set. Scratch, all zero: work (WORK,),
    right, left (6 * width,), down, same (width,).
    """
    stride = width + LEFT + RIGHT
    mask = (1 << BITS) - 1
    limit = (len(squash) - 1) >> 1
    nbits = 1
    while (1 << nbits) < classes:
        nbits += 1
    lo = 0
    hi = (1 << 40) - 1
    value = 0
    pos = 0
    if decode:
        for _ in range(5):
            value = value << 8
            if pos < cap:
                value |= buf[pos]
            pos += 1
    # right, left: runs in the six rows above, how far each label lasts to the right and how long from the left
    # down: rows since the label changed in this column; same: since column x last differed from column x - 1
    newest = 0
    last = len(rate) - 1
    for y in range(height):
        row = (y + TOP) * stride + LEFT
        up = row - stride
        up2 = up - stride
        up3 = up2 - stride
        for i in range(1, 5):
            px[row - i] = px[up]
        run = 0
        changes = 0
        ybin = y * 16 // height
        for x in range(width):
            a = row + x
            b = up + x
            d = up2 + x
            e = up3 + x
            w = px[a - 1]
            ww = px[a - 2]
            n = px[b]
            nw = px[b - 1]
            ne = px[b + 1]
            nee = px[b + 2]
            nww = px[b - 2]
            nn = px[d]
            nne = px[d + 1]
            nnw = px[d - 1]
            # the three candidates: distinct labels around, the likeliest first
            c0 = w
            if w == nw or w == BORDER:  # an upright edge between nw and n goes on
                c0 = n
            c1 = BORDER
            c2 = BORDER
            for v in (w, n, ne, nw, nee, ww, nn, px[b + 3], nww):
                if v != BORDER and v != c0:
                    if c1 == BORDER:
                        c1 = v
                    elif v != c1 and c2 == BORDER:
                        c2 = v
            # off: signed distance to the edge in the row above; s1..s3, far: its shifts in the rows above that
            e1 = x
            if w == n:
                off = right[newest * width + x]
                e1 = x + off
                if off > 15:
                    off = 15
            else:
                off = left[newest * width + x]
                e1 = x - off
                if off > 14:
                    off = 14
                off = -1 - off
            s1 = 8
            s2 = 8
            s3 = 8
            far = 40
            if 0 <= e1 < width:
                v = px[up + e1]
                e2 = e1
                for t in range(5):
                    r = (newest + 1 + t) % 6 * width
                    if px[up - (t + 1) * stride + e2] == v:
                        sh = -left[r + e2]
                    else:
                        sh = 1 + right[r + e2]
                    e2 += sh
                    if sh > 7:
                        sh = 7
                    if sh < -7:
                        sh = -7
                    if t == 0:
                        s1 = sh
                    elif t == 1:
                        s2 = sh
                    elif t == 2:
                        s3 = sh
                    if not 0 <= e2 < width:
                        break
                    if t == 4:
                        far = e2 - e1
                        if far > 20:
                            far = 20
                        if far < -20:
                            far = -20
            rq = run
            if rq > 4:
                rq = 4 + (run >> 2)
                if rq > 11:
                    rq = 11
            vr = down[x]
            if vr > 3:
                vr = 4 + (vr >> 3)
                if vr > 7:
                    vr = 7
            cd = same[x]
            if cd > 3:
                cd = 3 + (cd >> 2)
                if cd > 9:
                    cd = 9
            ch = changes
            if ch > 3:
                ch = 3 + (ch >> 2)
                if ch > 7:
                    ch = 7
            m4 = (w == n) + 2 * (w == nw) + 4 * (n == nw) + 8 * (n == ne)
            target = px[a]
            k = 0
            node = 1
            level = nbits
            found = -1
            while found < 0:
                # one binary decision: k < 3 "is it candidate k?", k = 3 the bits of the class
                if k < 3:
                    if k == 0:
                        c = c0
                        o = c1
                    elif k == 1:
                        c = c1
                        o = c2
                    else:
                        c = c2
                        o = c0
                    if c == BORDER:
                        k += 1
                        continue
                    # fmt: off
                    mk = ((w == c) + 2 * (n == c) + 4 * (nw == c) + 8 * (ne == c) + 16 * (ww == c) + 32 * (nn == c)
                          + 64 * (nee == c) + 128 * (nww == c))
                    m12 = mk + 256 * (nne == c) + 512 * (nnw == c) + 1024 * (px[a - 3] == c) + 2048 * (px[b + 3] == c)
                    m20 = (m12 + 4096 * (px[b - 3] == c) + 8192 * (px[d + 2] == c) + 16384 * (px[d - 2] == c)
                           + 32768 * (px[e] == c) + 65536 * (px[e - 1] == c) + 131072 * (px[e + 1] == c)
                           + 262144 * (px[b + 4] == c) + 524288 * (px[d + 3] == c))
                    m26 = (m20 + (1 << 20) * (px[a - 4] == c) + (1 << 21) * (px[d - 3] == c)
                           + (1 << 22) * (px[e + 2] == c) + (1 << 23) * (px[e - 2] == c)
                           + (1 << 24) * (px[e + 3] == c) + (1 << 25) * (px[e - 3] == c))
                    # fmt: on
                    work[0] = m12
                    work[1] = w + 257 * (n + 257 * nw)
                    work[2] = ((w * 31 + n) * 257 + nw) * 257 + ne * 7919 + ww * 104729 + nn * 1299709 + nee * 15485863
                    work[3] = m20
                    work[4] = m26
                    work[5] = (c * 257 + o) * 256 + mk
                    work[6] = ((off + 16) * 32 + s1 + 8) * 32 + s2 + 8
                    work[7] = (((off + 16) * 32 + s1 + 8) * 257 + c) * 257 + o
                    work[8] = (rq * 32 + off + 16) * 16 + m4
                    work[9] = (c * 16 + ybin) * 16 + m4
                    work[10] = (vr * 16 + m4) * 257 + c
                    work[11] = (c * 257 + o) * 16 + m4
                    work[12] = (ch * 16 + m4) * 2 + (n == nn)
                    work[13] = (cd * 16 + m4) * 2 + (w == ww)
                    work[14] = m12 * 257 + c
                    work[15] = c * 16 + (mk & 15)
                    work[16] = (((off + 16) * 32 + s1 + 8) * 32 + s2 + 8) * 256 + mk
                    work[17] = (mk * 16 + rq) * 8 + vr
                    work[18] = (((off + 16) * 32 + s1 + 8) * 32 + s2 + 8) * 32 + s3 + 8
                    work[19] = ((off + 16) * 64 + far + 20) * 16 + s1 + 8
                    ahead = right[newest * width + x]
                    v = BORDER
                    if x + ahead + 1 < width:
                        v = px[b + ahead + 1]
                    if ahead > 15:
                        ahead = 15
                    back = left[newest * width + x]
                    if back > 15:
                        back = 15
                    work[20] = ((ahead * 257 + v) * 257 + c) * 16 + m4
                    work[21] = (ahead * 16 + back) * 256 + mk
                    salt = k + 1
                    set0 = k * 64 + m4 * 4 + (n == nn) * 2 + (w == ww)
                    set1 = 192 + k * 32 + off + 16
                    set2 = 288 + k * 12 + rq
                else:
                    level -= 1
                    # a branch without any valid class is not coded
                    if (((node << 1) | 1) << level) - (1 << nbits) >= classes:
                        node = node << 1
                        if level == 0:
                            found = node - (1 << nbits)
                        continue
                    work[0] = 0
                    work[1] = w
                    work[2] = n * 257 + w
                    work[3] = ybin
                    work[4] = ybin * 257 + w
                    work[5] = ne * 257 + w
                    work[6] = c0 * 257 + c1
                    work[7] = (c0 * 257 + c1) * 257 + c2
                    work[8] = (x * 16 // width) * 16 + ybin
                    work[9] = ww * 257 + nn
                    work[10] = vr * 257 + n
                    work[11] = rq * 257 + w
                    work[12] = c0
                    work[13] = ne
                    work[14] = nn
                    work[15] = (x * 16 // width) * 257 + w
                    work[16] = (n * 257 + w) * 16 + ybin
                    work[17] = (n * 257 + w) * 257 + ne
                    work[18] = 1
                    work[19] = nw * 257 + w
                    work[20] = nee * 257 + n
                    work[21] = ne * 257 + nn
                    salt = 4 + node
                    set0 = 324
                    set1 = 325 + level
                    set2 = 333 + level
                # predict: hash to counters, stretch, mix with each of the three weight sets, average. Loops do one kind
                # of thing each and share one scratch array: that is what compilers turn into vector instructions.
                for j in range(CONTEXTS):
                    q = ((work[j] & 0x7FFFFFFF) * 0x2C1B3C6D + salt * 0x297A2D39) & 0x7FFFFFFF
                    q = ((q ^ (q >> 15)) * 0x1B873593) & 0x7FFFFFFF
                    work[PLACE + j] = (j << BITS) + ((q >> 12) & mask)
                for j in range(CONTEXTS):
                    v = slots[work[PLACE + j]]
                    work[HELD + j] = v
                    work[STEP + j] = rate[v & 255]
                    work[VOTE + j] = (stretch[v >> 14] * trust[v & 255]) >> 8
                base0 = set0 * CONTEXTS
                base1 = set1 * CONTEXTS
                base2 = set2 * CONTEXTS
                dot0 = 0
                dot1 = 0
                dot2 = 0
                for j in range(CONTEXTS):
                    dot0 += work[VOTE + j] * weights[base0 + j]
                    dot1 += work[VOTE + j] * weights[base1 + j]
                    dot2 += work[VOTE + j] * weights[base2 + j]
                dot0 = min(max(dot0 >> 16, -limit), limit)
                dot1 = min(max(dot1 >> 16, -limit), limit)
                dot2 = min(max(dot2 >> 16, -limit), limit)
                mixed = (dot0 + dot1 + dot2) // 3
                p = squash[mixed + limit]
                # code: split [lo, hi] in proportion
                size = hi - lo
                mid = lo + (size >> 16) * p + (((size & 65535) * p) >> 16)
                if not decode:
                    if k < 3:
                        bit = 1 if target == c else 0
                    else:
                        bit = (target >> level) & 1
                else:
                    bit = 1 if value <= mid else 0
                if bit:
                    hi = mid
                else:
                    lo = mid + 1
                while (lo ^ hi) >> 32 == 0:
                    if not decode:
                        if pos >= cap:
                            return -1
                        buf[pos] = hi >> 32
                        pos += 1
                    else:
                        value = (value & 0xFFFFFFFF) << 8
                        if pos < cap:
                            value |= buf[pos]
                        pos += 1
                    lo = (lo & 0xFFFFFFFF) << 8
                    hi = ((hi & 0xFFFFFFFF) << 8) | 255
                # learn: each weight set by its own error, each counter towards the bit
                for s in range(3):
                    chosen = set0 if s == 0 else set1 if s == 1 else set2
                    dot = dot0 if s == 0 else dot1 if s == 1 else dot2
                    base = chosen * CONTEXTS
                    cnt = seen[chosen]
                    step = ((bit << 16) - squash[dot + limit]) * (lr + lr_first // (cnt + 1))
                    if cnt < 65535:
                        seen[chosen] = cnt + 1
                    for j in range(CONTEXTS):
                        moved = weights[base + j] + ((work[VOTE + j] * step + (1 << (STEP_SHIFT - 1))) >> STEP_SHIFT)
                        weights[base + j] = min(max(moved, -WEIGHT_MAX), WEIGHT_MAX)
                goal = 4194303 if bit else 0
                for j in range(CONTEXTS):
                    v = work[HELD + j]
                    pr = v >> 8
                    # towards 0 the step is rounded down before it is taken off
                    moved = ((goal - pr) * work[STEP + j]) >> 16 if bit else -((pr * work[STEP + j]) >> 16)
                    work[HELD + j] = ((pr + moved) << 8) | min((v & 255) + 1, last)
                for j in range(CONTEXTS):
                    slots[work[PLACE + j]] = work[HELD + j]
                # the next decision, or the next pixel
                if k < 3:
                    if bit:
                        found = c
                    else:
                        k += 1
                else:
                    node = (node << 1) | bit
                    if level == 0:
                        found = node - (1 << nbits)
            px[a] = found
            if found == w:
                run += 1
            else:
                run = 0
            if found != n:
                changes += 1
                down[x] = 0
            else:
                down[x] += 1
            if found != w:
                same[x] = 0
            else:
                same[x] += 1
        for i in range(4):
            px[row + width + i] = px[row + width - 1]
        newest = (newest + 5) % 6
        for x in range(width):
            if x > 0 and px[row + x] == px[row + x - 1]:
                left[newest * width + x] = left[newest * width + x - 1] + 1
            else:
                left[newest * width + x] = 0
        for i in range(width):
            x = width - 1 - i
            if i > 0 and px[row + x] == px[row + x + 1]:
                right[newest * width + x] = right[newest * width + x + 1] + 1
            else:
                right[newest * width + x] = 0
    if decode:
        return pos
    # the shortest tail that points into [lo, hi] whatever follows; zero bytes at the end are implied
    for keep in range(6):
        drop = 40 - 8 * keep
        v = ((lo + (1 << drop) - 1) >> drop) << drop
        if v <= hi:
            for i in range(keep):
                if pos >= cap:
                    return -1
                buf[pos] = (v >> (32 - 8 * i)) & 255
                pos += 1
            break
    while pos > 0 and buf[pos - 1] == 0:
        pos -= 1
    return pos
