"""A training set as one small file: JPEG pictures and PNG labels in an .npz, to carry to another machine."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from chappe.errors import InputError
from chappe.files import atomic_write_bytes
from chappe.training.frames import Frames

__all__ = ["main", "read_pack", "write_pack"]


def write_pack(frames: Frames, path: Path, quality: int = 95) -> int:
    """Write `frames` to `path`; returns the size in bytes."""
    blobs: list[bytes] = []
    for image, labels in zip(frames.images, frames.labels, strict=True):
        for picture, options in (
            (image, {"format": "JPEG", "quality": quality}),
            (labels, {"format": "PNG", "optimize": True}),
        ):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, **options)
            blobs.append(buffer.getvalue())
    out = io.BytesIO()
    ends = np.cumsum([len(b) for b in blobs], dtype=np.int64)
    np.savez(out, ends=ends, data=np.frombuffer(b"".join(blobs), np.uint8))
    atomic_write_bytes(path, out.getvalue())
    return len(out.getvalue())


def read_pack(path: Path) -> Frames:
    """Frames of a packed file. Raises InputError if it is not one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            ends, data = file["ends"], file["data"].tobytes()
        starts = np.concatenate([[0], ends[:-1]])
        parts = [np.asarray(Image.open(io.BytesIO(data[a:b]))) for a, b in zip(starts, ends, strict=True)]
    except Exception as error:
        raise InputError(
            f"{path}: not a packed training set ({error}); make one with python -m chappe.training.pack"
        ) from error
    return Frames(parts[0::2], parts[1::2])


def main(argv: list[str] | None = None) -> int:
    """`python -m chappe.training.pack DATA OUT.npz [--quality 95]`."""
    from chappe.training.corpus import load_frames

    parser = argparse.ArgumentParser(prog="python -m chappe.training.pack", description=main.__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=int, default=95)
    args = parser.parse_args(argv)
    print(f"{write_pack(load_frames(args.data), args.out, args.quality)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
