"""Feed the bitstream readers bytes that no encoder wrote: only results of the promised form and ChappeErrors pass.

    python tools/fuzz.py [N] [--seed S] [--targets container,tokens,map,near]

Inputs are random bytes, and samples cut, bit-flipped, overwritten, spliced with another sample, or lengthened; a third
of them are decoded with the shape and alphabet of another sample. Label maps have at most 64 x 64 cells. The report
counts results and refusals and names the slowest input; the exit code is 1 after any other exception, a result of the
wrong form, an input above the time limit, or memory growth above its limit.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from chappe.bitstream import container, labelmap, labelmap_near, tokens
from chappe.bitstream.crc import crc8
from chappe.errors import ChappeError

__all__ = ["TARGETS", "Report", "run"]

TIME_LIMIT = 2.0
"""Seconds of processor time for one input."""
MEMORY_LIMIT = 256
"""MiB by which the process may grow once every decoder has run on its samples."""


@dataclass
class Target:
    """A decoder under test: valid streams with the arguments each needs, and a call that checks what comes back."""

    samples: list[tuple[bytes, tuple[Any, ...]]]
    decode: Callable[..., None]


@dataclass
class Report:
    counts: Counter = field(default_factory=Counter)
    """(target, kind of input, "result" | "refused" | "failed") -> how often."""
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "none")
    seconds: float = 0.0
    grown: float = 0.0

    def number(self, outcome: str) -> int:
        return sum(count for key, count in self.counts.items() if key[2] == outcome)

    def text(self) -> str:
        total = sum(self.counts.values())
        lines = [f"{total} inputs in {self.seconds:.1f} s ({total / max(self.seconds, 1e-9):.0f} a second)"]
        for target in sorted({key[0] for key in self.counts}):
            row = Counter()
            for (name, _, outcome), count in self.counts.items():
                if name == target:
                    row[outcome] += count
            result, refused, failed = row["result"], row["refused"], row["failed"]
            lines.append(f"  {target:<10}{result:>8} results{refused:>8} refused{failed:>6} failed")
        lines.append(f"slowest input: {1000 * self.slowest[0]:.1f} ms, {self.slowest[1]}")
        lines.append(f"memory grown by {self.grown:.0f} MiB; {len(self.failures)} failures")
        return "\n".join(lines + self.failures[:20])


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


# --- the decoders ---


def _container() -> Target:
    def decode(blob: bytes) -> None:
        refused = None
        try:
            header, sections = container.read(blob)
        except ChappeError as error:
            refused = error
        found, complete = container.scan(blob)[1:]
        framed = sum(status.size for status in found)
        _expect(framed <= len(blob), "scan reports more bytes than there are")
        if refused is not None:
            raise refused
        _expect(complete, "read accepts what scan calls incomplete")
        size = container.header_size(header.width, header.height)
        _expect(size + framed == len(blob), "header and sections do not fill the file")
        _expect(len(sections) <= len(found), "read found more sections than scan")

    rng = np.random.default_rng(3)
    samples = []
    for width, sizes in ((64, (3,)), (512, (60, 140)), (5000, (0, 1, 200, 5)), (4096, (130, 20000))):
        kinds = list(container.SectionType)[2 : 2 + len(sizes)]
        sections = [container.Section(kind, rng.bytes(size)) for kind, size in zip(kinds, sizes, strict=True)]
        samples.append((container.write(container.Header(1, 777, width, 256), sections), ()))
    return Target(samples, decode)


def _tokens() -> Target:
    def decode(data: bytes, shape: tuple[int, int], levels: int, prior: np.ndarray | None) -> None:
        mask, indices = tokens.decode_grid(data, shape, levels, prior)
        _expect(mask.shape == shape and mask.dtype == np.bool_, f"mask {mask.dtype} {mask.shape}")
        _expect(indices.shape == (int(mask.sum()),), f"{indices.shape} indices for {mask.sum()} cells")
        _expect(bool(((indices >= 0) & (indices < levels)).all()), "an index beyond the codebook")

    rng = np.random.default_rng(1)
    samples = []
    for shape, levels, share, primed in (
        ((16, 32), 1024, 0.3, False), ((16, 32), 1024, 0.5, True), ((16, 32), 512, 1.0, False), ((1, 1), 2, 1.0, False),
        ((5, 3), 65536, 0.5, True), ((16, 16), 16, 0.1, False), ((2, 40), 3, 0.9, True), ((40, 30), 300, 0.2, False),
    ):  # fmt: skip
        mask = rng.random(shape) < share
        indices = np.minimum(rng.geometric(0.1, int(mask.sum())), levels) - 1
        prior = np.arange(levels) if primed else None
        samples.append((tokens.encode_grid(mask, indices, levels, prior), (shape, levels, prior)))
    return Target(samples, decode)


def _label_maps() -> list[tuple[np.ndarray, int]]:
    """Small maps of rectangles, stripes and noise, 1 x 1 to 64 x 64."""
    rng = np.random.default_rng(2)
    maps = []
    for height, width, classes in ((64, 64, 12), (32, 48, 12), (16, 16, 2), (1, 1, 5), (7, 33, 35), (20, 9, 183)):
        labels = np.zeros((height, width), np.uint8)
        for _ in range(6):
            y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
            down, right = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
            labels[y : y + down, x : x + right] = rng.integers(classes)
        maps.append((labels, classes))
    maps.append((rng.integers(0, 11, (12, 20)).astype(np.uint8), 11))
    return maps


def _check_map(labels: np.ndarray, shape: tuple[int, int], classes: int) -> None:
    _expect(labels.shape == shape and labels.dtype == np.uint8, f"map {labels.dtype} {labels.shape} for {shape}")
    _expect(int(labels.max()) < classes, "a class beyond the label set")


def _map() -> Target:
    def decode(data: bytes, shape: tuple[int, int], classes: int, prior: str | None) -> None:
        _check_map(labelmap.decode_map(data, shape, classes, prior=prior), shape, classes)

    samples = []
    for labels, classes in _label_maps():
        for prior in (None, "street11") if classes == 12 else (None,):
            samples.append((labelmap.encode_map(labels, classes, prior=prior), (labels.shape, classes, prior)))
    return Target(samples, decode)


def _near() -> Target:
    def decode(data: bytes, shape: tuple[int, int], classes: int, prior: str | None) -> None:
        _check_map(labelmap_near.decode_near(data, shape, classes, prior=prior), shape, classes)

    samples = []
    for index, (labels, classes) in enumerate(_label_maps()):
        for prior in (None, "street11") if classes == 12 else (None,):
            data = labelmap_near.encode_near(labels, classes, level=index % 4, prior=prior)
            samples.append((data, (labels.shape, classes, prior)))
    return Target(samples, decode)


TARGETS: dict[str, Callable[[], Target]] = {"container": _container, "tokens": _tokens, "map": _map, "near": _near}


# --- the inputs ---


def _damage(rng: np.random.Generator, blob: bytes, other: bytes) -> tuple[str, bytes]:
    kind = ("random", "cut", "flipped", "overwritten", "spliced", "longer")[int(rng.integers(6))]
    if kind == "random" or not blob:
        return "random", rng.bytes(int(rng.integers(0, 120)))
    at = int(rng.integers(0, len(blob)))
    if kind == "cut":
        return kind, blob[:at]
    if kind == "spliced":
        return kind, blob[:at] + other[int(rng.integers(0, len(other) + 1)) :]
    if kind == "longer":
        return kind, blob + rng.bytes(int(rng.integers(1, 20)))
    damaged = bytearray(blob)
    if kind == "overwritten":
        size = int(rng.integers(1, 9))
        damaged[at : at + size] = (bytes([255]) if rng.integers(2) else bytes(1)) * len(damaged[at : at + size])
        return kind, bytes(damaged)
    for bit in rng.integers(0, 8 * len(blob), int(rng.integers(1, 5))).tolist():
        damaged[bit // 8] ^= 1 << bit % 8
    return kind, bytes(damaged)


def _repair_header(blob: bytes) -> bytes:
    """The same bytes behind a header that passes its check, so that damage reaches the sections."""
    if len(blob) < 11:
        return blob
    start = container.MAGIC + bytes([container.FORMAT_VERSION << 5]) + blob[3:9]
    return start + bytes([crc8(start)]) + blob[10:]


def run(n: int, seed: int = 0, targets: tuple[str, ...] = tuple(TARGETS)) -> Report:
    """Decode `n` damaged inputs, the targets in turn. Deterministic in (n, seed, targets) but for the times."""
    rng = np.random.default_rng(seed)
    built = [(name, TARGETS[name]()) for name in targets]
    for _, target in built:
        for blob, arguments in target.samples:
            target.decode(blob, *arguments)
    report = Report()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for index in range(n):
        name, target = built[index % len(built)]
        blob, arguments = target.samples[int(rng.integers(len(target.samples)))]
        other, other_arguments = target.samples[int(rng.integers(len(target.samples)))]
        kind, data = _damage(rng, blob, other)
        if rng.integers(3) == 0:
            arguments = other_arguments
            data = _repair_header(data) if name == "container" else data
        label = f"{name}, {kind}, {len(data)} bytes {data[:40].hex()}, input {index} of seed {seed}"
        start = time.process_time()
        try:
            target.decode(data, *arguments)
            outcome = "result"
        except ChappeError:
            outcome = "refused"
        except Exception as error:  # this is what the script looks for
            outcome = "failed"
            report.failures.append(f"{label}: {type(error).__name__}: {error}")
        took = time.process_time() - start
        report.counts[name, kind, outcome] += 1
        if took > report.slowest[0]:
            report.slowest = (took, label)
        if took > TIME_LIMIT:
            report.failures.append(f"{label}: {took:.1f} s, the limit is {TIME_LIMIT} s")
    report.seconds = time.perf_counter() - began
    report.grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if report.grown > MEMORY_LIMIT:
        report.failures.append(f"memory grew by {report.grown:.0f} MiB, the limit is {MEMORY_LIMIT} MiB")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", nargs="?", type=int, default=100_000, help="inputs in all (default: 100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS), help="comma-separated, of: " + " ".join(TARGETS))
    arguments = parser.parse_args()
    names = tuple(arguments.targets.split(","))
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    report = run(arguments.n, arguments.seed, names)
    print(report.text())
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
