"""Model folders read without torch: config.json, the fingerprint, the weights' bytes and the integer tables in them."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from chappe.errors import InputError, StreamError
from chappe.files import read_bytes

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CONFIG", "PACKED", "TOKENS", "WEIGHTS", "fingerprint", "has_weights", "read_arrays", "read_meta",
           "read_weights"]  # fmt: skip

WEIGHTS, CONFIG = "model.safetensors", "config.json"
PACKED = "model.packed"  # the same bytes in a sixth less, see chappe.bitstream.planes; bundled models have it
TOKENS = "tokens.bin"  # what the mixed token coder starts from, where a model has it


def read_meta(folder: Path) -> dict:
    """The parsed config.json of a model folder. Raises InputError where one of its two files is missing or damaged.

    A folder whose configuration `shares` the arrays of others may have none of its own.
    """
    if not (Path(folder) / CONFIG).is_file():
        raise InputError(f"{folder}: no {CONFIG}; a model folder holds {WEIGHTS} and {CONFIG}")
    try:
        meta = json.loads(read_bytes(Path(folder) / CONFIG).decode())
    except ValueError as error:
        raise InputError(f"{folder}/{CONFIG}: is not JSON ({error}): install chappe again, or train again.") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("config"), dict):
        raise InputError(f"{folder}/{CONFIG}: has no entry 'config': install chappe again, or train again.")
    if not has_weights(folder) and not meta["config"].get("shares"):
        raise InputError(f"{folder}: no {WEIGHTS}; a model folder holds {WEIGHTS} and {CONFIG}")
    return meta


def has_weights(folder: Path) -> bool:
    """Whether the folder has weights of its own, packed or not."""
    return any((Path(folder) / name).is_file() for name in (WEIGHTS, PACKED))


def read_weights(folder: Path) -> bytes:
    """The bytes of `model.safetensors`, or of what `model.packed` unpacks to where that is the form a folder has.

    Where it has both, training wrote the former last. Raises InputError where both are missing or it is damaged.
    """
    plain, packed = (Path(folder) / name for name in (WEIGHTS, PACKED))
    if plain.is_file() or not packed.is_file():
        return read_bytes(plain)
    about = packed.stat()
    return _unpacked(packed.resolve(), about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=3)  # the folders that opening sqgan-street goes to, each for fingerprint, tables and tensors
def _unpacked(path: Path, changed: int, size: int) -> bytes:
    from chappe.bitstream.planes import unpack

    try:
        return unpack(read_bytes(path))
    except StreamError as error:
        raise InputError(f"{path}: {error}: install chappe again.") from error


def read_arrays(folder: Path, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a model folder whose names begin with `prefix`, by the rest of their names."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not has_weights(folder):
        return {}
    try:
        arrays = load(read_weights(folder))
    except SafetensorError as error:
        raise InputError(f"{folder}: the weights are damaged ({error}): get them again.") from error
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def fingerprint(folder: Path) -> int:
    """First two bytes, big-endian, of SHA-256 over model.safetensors, the `config` entry of config.json and tokens.bin.

    Files that a folder does not have count as empty; what it shares counts by the fingerprints in its configuration.
    An entry `fingerprint` of config.json, beside `config`, goes before all that: a version kept for reading, without
    the arrays that only its sender needed, stays the model that its files name. Raises InputError as `read_meta`.
    """
    meta = read_meta(folder)
    if "fingerprint" in meta:
        kept = meta["fingerprint"]
        if type(kept) is not int or not 0 <= kept <= 0xFFFF:
            raise InputError(f"{folder}/{CONFIG}: the fingerprint {kept!r} is not a number from 0 to 65535.")
        return kept
    digest = hashlib.sha256(read_weights(folder) if has_weights(folder) else b"")
    digest.update(json.dumps(meta["config"], sort_keys=True, separators=(",", ":")).encode())
    if (Path(folder) / TOKENS).is_file():
        digest.update(read_bytes(Path(folder) / TOKENS))
    return int.from_bytes(digest.digest()[:2], "big")
