"""Networks run by ONNX Runtime, the built-in segmenter among them; numpy in, numpy out, no torch."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np

from chappe.backends.bundle import SEGMENTER, Bundle, home
from chappe.backends.resize import resize
from chappe.errors import InputError, MissingDependency, UsageError
from chappe.nn.tiling import WINDOW, split_windows

__all__ = ["OnnxBackend", "OnnxSegmenter", "Sessions", "windows"]

SHORT_SIDE = 320  # see chappe.segment.builtin


class OnnxBackend:
    """See `Backend`. `precision` is "fp32" or "int8"; a network that was not quantised runs in fp32.

    Threads: `threads`, else $OMP_NUM_THREADS, else all cores.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, precision: str = "fp32", threads: int = 0):
        self.folder, self.precision = home(folder), precision
        self.threads = threads or _threads()

    def networks(self, name: str, fingerprint: int) -> Sessions:
        """The networks of a model. Raises InputError if they are missing, damaged or of other weights."""
        bundle = Bundle(self.folder, name)
        bundle.check(fingerprint)
        return Sessions(bundle, self.precision, self.threads)

    def segment(self, image: np.ndarray) -> np.ndarray:
        """The built-in segmenter: picture (H, W, 3) uint8 -> labels (H, W) uint8 of street11."""
        return self._segmenter(image)

    @cached_property
    def _segmenter(self) -> OnnxSegmenter:
        from chappe.modelfolder import fingerprint

        installed = Path(__file__).parents[1] / "weights" / "segmenter-street-v1"
        return OnnxSegmenter(self.networks(SEGMENTER, fingerprint(installed)))


class Sessions:
    """`run(network, grid, *arrays)` over the networks of a bundle; each is opened when it is first asked for."""

    def __init__(self, bundle: Bundle, precision: str = "fp32", threads: int = 0):
        self.bundle, self.precision, self.threads = bundle, precision, threads
        self._open: dict[str, object] = {}
        if precision == "int8" and not bundle.names("int8"):
            raise InputError(f"{bundle.folder}: has no int8 networks: {bundle.again} with --int8.")

    def __call__(self, network: str, grid: tuple[int, int], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        session = self._session(network)
        names = [i.name for i in session.get_inputs()]
        feeds = dict(zip(names, (np.ascontiguousarray(a) for a in arrays), strict=False))
        if len(names) > len(arrays):
            feeds |= windows(*grid)
        return tuple(session.run(None, feeds))

    def _session(self, network: str):
        if network not in self._open:
            precision = self.precision if network in self.bundle.names(self.precision) else "fp32"
            self._open[network] = _open(self.bundle, network, precision, self.threads)
        return self._open[network]


class OnnxSegmenter:
    """`chappe.segment.builtin.BuiltinSegmenter` with its network run by ONNX Runtime."""

    taxonomy = "street11"

    def __init__(self, run: Sessions):
        self.run = run

    def logits(self, image: np.ndarray) -> np.ndarray:
        """(classes, H, W) float32; of a large picture at the reduced size that the network saw."""
        height, width = image.shape[:2]
        x = image.transpose(2, 0, 1).astype(np.float32)
        x /= np.float32(127.5)
        x -= np.float32(1)
        scale = min(1.0, SHORT_SIDE / min(height, width))
        if scale < 1:
            x = resize(x, max(1, round(height * scale)), max(1, round(width * scale)), antialias=True)
        h, w = x.shape[1:]
        x = np.pad(x, ((0, 0), (0, -h % 16), (0, -w % 16)), mode="edge")
        (y,) = self.run("segment", (x.shape[1] // 16, x.shape[2] // 16), x[None])
        return y[0, :, :h, :w]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (H, W) uint8; never void."""
        height, width = image.shape[:2]
        logits = self.logits(image)
        if logits.shape[1:] == (height, width):
            return _argmax(logits)
        labels = np.empty((height, width), np.uint8)
        for top in range(0, height, 256):  # in strips, so that the enlarged logits need little memory
            rows = slice(top, min(top + 256, height))
            labels[rows] = _argmax(resize(logits, height, width, rows=rows))
        return labels


def windows(h: int, w: int) -> dict[str, np.ndarray]:
    """How attention cuts a grid of h x w cells, as the inputs of an exported network.

    `cells` (B, M) int64: the cells of each of B windows in raster order, filled up to M with cell 0; `absent`
    (B, 1, 1, M) float32: 0 for a cell, -inf for a filler, added to the scores; `place` (h * w,) int64: where in B * M
    each cell went. The windows are those of `chappe.nn.blocks.Attention`.
    """
    index = np.arange(h * w).reshape(h, w)
    parts = [index[y, x].ravel() for y in split_windows(h, WINDOW[0]) for x in split_windows(w, WINDOW[1])]
    most = max(map(len, parts))
    cells = np.zeros((len(parts), most), np.int64)
    absent = np.full((len(parts), 1, 1, most), -np.inf, np.float32)
    place = np.empty(h * w, np.int64)
    for b, part in enumerate(parts):
        cells[b, : len(part)], absent[b, 0, 0, : len(part)] = part, 0
        place[part] = b * most + np.arange(len(part))
    return {"cells": cells, "absent": absent, "place": place}


def _argmax(scores: np.ndarray) -> np.ndarray:
    """(C, ...) -> (...) uint8, the first of equals; several times faster than numpy's over the first axis."""
    best, labels = scores[0].copy(), np.zeros(scores.shape[1:], np.uint8)
    for c in range(1, len(scores)):
        labels[scores[c] > best] = c
        np.maximum(best, scores[c], out=best)
    return labels


def _open(bundle: Bundle, network: str, precision: str, threads: int):
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency("The onnx backend needs onnxruntime: pip install 'chappe[receiver]'.") from error
    data = bundle.network(network, precision)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # its threads wait asleep for the next picture
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise InputError(
            f"{bundle.folder}: ONNX Runtime cannot load {network} ({' '.join(str(error).split())[:120]}): "
            f"{bundle.again}."
        ) from error


def _threads() -> int:
    text = os.environ.get("OMP_NUM_THREADS", "")
    if text and not (text.isdigit() and 0 < int(text) <= 1024):
        raise UsageError(f"OMP_NUM_THREADS={text!r} is not a number of threads from 1 to 1024.")
    return int(text or 0)
