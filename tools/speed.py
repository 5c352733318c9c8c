"""Times of encoding (segmenter included) and decoding 512x256 pictures, by codec and backend, and where they go.

    python tools/speed.py [--codec NAME ...] [--backend NAME ...] [--networks DIR] [--pictures DIR] [--count N]
                          [--rounds N] [--bpp B]

The pictures are evenly spaced ones of a folder, each cut to its middle 2:1 box, or drawn scenes. Everything is measured
in turn, so that a machine's other work meets all alike. Wall-clock and processor time in milliseconds: the median of
all measurements, and the median over the pictures of the best of the rounds, near what a quiet machine takes. Threads:
$OMP_NUM_THREADS, else all cores; the processor time counts all of them. The second table has the wall-clock time in
each stage and how often it ran; stages may overlap. Backends other than torch need what `chappe export` wrote.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from unittest import mock

import numpy as np

import chappe
from chappe.backends import BACKENDS
from chappe.backends.make import calibration_pictures
from chappe.systems.beside import allowed_threads

STAGES = {  # name: where the encoders and decoders look the function up
    "map, encoding": ("chappe.systems.mapstream.MapCoder.within",),
    "map, decoding": ("chappe.systems.spic.codec.decode_map", "chappe.systems.sqgan.codec.decode_map"),
    "AV1, trials": ("chappe.systems.spic.search.CoarseCoder.expected",),
    "AV1, encoding": ("chappe.systems.spic.search.CoarseCoder._code",),
    "AV1, decoding": ("chappe.systems.spic.codec.decode_coarse",),
    "tokens, encoding": ("chappe.bitstream.tokenmix.encode_tokens",),
    "tokens, decoding": ("chappe.bitstream.tokenmix.decode_tokens",),
}


class Watch:
    """What was measured: (wall, processor) seconds by name, one entry a call."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[float, float]]] = defaultdict(list)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.seen[name].append((time.perf_counter() - wall, time.process_time() - processor))

    def around(self, name: str, function: Callable) -> Callable:
        def timed(*args, **kwargs):
            with self.time(name):
                return function(*args, **kwargs)

        return timed

    def network(self, run: Callable) -> Callable:
        """Around an engine's `run`, by the network's name."""

        def timed(network: str, *args):
            with self.time(f"network {network}"):
                return run(network, *args)

        return timed


def measure(
    codecs: dict[str, chappe.codec.Codec], pictures: list[np.ndarray], bpp: float, rounds: int
) -> dict[str, np.ndarray]:
    """Milliseconds (rounds, pictures, 2, 2) by codec: of encode and decode, wall-clock and processor time."""
    watch = Watch()
    for _ in range(rounds):
        for picture in pictures:
            for name, codec in codecs.items():
                with watch.time(name):
                    blob = codec.encode(picture, bpp=bpp)
                with watch.time(name):
                    codec.decode(blob)
    return {name: 1000 * np.array(watch.seen[name]).reshape(rounds, len(pictures), 2, 2) for name in codecs}


def stages(codec: chappe.codec.Codec, pictures: list[np.ndarray], bpp: float) -> dict[str, tuple[float, float]]:
    """(milliseconds, calls) a picture by stage."""
    watch = Watch()
    with ExitStack() as stack:
        for name, places in STAGES.items():
            for place in places:
                stack.enter_context(mock.patch(place, watch.around(name, resolve_name(place))))
        stack.enter_context(mock.patch.object(codec, "segment", watch.around("segmenter", codec.segment)))
        stack.enter_context(mock.patch.object(codec.engine, "run", watch.network(codec.engine.run)))
        for picture in pictures:
            codec.decode(codec.encode(picture, bpp=bpp))
    each = 1 / len(pictures)
    return {name: (1000 * each * sum(w for w, _ in seen), each * len(seen)) for name, seen in watch.seen.items()}


def line(name: str, found: np.ndarray) -> str:
    """A row of the first table from measurements (rounds, pictures, 2, 2)."""
    wall = np.concatenate([found, found.sum(2, keepdims=True)], 2)  # encode, decode, both
    cells = [f"{np.median(wall[:, :, k, 0]):.0f}" for k in range(3)]
    cells += [f"{np.median(wall[:, :, k, 0].min(0)):.0f}" for k in range(3)]
    cells += [f"{np.median(wall[:, :, k, 1]):.0f}" for k in range(2)]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", nargs="+", default=["spic-onepass-street", "sqgan-street"], metavar="NAME")
    parser.add_argument("--backend", nargs="+", default=["onnx-int8"], choices=BACKENDS)
    parser.add_argument(
        "--networks", metavar="DIR", help="what `chappe export` wrote (default: as for `chappe encode`)"
    )
    parser.add_argument("--pictures", metavar="DIR", help="default: drawn scenes")
    parser.add_argument("--count", type=int, default=8, help="pictures (8)")
    parser.add_argument("--rounds", type=int, default=5, help="times each of them is coded (5)")
    parser.add_argument("--bpp", type=float, default=0.04)
    args = parser.parse_args()
    pictures = calibration_pictures(args.pictures, args.count)
    codecs = {}
    for backend in args.backend:
        folder = None if backend == "torch" else args.networks
        for name in args.codec:
            codec = codecs[f"{name}, {backend}"] = chappe.load(name, backend=backend, folder=folder)
            codec.decode(codec.encode(pictures[0], bpp=args.bpp))  # opens what is opened once
    found = measure(codecs, pictures, args.bpp, args.rounds)
    print(
        f"{len(pictures)} pictures, {args.rounds} rounds, {allowed_threads()} threads, {args.bpp} bpp; milliseconds\n"
    )
    print("| | encode | decode | sum | best: encode | decode | sum | processor: encode | decode |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, times in found.items():
        print(line(name, times))
    for name, codec in codecs.items():
        parts = sorted(stages(codec, pictures, args.bpp).items(), key=lambda item: -item[1][0])
        print(f"\n{name}: " + ", ".join(f"{stage} {spent:.1f} ({calls:.1f})" for stage, (spent, calls) in parts))


if __name__ == "__main__":
    main()
