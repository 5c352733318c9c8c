"""Layered belief propagation for quasi-cyclic LDPC codes, with stop at the first word that satisfies all checks.

One base-graph row is one layer: its Z checks share no variable, so all of them are updated at once, in loops over Z
that the compiler turns into vector instructions. Two rules for a check:

- corrected: forwards and backwards with the pairwise sum
  sgn(a) sgn(b) min(|a|, |b|) + ln(1 + e^-|a+b|) - ln(1 + e^-|a-b|), where ln(1 + e^-x) is max(0, ln 2 - x / 4).
- min-sum, normalised: least magnitude of the others times a factor. Twice to four times as fast, 0.2 to 0.4 dB worse.

Sources: D. Hocevar, A reduced complexity decoder architecture via layered decoding of LDPC codes, SiPS 2004; X.-Y. Hu
et al., Efficient implementations of the sum-product algorithm for decoding LDPC codes, GLOBECOM 2001; J. Chen and
M. Fossorier, Near optimum universal belief propagation based decoding of LDPC codes, IEEE Trans. Commun. 2002.
"""

from __future__ import annotations

import numpy as np

from chappe.link._compiled import njit

__all__ = ["decode_layered"]


@njit
def _gather(post, messages, fresh, first, last, columns, shifts, z):
    """fresh = what the variables say to this layer without what the layer told them, each turned to its check."""
    for e in range(first, last):
        s = shifts[e]
        base = columns[e] * z
        head, tail = post[base + s : base + z], post[base : base + s]
        part, rest = fresh[e - first, : z - s], fresh[e - first, z - s :]
        old, older = messages[e, : z - s], messages[e, z - s :]
        for i in range(len(head)):
            part[i] = head[i] - old[i]
        for i in range(len(tail)):
            rest[i] = tail[i] - older[i]


@njit
def _scatter(post, messages, fresh, first, last, columns, shifts, z):
    for e in range(first, last):
        s = shifts[e]
        base = columns[e] * z
        head, tail = post[base + s : base + z], post[base : base + s]
        part, rest = fresh[e - first, : z - s], fresh[e - first, z - s :]
        new, newer = messages[e, : z - s], messages[e, z - s :]
        for i in range(len(head)):
            head[i] = part[i] + new[i]
        for i in range(len(tail)):
            tail[i] = rest[i] + newer[i]


@njit
def _pair(a, b, out):
    """The pairwise sum of two rows of LLRs; `out` may be one of them."""
    zero, quarter, ln2 = np.float32(0.0), np.float32(0.25), np.float32(0.6931472)
    for i in range(len(out)):
        x, y = a[i], b[i]
        more = ln2 - quarter * abs(x + y)
        less = ln2 - quarter * abs(x - y)
        more = more if more > zero else zero
        less = less if less > zero else zero
        p, q = abs(x), abs(y)
        least = p if p < q else q
        least = least if (x < zero) == (y < zero) else -least
        out[i] = least + more - less


@njit
def _corrected(messages, fresh, forward, backward, first, last):
    degree = last - first
    if degree == 1:  # all its other variables are known zeros
        messages[first, :] = np.float32(1e4)
        return
    forward[0, :] = fresh[0]
    for j in range(1, degree - 1):
        _pair(forward[j - 1], fresh[j], forward[j])
    messages[last - 1, :] = forward[degree - 2]
    backward[:] = fresh[degree - 1]
    for j in range(degree - 2, 0, -1):
        _pair(forward[j - 1], backward, messages[first + j])
        _pair(backward, fresh[j], backward)
    messages[first, :] = backward


@njit
def _minsum(messages, fresh, least, second, sign, first, last, scale):
    zero = np.float32(0.0)
    least[:] = np.float32(1e4)
    second[:] = np.float32(1e4)
    sign[:] = np.float32(1.0)
    for j in range(last - first):
        t = fresh[j]
        for i in range(len(least)):
            value = t[i]
            size = abs(value)
            sign[i] = -sign[i] if value < zero else sign[i]
            larger = size if size > least[i] else least[i]
            second[i] = larger if larger < second[i] else second[i]
            least[i] = size if size < least[i] else least[i]
    for j in range(last - first):
        t, r = fresh[j], messages[first + j]
        for i in range(len(least)):
            value = t[i]
            # The edge that holds the least gets the second least; where two are equal, both are the same number.
            size = scale * (second[i] if abs(value) == least[i] else least[i])
            r[i] = (-size if value < zero else size) * sign[i]


@njit
def _satisfied(post, parity, pointers, columns, shifts, z):
    """Whether the signs of `post` satisfy every check; ends at the first row that does not."""
    zero = np.float32(0.0)
    for row in range(len(pointers) - 1):
        parity[:] = False
        for e in range(pointers[row], pointers[row + 1]):
            s = shifts[e]
            base = columns[e] * z
            head, tail = post[base + s : base + z], post[base : base + s]
            upper, lower = parity[: z - s], parity[z - s :]
            for i in range(len(head)):
                upper[i] ^= head[i] < zero
            for i in range(len(tail)):
                lower[i] ^= tail[i] < zero
        wrong = False
        for i in range(z):
            wrong |= parity[i]
        if wrong:
            return False
    return True


@njit
def decode_layered(llr, pointers, columns, shifts, z, scale, iterations):
    """Decode words one after another.

    llr: (B, N) float32, ln P(0) / P(1) of every variable, within +-1e4, 0 where nothing was received; decoded in place:
    at return it holds the posteriors. pointers (R + 1,), columns (E,), shifts (E,) int64: edges of the base-graph rows,
    each shift below z. scale: float32, the factor of normalised min-sum, or 0 for the corrected rule. Returns the
    iterations used, (B,) int64; a word that satisfies all checks as received takes 0.
    """
    words = llr.shape[0]
    used = np.zeros(words, np.int64)
    degree = 0
    for row in range(len(pointers) - 1):
        degree = max(degree, pointers[row + 1] - pointers[row])
    messages = np.empty((len(columns), z), np.float32)
    fresh = np.empty((degree, z), np.float32)
    forward = np.empty((degree, z), np.float32)
    first, second, third = np.empty(z, np.float32), np.empty(z, np.float32), np.empty(z, np.float32)
    parity = np.empty(z, np.bool_)
    for word in range(words):
        post = llr[word]
        messages[:] = np.float32(0.0)
        for _ in range(iterations):
            if _satisfied(post, parity, pointers, columns, shifts, z):
                break
            for row in range(len(pointers) - 1):
                low, high = pointers[row], pointers[row + 1]
                _gather(post, messages, fresh, low, high, columns, shifts, z)
                if scale > 0:
                    _minsum(messages, fresh, first, second, third, low, high, scale)
                else:
                    _corrected(messages, fresh, forward, first, low, high)
                _scatter(post, messages, fresh, low, high, columns, shifts, z)
            used[word] += 1
    return used
