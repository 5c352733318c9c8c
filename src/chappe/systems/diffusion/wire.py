"""What a file says about the receiver's noise and sampling, and which classes a residual is for."""

from __future__ import annotations

from chappe.bitstream.varint import read_varint, write_varint
from chappe.errors import StreamError, UsageError
from chappe.systems.diffusion.config import SAMPLERS, STARTS, Sampling

__all__ = ["MAX_STEPS", "pack_classes", "pack_sampling", "parse_classes", "unpack_classes", "unpack_sampling"]

MAX_STEPS = 250  # in a file: bounds the time that decoding it takes


def pack_sampling(sampling: Sampling) -> bytes:
    """Payload of a PARAMETERS section: sampler and start, `begin`, 16ths of guidance, steps. Raises UsageError."""
    if sampling.steps > MAX_STEPS:
        raise UsageError(f"a file asks for at most {MAX_STEPS} steps, not {sampling.steps}")
    kind = SAMPLERS.index(sampling.sampler) | STARTS.index(sampling.start) << 3
    fixed = bytes([kind]) + sampling.begin.to_bytes(2, "big") + bytes([round(sampling.guidance * 16)])
    return fixed + write_varint(sampling.steps)


def unpack_sampling(payload: bytes) -> Sampling:
    """The other way round. Raises StreamError."""
    try:
        steps, end = read_varint(payload, 4)
        if end != len(payload) or payload[0] >= 16 or not 1 <= steps <= MAX_STEPS:
            raise IndexError
        sampler, start = SAMPLERS[payload[0] & 7], STARTS[payload[0] >> 3]
        return Sampling(sampler, steps, int.from_bytes(payload[1:3], "big"), start, payload[3] / 16)
    except (IndexError, UsageError) as error:
        raise StreamError(
            "the file's parameters are none that a diffusion codec writes: the file is damaged"
        ) from error


def parse_classes(text: str, names: tuple[str, ...]) -> tuple[int, ...]:
    """'SignSymbol+Pedestrian' -> indices in `names`, in that order; '' gives none. Raises UsageError."""
    wanted = [part for part in text.split("+") if part]
    unknown = [part for part in wanted if part not in names]
    if unknown:
        raise UsageError(f"there is no class {unknown[0]!r} to send in detail; there are {', '.join(names)}")
    return tuple(dict.fromkeys(names.index(part) for part in wanted))


def pack_classes(classes: tuple[int, ...], count: int) -> bytes:
    """A bit for each of `count` classes, class 0 the least significant of the first byte."""
    return sum(1 << k for k in classes).to_bytes((count + 7) // 8, "little")


def unpack_classes(payload: bytes, count: int) -> tuple[tuple[int, ...], bytes]:
    """Classes and what follows them. Raises StreamError."""
    size = (count + 7) // 8
    bits = int.from_bytes(payload[:size], "little")
    if len(payload) < size or not 0 < bits < 1 << count:
        raise StreamError("the residual names no classes of this model: the file is damaged")
    return tuple(k for k in range(count) if bits >> k & 1), payload[size:]
