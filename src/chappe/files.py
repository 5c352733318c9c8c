"""Reading and writing whole files: plain sentences for what can go wrong, and never a half-written output."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

from chappe.errors import ChappeError, InputError

__all__ = ["PICTURE_SUFFIXES", "atomic_write_bytes", "read_bytes", "why"]

MAX_BYTES = 1 << 30
# What a file of a folder ends in to be taken for a picture.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".ppm", ".gif")


def why(error: OSError) -> str:
    """The reason of an OSError without path and number: 'no such file or directory'."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> bytes:
    """The contents of a file, or of standard input for '-'.

    Raises InputError if it is missing, unreadable, a folder, or larger than `max_bytes`.
    """
    try:
        if os.fspath(path) == "-":
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {why(error)}.") from error
    if len(data) > max_bytes:
        raise InputError(f"{path}: is larger than {max_bytes} bytes, the most that is read.")
    return data


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that its name holds the old contents or all of the new, at every moment.

    The data goes to a new file in the same folder, to the disk, and then takes the name. A link is followed; the
    permissions of a file that is replaced are kept. Devices and pipes (/dev/null, a FIFO) are written as they are,
    and '-' is standard output. Raises ChappeError when that fails, leaving nothing behind.
    """
    if os.fspath(path) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    created = False
    try:
        mode = target.stat().st_mode if target.exists() else None
        if mode is not None and stat.S_ISDIR(mode):
            raise ChappeError(f"{path}: cannot be written: it is a folder.")
        if mode is not None and not stat.S_ISREG(mode):
            target.write_bytes(data)
            return
        with open(temporary, "xb") as file:
            created = True
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, target)
        created = False
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ChappeError(f"{path}: cannot be written: {why(error)}.") from error
    finally:
        if created:
            temporary.unlink(missing_ok=True)
