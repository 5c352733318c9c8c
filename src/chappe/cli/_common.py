"""What several commands share: messages, tables and checks of paths before any work is done."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chappe.codec import StreamReport
from chappe.errors import ChappeError, StreamError, UsageError

__all__ = ["add_backend", "check_output", "columns", "naming", "rate", "say", "section_lines", "summary"]


def add_backend(parser: argparse.ArgumentParser) -> None:
    """--backend and --networks: what runs the networks."""
    parser.add_argument(
        "--backend", choices=("torch", "onnx", "onnx-int8"), help="what runs the networks (default torch)"
    )
    parser.add_argument("--networks", metavar="DIR", help="folder that 'chappe export' wrote, for --backend onnx")


def say(text: str, *, quiet: bool = False) -> None:
    """One line to stderr, unless quiet."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the name of the file in front of what is wrong with its bytes."""
    try:
        yield
    except StreamError as error:
        raise type(error)(f"{'standard input' if path == '-' else path}: {error}") from error


def check_output(path: str, *, source: str | None = None) -> None:
    """Refuse an output that cannot work before time is spent on it: no folder, the input itself, a terminal."""
    if path == "-":
        if sys.stdout.isatty():
            raise UsageError("will not write binary data to a terminal: redirect it or give a file name.")
        return
    folder = Path(path).parent
    if not folder.is_dir():
        raise ChappeError(f"{path}: cannot be written: there is no folder {str(folder)!r}.")
    if source not in (None, "-") and os.path.exists(path) and os.path.samefile(path, source):
        raise UsageError(f"{path}: is both input and output: give another name.")


def rate(text: str) -> float:
    """Bits per pixel as an option: above 0, at most 24."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 24:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate between 0 and 24 bits per pixel")
    return value


def summary(name: str, report: StreamReport) -> str:
    """'street.chp: 652 bytes, 512x256, 0.0398 bpp, sqgan-street'."""
    name = "standard output" if name == "-" else name
    return f"{name}: {report.total} bytes, {report.width}x{report.height}, {report.bpp:.4f} bpp, {report.codec}"


def section_lines(report: StreamReport) -> list[str]:
    """A table of the header and every section: bytes, bpp, share of the file, check."""
    pixels, total = report.width * report.height, report.total
    rows = [("header", report.header, "", "ok")]
    rows += [(s.name, s.size, s.payload, "ok" if s.ok else "DAMAGED") for s in report.sections]
    body = [(n, str(b), str(p), f"{b * 8 / pixels:.4f}", f"{b / total:.0%}", c) for n, b, p, c in rows]
    return columns(("part", "bytes", "payload", "bpp", "share", "check"), body, left=(0, 5))


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Aligned lines of text; the columns in `left` are flush left, the others flush right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines
