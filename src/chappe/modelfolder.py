"""Model folders read without torch: config.json, the fingerprint and the integer tables beside the weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from chappe.errors import InputError
from chappe.files import read_bytes

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CONFIG", "TOKENS", "WEIGHTS", "fingerprint", "read_arrays", "read_meta"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
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
    if not (Path(folder) / WEIGHTS).is_file() and not meta["config"].get("shares"):
        raise InputError(f"{folder}: no {WEIGHTS}; a model folder holds {WEIGHTS} and {CONFIG}")
    return meta


def read_arrays(folder: Path, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a model folder whose names begin with `prefix`, by the rest of their names."""
    from safetensors import safe_open

    if not (Path(folder) / WEIGHTS).is_file():
        return {}
    with safe_open(Path(folder) / WEIGHTS, framework="numpy") as file:
        return {name[len(prefix) :]: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}


def fingerprint(folder: Path) -> int:
    """First two bytes, big-endian, of SHA-256 over the weight file, the `config` entry of config.json and tokens.bin.

    Files that a folder does not have count as empty; what it shares counts by the fingerprints in its configuration.
    """
    config = read_meta(folder)["config"]
    digest = hashlib.sha256()
    for name in (WEIGHTS, CONFIG, TOKENS):
        if name == CONFIG:
            digest.update(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
        elif (Path(folder) / name).is_file():
            digest.update(read_bytes(Path(folder) / name))
    return int.from_bytes(digest.digest()[:2], "big")
