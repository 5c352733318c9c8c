"""Other libraries than torch to run the networks of a codec: ONNX Runtime, on networks that `chappe export` wrote.

`chappe.load(name, backend="onnx")` is the way in. Only `chappe.backends.export`, which writes them, needs torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from chappe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["BACKENDS", "Backend", "open_backend"]

BACKENDS = ("torch", "onnx", "onnx-int8")


class Backend(Protocol):
    """What a model's factory asks for in place of torch."""

    segment: Callable[[np.ndarray], np.ndarray]

    def networks(self, name: str, fingerprint: int) -> Callable[..., tuple[np.ndarray, ...]]:
        """`run(network, grid, *arrays)` of model `name`; raises InputError unless they are those of `fingerprint`."""
        ...


def open_backend(backend: str | None, folder: str | os.PathLike[str] | None = None) -> Backend | None:
    """A backend by name; None for torch. `folder` is where `chappe export` wrote, see `bundle.home`.

    Raises UsageError for an unknown name or a folder that torch has no use for.
    """
    if backend not in (None, *BACKENDS):
        raise UsageError(f"There is no backend {backend!r}; the backends are {', '.join(BACKENDS)}.")
    if backend in (None, "torch"):
        if folder is not None:
            raise UsageError("A folder of exported networks is of no use to torch: ask for backend='onnx'.")
        return None
    from chappe.backends.runtime import OnnxBackend

    return OnnxBackend(folder, precision="int8" if backend == "onnx-int8" else "fp32")
