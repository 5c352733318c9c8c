"""An exact range coder in plain integers: 48-bit interval, whole bytes out, carries propagated, minimal ending.

The state is an interval [low, low + range) of 48-bit fractions behind the bytes already out. After every symbol
2**40 <= range <= 2**48, and every quantity stays below 2**49: the same arithmetic fits int64 in numba or C.
48 bits rather than the usual 32, because a step wastes at most total / 2**40 of the interval instead of total / 2**24:
65,536 tokens of 16 bits lose less than 0.01 bit together instead of some 30, and tokens.py can promise its bound.
Bytes past the end of the stream read as zero, so `finish` emits the shortest string that lies in the interval, and the
decoder can tell in constant time whether the bytes it was given are that very string. Specification: docs/format.md, 4.
"""

from __future__ import annotations

from chappe.errors import StreamError, UsageError

__all__ = ["MAX_TOTAL", "Decoder", "Encoder"]

_BITS = 48
_TOP = 1 << _BITS
_MASK = _TOP - 1
_BOTTOM = 1 << (_BITS - 8)
_WINDOW = _BITS // 8
MAX_TOTAL = 1 << 28


def _shortest(low: int, width: int) -> tuple[int, int]:
    """(value, n): the smallest multiple of 2**(48 - 8n) in [low, low + width) for the least n that has one."""
    for count in range(_WINDOW + 1):
        unit = _TOP >> 8 * count
        value = -(-low // unit) * unit
        if value < low + width:
            return value, count
    raise AssertionError("an interval of whole numbers holds a whole number")


class Encoder:
    """Collects symbols; `finish` gives the bytes and ends the stream. Wrong arguments raise UsageError."""

    __slots__ = ("_low", "_out", "_range")

    def __init__(self) -> None:
        self._low = 0
        self._range = _TOP
        self._out = bytearray()

    def encode(self, cum: int, freq: int, total: int) -> None:
        """A symbol that owns [cum, cum + freq) of [0, total): 0 <= cum, 1 <= freq, cum + freq <= total <= 2**28."""
        if not (cum >= 0 and freq > 0 and cum + freq <= total <= MAX_TOTAL):
            raise UsageError(f"no symbol can own [{cum}, {cum + freq}) of {total} (at most {MAX_TOTAL})")
        step = self._range // total
        self._low += step * cum
        # The last symbol also takes what the division left over, so that every bit string means something.
        self._range = step * freq if cum + freq < total else self._range - step * cum
        if self._range < _BOTTOM or self._low >= _TOP:
            self._normalise()

    def encode_uniform(self, value: int, total: int) -> None:
        """One of `total` equally likely values, 0 <= value < total <= 2**28."""
        self.encode(value, 1, total)

    def encode_bit(self, bit: int, p1: int) -> None:
        """A decision whose probability of being 1 is p1 / 65536, 1 <= p1 <= 65535. A one takes the lower part."""
        if not 0 < p1 < 65536:
            raise UsageError(f"the probability of a one must be 1 to 65535 (of 65536), not {p1}")
        split = (self._range >> 16) * p1
        if bit:
            self._range = split
        else:
            self._low += split
            self._range -= split
        if self._range < _BOTTOM or self._low >= _TOP:
            self._normalise()

    def finish(self) -> bytes:
        """The shortest byte string that lies in the interval when zeros follow it; its last byte is no zero."""
        value, count = _shortest(self._low, self._range)
        if value >= _TOP:
            self._carry()
            value -= _TOP
        self._out += value.to_bytes(_WINDOW, "big")[:count]
        return bytes(self._out.rstrip(b"\0"))

    def _carry(self) -> None:
        out, at = self._out, len(self._out) - 1
        while out[at] == 0xFF:
            out[at] = 0
            at -= 1
        out[at] += 1

    def _normalise(self) -> None:
        if self._low >= _TOP:
            self._carry()
            self._low -= _TOP
        while self._range < _BOTTOM:
            self._out.append(self._low >> _BITS - 8)
            self._low = self._low << 8 & _MASK
            self._range <<= 8


class Decoder:
    """Mirrors Encoder. Any bytes decode to some symbols; `finish` raises StreamError unless an Encoder wrote them."""

    __slots__ = ("_code", "_data", "_pos", "_range", "_step")

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        self._code = int.from_bytes(self._data[:_WINDOW].ljust(_WINDOW, b"\0"), "big")  # value minus low
        self._range = _TOP
        self._pos = _WINDOW
        self._step = 0

    def decode_target(self, total: int) -> int:
        """A number in [0, total) inside the next symbol's [cum, cum + freq): look that up, then call `advance`."""
        if not 0 < total <= MAX_TOTAL:
            raise UsageError(f"a frequency total must be 1 to {MAX_TOTAL}, not {total}")
        self._step = self._range // total
        target = self._code // self._step
        return target if target < total else total - 1

    def advance(self, cum: int, freq: int, total: int) -> None:
        """Take the symbol found at the target that `decode_target(total)` has just given."""
        step = self._step
        self._code -= step * cum
        self._range = step * freq if cum + freq < total else self._range - step * cum
        if self._range < _BOTTOM:
            self._normalise()

    def decode_uniform(self, total: int) -> int:
        """One of `total` equally likely values."""
        value = self.decode_target(total)
        self.advance(value, 1, total)
        return value

    def decode_bit(self, p1: int) -> int:
        """A decision whose probability of being 1 is p1 / 65536, 1 <= p1 <= 65535."""
        if not 0 < p1 < 65536:
            raise UsageError(f"the probability of a one must be 1 to 65535 (of 65536), not {p1}")
        split = (self._range >> 16) * p1
        if self._code < split:
            self._range = split
            bit = 1
        else:
            self._code -= split
            self._range -= split
            bit = 0
        if self._range < _BOTTOM:
            self._normalise()
        return bit

    def state(self) -> tuple[int, int, int]:
        """(code, range, bytes shifted in): for a compiled decoder that goes on from here, see `resume`."""
        return self._code, self._range, self._pos

    def resume(self, code: int, width: int, pos: int) -> None:
        """Go on from the state that another decoder of the same bytes has reached."""
        self._code, self._range, self._pos = code, width, pos

    def finish(self) -> None:
        """Raise StreamError unless the bytes are exactly what Encoder.finish gives after the symbols decoded so far."""
        data, pos = self._data, self._pos
        if len(data) > pos:
            raise StreamError(f"the coded stream has {len(data)} bytes, its symbols end by byte {pos}: it is damaged")
        if data.endswith(b"\0"):
            raise StreamError("the coded stream ends in a zero byte, which no encoder writes: it is damaged")
        window = int.from_bytes(data[max(0, pos - _WINDOW) : pos].ljust(_WINDOW, b"\0"), "big")
        value, _ = _shortest((window - self._code) & _MASK, self._range)
        if value & _MASK != window:
            raise StreamError("the coded stream does not end the way its symbols make it end: it is damaged or cut")

    def _normalise(self) -> None:
        data, pos = self._data, self._pos
        while self._range < _BOTTOM:
            self._range <<= 8
            self._code = self._code << 8 | (data[pos] if pos < len(data) else 0)
            pos += 1
        self._pos = pos
