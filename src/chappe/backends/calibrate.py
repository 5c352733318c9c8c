"""Static int8 versions of exported networks: convolutions in 8 bits, ranges measured on pictures.

Weights are int8 by output channel, activations uint8 with one range a tensor (ONNX Runtime's quantiser, QDQ form). What
makes the last pixels and the first features stays in float: a step of 1/255 of a range shows there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from chappe.backends.runtime import windows
from chappe.errors import MissingDependency, UsageError

__all__ = ["Recorder", "quantise"]


class Recorder:
    """Stands around a `run(network, grid, *arrays)` and keeps what goes into each network, at most `most` times."""

    def __init__(self, run, most: int = 16):
        self.run, self.most = run, most
        self.seen: dict[str, list[tuple[tuple[int, int], tuple[np.ndarray, ...]]]] = {}

    def __call__(self, network: str, grid: tuple[int, int], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        kept = self.seen.setdefault(network, [])
        if len(kept) < self.most:
            kept.append((grid, tuple(np.array(a) for a in arrays)))
        return self.run(network, grid, *arrays)


def quantise(model: bytes, seen: Iterable[tuple[tuple[int, int], tuple[np.ndarray, ...]]]) -> bytes:
    """The int8 version of an exported network, calibrated on what was recorded for it.

    Raises UsageError without records, MissingDependency without onnx and onnxruntime.
    """
    try:
        import onnx
        from onnxruntime import quantization as q
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingDependency("int8 networks need onnx and onnxruntime: pip install 'chappe[onnx]'.") from error
    records = list(seen)
    if not records:
        raise UsageError("a network cannot be calibrated without a picture: give a folder with some.")
    with tempfile.TemporaryDirectory(prefix="chappe-int8-") as folder:
        source, ready, target = (Path(folder) / f"{name}.onnx" for name in ("source", "ready", "target"))
        source.write_bytes(model)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        graph = onnx.load(ready).graph
        names = [i.name for i in graph.input]
        q.quantize_static(
            str(ready), str(target), _Reader(names, records), quant_format=q.QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv"], nodes_to_exclude=_ends(graph), activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8, calibrate_method=q.CalibrationMethod.MinMax,
        )  # fmt: skip
        return target.read_bytes()


class _Reader:
    """What the quantiser reads its examples from."""

    def __init__(self, names: list[str], records: list[tuple[tuple[int, int], tuple[np.ndarray, ...]]]):
        self._feeds: Iterator[Mapping[str, np.ndarray]] = (
            dict(zip(names, arrays, strict=False)) | (windows(*grid) if len(names) > len(arrays) else {})
            for grid, arrays in records
        )

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self._feeds, None)


def _ends(graph) -> list[str]:
    """The first and the last convolution."""
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    return [convolutions[0], convolutions[-1]] if convolutions else []
