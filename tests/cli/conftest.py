"""The command in this process (`cli`) and in a process of its own (`spawn`)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import toys
from chappe.cli import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """cli('encode', 'a.png', 'a.chp') -> Result, in an empty folder, with the toy codec registered."""
    monkeypatch.delenv("CHAPPE_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    toys.install(monkeypatch)

    def run(*argv: object) -> Result:
        code = main([str(a) for a in argv])
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def spawn(tmp_path):
    """spawn('info', 'a.chp', stdin=b'...') -> CompletedProcess with bytes, in an empty folder."""

    def run(*argv: object, stdin: bytes = b"", env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "chappe", *map(str, argv)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            timeout=120,
            env={**os.environ, "CHAPPE_DEBUG": "", **(env or {})},
        )

    return run


@pytest.fixture
def picture(tmp_path):
    """A file with a picture of 96x64 pixels of one colour."""
    path = tmp_path / "a.png"
    Image.fromarray(np.full((64, 96, 3), (10, 20, 30), np.uint8)).save(path)
    return path
