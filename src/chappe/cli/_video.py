"""`chappe encode` and `chappe decode` on video: YUV4MPEG2 in, a stream of frames out, and back, a frame at a time."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from chappe.cli._common import say
from chappe.errors import ChappeError, InputError, RateError, StreamError, UsageError
from chappe.files import why

__all__ = ["begins_with", "decode_video", "encode_video"]


def begins_with(path: str, magic: bytes) -> bool:
    """Whether a file, or standard input for '-', begins with these bytes; nothing is consumed."""
    try:
        if path == "-":
            head = _peek(sys.stdin.buffer, len(magic))
            return len(head) > 1 and magic.startswith(head)  # a slow writer may have sent a part of it
        if not Path(path).is_file():
            return False
        with open(path, "rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {why(error)}.") from error


def encode_video(args: argparse.Namespace) -> int:
    """YUV4MPEG2 of `args.input` into a stream of frames. A frame that the rate cannot be met for takes the nearest."""
    from chappe.cli.encode import encode_picture, open_codec
    from chappe.video import frames, y4m

    if args.labels:
        raise UsageError("--labels goes with pictures: the frames of a video are segmented by the codec.")
    codec = open_codec(args)
    count = total = pixels = nearest = 0
    with _source(args.input) as source:
        header = y4m.read_header(source)
        with _sink(args.output) as sink:
            sink.write(frames.header_bytes(header.rate))
            for picture in y4m.read_frames(source, header):
                try:
                    blob = encode_picture(args, codec, picture, None)
                except RateError:
                    nearest += 1
                    blob = _nearest(codec, picture, args.bpp)
                sink.write(frames.frame_bytes(blob))
                sink.flush()  # a receiver at the other end of a pipe draws it now
                count, total, pixels = count + 1, total + len(blob), pixels + picture.shape[0] * picture.shape[1]
            sink.write(frames.END)
    if not count:
        raise InputError(f"{_name(args.input)}: the video has no frames.")
    tail = f"; {nearest} frames do not reach the rate and have the nearest" if nearest else ""
    say(f"{_name(args.output, out=True)}: {count} frames, {total} bytes, {header.width}x{header.height}, "
        f"{total * 8 / pixels:.4f} bpp, {codec.name}{tail}", quiet=args.quiet)  # fmt: skip
    return 0


def decode_video(args: argparse.Namespace) -> int:
    """A stream of frames into YUV4MPEG2, 4:2:0. A damaged frame shows the picture before it, and is counted."""
    from chappe.codec import decode
    from chappe.video import frames, y4m

    if args.output != "-" and Path(args.output).suffix.lower() != ".y4m":
        raise UsageError(f"{args.output}: a stream of frames is written as .y4m, or to - for a pipe.")
    if args.labels or args.confidence:
        raise UsageError("--labels and --confidence go with one picture, not with a stream of frames.")
    header, picture, count, damaged = None, None, 0, []
    with _source(args.input) as source, _sink(args.output) as sink:
        rate = frames.read_header(source)
        try:
            for blob in frames.read_frames(source):
                count += 1
                try:
                    picture = decode(blob, backend=args.backend, folder=args.networks).image
                except StreamError as error:
                    damaged.append(f"frame {count}: {error}")
                    if picture is None:
                        continue  # nothing to show yet
                if header is None:
                    header = y4m.Y4MHeader(picture.shape[1], picture.shape[0], rate=rate)
                    sink.write(y4m.header_bytes(header))
                sink.write(y4m.frame_bytes(picture, header))
                sink.flush()
        except StreamError as error:  # the stream ends too early: what came before it is kept
            damaged.append(str(error))
    if damaged:
        more = f" ({len(damaged)} such frames)" if len(damaged) > 1 else ""
        raise StreamError(f"{_name(args.input)}: {damaged[0].rstrip('.')}{more}; {count} frames were read.")
    say(f"{_name(args.output, out=True)}: {count} frames", quiet=args.quiet)
    return 0


def _nearest(codec, picture, bpp: float | None) -> bytes:
    """Of the codec's operating points the file nearest to a rate (without one the smallest)."""
    wanted = (bpp or 0) * picture.shape[0] * picture.shape[1] / 8
    found = []
    for point in codec.points():
        try:
            found.append(codec.encode(picture, point=point))
        except RateError:
            continue
    if not found:
        raise RateError(f"no operating point of {codec.name} can be met on a frame: choose another codec.")
    return min(found, key=lambda blob: abs(len(blob) - wanted))


def _peek(file: BinaryIO, count: int) -> bytes:
    """The next bytes of a buffered or seekable file, which stay to be read."""
    if hasattr(file, "peek"):
        return file.peek(count)[:count]
    at = file.tell()
    head = file.read(count)
    file.seek(at)
    return head


@contextmanager
def _source(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {why(error)}.") from error
    with file:
        yield file


@contextmanager
def _sink(path: str) -> Iterator[BinaryIO]:
    """Standard output, or a file that takes its name when everything is written; after a cut, with what there is."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, target)
    except OSError as error:
        raise ChappeError(f"{path}: cannot be written: {why(error)}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _name(path: str, *, out: bool = False) -> str:
    return ("standard output" if out else "standard input") if path == "-" else path
