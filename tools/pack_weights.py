"""Pack the weights of model folders in place, without loss: model.safetensors becomes model.packed, a sixth smaller.

    python tools/pack_weights.py [--method zlib|xz] [--unpack] FOLDER ...

zlib opens fastest and is right for nearly all models; xz gains where arrays repeat and takes ten times as long to open.
--unpack is the way back. A file goes only once the other one is on the disk and holds the same bytes. Bundled folders
change their checksums: run `make sums` afterwards.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chappe.bitstream.planes import METHODS, pack, unpack
from chappe.errors import ChappeError, InputError
from chappe.files import atomic_write_bytes, read_bytes
from chappe.modelfolder import PACKED, WEIGHTS, read_weights

__all__ = ["main", "pack_folder", "unpack_folder"]


def pack_folder(folder: Path, method: str = "zlib") -> tuple[int, int]:
    """Bytes before and after. A folder that has only model.packed is packed again. Raises ChappeError."""
    plain, packed = folder / WEIGHTS, folder / PACKED
    data = read_weights(folder)
    size = (plain if plain.is_file() else packed).stat().st_size
    small = pack(data, method)
    if unpack(small) != data:
        raise ChappeError(f"{plain}: does not come back from its packed form: left as it was.")
    atomic_write_bytes(packed, small)
    _drop(plain, read_bytes(packed) == small)
    return size, len(small)


def unpack_folder(folder: Path) -> tuple[int, int]:
    """Bytes before and after. Raises InputError where there is no model.packed, or a model.safetensors beside it."""
    plain, packed = folder / WEIGHTS, folder / PACKED
    if plain.is_file():
        raise InputError(f"{plain}: is already there: nothing to unpack.")
    data = read_weights(folder)
    atomic_write_bytes(plain, data)
    size = packed.stat().st_size
    _drop(packed, read_bytes(plain) == data)
    return size, len(data)


def _drop(path: Path, sure: bool) -> None:
    if not sure:
        raise ChappeError(f"{path}: the other form was not written as it should be: kept both.")
    path.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--method", choices=tuple(METHODS), default="zlib")
    parser.add_argument("--unpack", action="store_true", help="the way back")
    args = parser.parse_args(arguments)
    try:
        for folder in args.folders:
            before, after = unpack_folder(folder) if args.unpack else pack_folder(folder, args.method)
            print(f"{folder}: {before} -> {after} bytes ({100 * (after / before - 1):+.1f} %)")
    except ChappeError as error:
        print(f"pack_weights: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
