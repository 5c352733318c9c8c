"""A folder of exported networks: one folder a model, with a manifest that says which weights they were made from.

    <home>/segmenter/networks.json, segment.onnx
    <home>/sqgan-street/networks.json, analyse_image.onnx, restore_image.onnx, restore_image.int8.onnx, ...

The home is the folder given, else $CHAPPE_ONNX, else chappe/onnx in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from chappe.errors import InputError
from chappe.files import atomic_write_bytes, read_bytes

__all__ = ["FORMAT", "SEGMENTER", "Bundle", "home", "write_bundle"]

FORMAT = 1
MANIFEST = "networks.json"
SEGMENTER = "segmenter"
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def home(folder: str | os.PathLike[str] | None = None) -> Path:
    """Where exported networks lie."""
    if folder is not None:
        return Path(folder)
    if given := os.environ.get("CHAPPE_ONNX"):
        return Path(given)
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "chappe" / "onnx"


class Bundle:
    """The networks of one model in a folder. Raises InputError for anything that `write_bundle` does not write."""

    def __init__(self, folder: Path, name: str):
        self.name, self.folder = name, Path(folder) / name
        what = "every codec" if name == SEGMENTER else f"--codec {name}"
        self.again = f"run 'chappe export {'' if name == SEGMENTER else f'--codec {name} '}-o {folder}'"
        path = self.folder / MANIFEST
        if not path.is_file():
            raise InputError(f"{path}: is not there, so {what} has no exported networks: {self.again}.")
        try:
            data = json.loads(read_bytes(path, max_bytes=1 << 20).decode())
            if data["format"] != FORMAT:
                raise InputError(f"{path}: has format {data['format']}, this chappe reads {FORMAT}: {self.again}.")
            self.fingerprint = int(data["fingerprint"], 16)
            self._files = {str(k): (str(v["file"]), str(v["sha256"])) for k, v in data["networks"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: is not a list of exported networks: {self.again}.") from error

    def check(self, fingerprint: int) -> None:
        """Raise InputError unless the networks were made from these weights."""
        if self.fingerprint != fingerprint:
            raise InputError(
                f"{self.folder}: was exported from weights {self.fingerprint:04x}, installed are {fingerprint:04x}: "
                f"{self.again}."
            )

    def network(self, name: str, precision: str) -> bytes:
        """One network, in `precision` ("fp32" or "int8"), as the contents of an ONNX file."""
        key = f"{name}:{precision}"
        if key not in self._files:
            option = " with --int8" if precision == "int8" else ""
            raise InputError(f"{self.folder}: has no network {name!r} in {precision}: {self.again}{option}.")
        file, digest = self._files[key]
        if not _NAME.fullmatch(file) or file.startswith("."):
            raise InputError(f"{self.folder / MANIFEST}: names the file {file!r} outside its folder: {self.again}.")
        data = read_bytes(self.folder / file)
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError(f"{self.folder / file}: is damaged, its SHA-256 differs: {self.again}.")
        return data

    def names(self, precision: str) -> list[str]:
        """The networks there are in a precision."""
        return sorted(key.partition(":")[0] for key in self._files if key.endswith(f":{precision}"))


def write_bundle(
    folder: Path, name: str, fingerprint: int, networks: Mapping[tuple[str, str], bytes], made_with: Mapping[str, str]
) -> None:
    """Write networks {(name, precision): contents} of one model, the manifest last: what was there goes on working."""
    target = Path(folder) / name
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target}: cannot be made ({error.strerror}): give another folder.") from error
    entries = {}
    for (network, precision), data in networks.items():
        file = f"{network}.onnx" if precision == "fp32" else f"{network}.{precision}.onnx"
        atomic_write_bytes(target / file, data)
        entries[f"{network}:{precision}"] = {"file": file, "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {"format": FORMAT, "model": name, "fingerprint": f"{fingerprint:04x}", "networks": entries,
                "made_with": dict(made_with)}  # fmt: skip
    atomic_write_bytes(target / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
