"""The `chappe` command. Results go to stdout, everything else to stderr.

Exit codes: 0 done, 1 could not be done (a missing or damaged file, a rate out of reach), 2 the call itself is wrong,
130 interrupted, 141 the reader of our output went away. Errors are one line; CHAPPE_DEBUG=1 shows the traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from chappe import __version__
from chappe.cli import (
    audit,
    compare,
    decode,
    demo,
    doctor,
    edge,
    encode,
    evaluate,
    export,
    info,
    link,
    link_bench,
    models,
    plot,
    train,
    truncate,
)
from chappe.errors import ChappeError, UsageError

__all__ = ["build_parser", "main"]

_COMMANDS = (
    encode,
    decode,
    truncate,
    info,
    models,
    export,
    demo,
    evaluate,
    compare,
    plot,
    audit,
    edge,
    link,
    link_bench,
    train,
    doctor,
)


class _Parser(argparse.ArgumentParser):
    """Wrong options become a UsageError, so that they end like every other error: in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'.")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command module adds its own and sets `run`."""
    parser = _Parser(
        prog="chappe",
        description="Semantic image codec: a street photo becomes a few hundred bytes, and comes back as a picture "
        "with its meaning.",
        epilog="exit codes: 0 done, 1 could not be done, 2 wrong call; CHAPPE_DEBUG=1 shows tracebacks",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"chappe {__version__}")
    sub = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in _COMMANDS:
        command.add_parser(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        args = build_parser().parse_args(argv)
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except ChappeError as error:
        return _fail(error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _fail(error, "interrupted.", 130)
    except BrokenPipeError:
        # The reader left (chappe info x | head): nothing to say, and nothing more to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError as error:
        return _fail(error, "out of memory: use a smaller picture or a machine with more.", 1)
    except Exception as error:
        detail = " ".join(str(error).split())
        message = f"internal error, please report it: {type(error).__name__}: {detail} (CHAPPE_DEBUG=1 shows where)"
        return _fail(error, message, 1)


def _fail(error: BaseException, message: str, code: int) -> int:
    if os.environ.get("CHAPPE_DEBUG") == "1":
        raise error
    print(f"chappe: {message.rstrip('.')}.", file=sys.stderr)
    return code
