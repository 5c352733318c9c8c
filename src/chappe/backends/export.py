"""The networks of a codec as ONNX files, traced from the torch modules that its own engine runs.

One file serves every picture size: height and width are free. Three methods are replaced while tracing, by code that
says the same without asking for sizes: attention in windows (its cuts become inputs, see `runtime.windows`), the
label map at a layer's resolution (a pooling by a factor instead of to a size) and the repeated field of noise.

torch's tracing exporter is used, not the newer one over torch.export: the graphs are the same operators, and it takes
one second a network instead of twenty and no further package.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chappe.backends.runtime import windows
from chappe.errors import MissingDependency, UsageError
from chappe.nn import blocks, condition, texture

__all__ = ["export_codec", "export_network", "export_segmenter"]

OPSET = 18
CELLS = (4, 6)  # the size traced, in cells of 16x16


def export_network(network: nn.Module, examples: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str],
                   free: Mapping[str, dict[int, str]]) -> bytes:  # fmt: skip
    """An ONNX file of `network`, traced on `examples` of `CELLS`; `free` names the axes that may have any length.

    A network with attention gets the three inputs of `runtime.windows` besides. Raises MissingDependency without onnx.
    """
    try:
        import onnx  # noqa: F401  (torch asks for it at the end)
    except ImportError as error:
        raise MissingDependency("Exporting networks needs the package onnx: pip install 'chappe[onnx]'.") from error
    cuts = [torch.from_numpy(a) for a in windows(*CELLS).values()]
    attends = any(isinstance(m, blocks.Attention) for m in network.modules())
    axes = {name: dict(a) for name, a in free.items()}
    names, arguments = list(inputs), list(examples)
    if attends:
        names += ["cells", "absent", "place"]
        arguments += cuts
        axes |= {"cells": {0: "windows", 1: "largest"}, "absent": {0: "windows", 3: "largest"}, "place": {0: "all"}}
    file = io.BytesIO()
    with _traceable(), warnings.catch_warnings():
        # Sizes that become constants are meant to (a layer's resolution as a fraction); the tracer warns of each.
        warnings.simplefilter("ignore")
        torch.onnx.export(_WithCuts(network, len(inputs)).eval(), tuple(arguments), file, dynamo=False,
                          opset_version=OPSET, input_names=names, output_names=list(outputs),
                          dynamic_axes=axes)  # fmt: skip
    return file.getvalue()


def export_segmenter() -> tuple[int, dict[str, bytes]]:
    """Fingerprint and network of the built-in segmenter: (1, 3, H, W) in [-1, 1] -> logits (1, classes, H, W)."""
    from chappe.modelfolder import fingerprint
    from chappe.segment import builtin

    net = builtin.load_segmenter().net
    x = torch.zeros(1, 3, 16 * CELLS[0], 16 * CELLS[1])
    free = {"image": {2: "height", 3: "width"}, "logits": {2: "height", 3: "width"}}
    return fingerprint(builtin.WEIGHTS), {"segment": export_network(net, [x], ["image"], ["logits"], free)}


def export_codec(codec) -> dict[str, bytes]:
    """The networks of a codec that torch runs, by name. Raises UsageError for a codec without networks."""
    run = getattr(getattr(codec, "engine", None), "run", None)
    networks = getattr(run, "networks", None)
    if not networks:
        raise UsageError(f"{codec.name} has no networks to export.")
    return {name: _export(name, network, codec.engine.config) for name, network in networks.items()}


def _export(name: str, network: nn.Module, config) -> bytes:
    h, w = CELLS
    cells, sides = {0: "rows", 1: "columns"}, {0: "height", 1: "width"}
    labels = torch.randint(0, config.classes + 1, (16 * h, 16 * w), dtype=torch.uint8)
    known: dict[str, tuple[Tensor, dict[int, str]]] = {
        "labels": (labels, sides),
        "image": (torch.zeros(16 * h, 16 * w, 3, dtype=torch.uint8), sides),
        "coarse": (torch.zeros(4 * h, 4 * w, 3, dtype=torch.uint8), {0: "small_height", 1: "small_width"}),
        "mask": (torch.ones(h, w, dtype=torch.bool), cells),
        "indices": (torch.zeros(h, w, dtype=torch.int64), cells),
        "finer": (torch.zeros(h, w, dtype=torch.int64), cells),
    }
    code = type(network).forward.__code__
    inputs = code.co_varnames[1 : code.co_argcount]
    analyses = name.startswith("analyse")
    outputs = ["scores", "indices_"] if analyses else ["picture"]
    if name == "analyse_image" and config.image.residual:
        outputs.append("finer_")
    free = {key: known[key][1] for key in inputs} | dict.fromkeys(outputs, cells if analyses else sides)
    return export_network(network, [known[key][0] for key in inputs], inputs, outputs, free)


class _WithCuts(nn.Module):
    """A network whose attention is told where to cut by its last three arguments."""

    def __init__(self, network: nn.Module, own: int):
        super().__init__()
        self.network, self.own = network, own

    def forward(self, *args: Tensor):
        _Cuts.now = args[self.own :]
        return self.network(*args[: self.own])


class _Cuts:
    now: Sequence[Tensor] = ()


@contextmanager
def _traceable() -> Iterator[None]:
    """Three methods as code that a tracer can follow at any size."""
    ours = {(blocks.Attention, "forward"): _attend, (condition.Condition, "_make"): _at_level,
            (texture.FineHead, "_noise"): _noise}  # fmt: skip
    before = {(owner, name): getattr(owner, name) for owner, name in ours}
    try:
        for (owner, name), method in ours.items():
            setattr(owner, name, method)
        yield
    finally:
        for (owner, name), method in before.items():
            setattr(owner, name, method)


def _attend(self: blocks.Attention, x: Tensor, key_weight: Tensor | None = None) -> Tensor:
    """`Attention.forward` with the windows as a batch: one gather in, one gather out."""
    cells, absent, place = _Cuts.now
    heads, width = self.heads, x.shape[1] // self.heads
    h = self.norm(x)

    def cut(t: Tensor) -> Tensor:  # (1, C, h, w) -> (B, M, C): a gather of whole rows is a copy of memory
        return t[0].flatten(1).transpose(0, 1)[cells]

    q, k, v = (cut(conv(h)).unflatten(2, (heads, width)).transpose(1, 2) for conv in (self.q, self.k, self.v))
    scores = torch.matmul(q * (1 / math.sqrt(width)), k.transpose(2, 3)) + absent
    weights = scores.softmax(-1)
    if key_weight is not None:
        weights = weights * cut(key_weight)[:, None, :, 0].unsqueeze(2)
    y = torch.matmul(weights, v).transpose(1, 2).flatten(2)  # (B, M, C)
    y = y.flatten(0, 1)[place].transpose(0, 1).reshape(x.shape)
    return x + self.out(y)


def _at_level(self: condition.Condition, height: int, width: int) -> Tensor:
    """`Condition._make` for sizes that divide the label map's: shares of a class are exact, however they are added."""
    factor = int(self.labels.shape[1]) // int(height)
    labels = self.labels
    if self.resize == "nearest" and factor > 1:
        labels = labels[:, ::factor, ::factor]
    shares = (labels[:, None] == torch.arange(self.classes)[None, :, None, None]).float()
    if self.resize == "nearest":
        return shares
    while factor % 2 == 0:  # by halves, which the coarser levels then share
        shares, factor = F.avg_pool2d(shares, 2), factor // 2
    return F.avg_pool2d(shares, factor) if factor > 1 else shares


def _noise(self: texture.FineHead, h: Tensor, first: int, count: int) -> Tensor:
    """`FineHead._noise` of one picture, without asking whether the field needs to be repeated."""
    field = self.field[first : first + count]
    height, width = h.shape[2:]
    period = field.shape[1]  # of both axes; rounded up without a negative number, which ONNX would divide towards 0
    field = field.repeat(1, (height + period - 1) // period, (width + period - 1) // period)
    return field[:, :height, :width][None]
