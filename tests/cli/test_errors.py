"""Exit codes and sentences: one line on stderr, nothing on stdout, no traceback unless asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import chappe.cli
from chappe.cli import main
from chappe.errors import ChappeError, StreamError, UsageError


def _one_line(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("chappe: ")
    return lines[0]


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        ([], 2, "required: COMMAND"),
        (["fly"], 2, "invalid choice: 'fly'"),
        (["encode"], 2, "required: IN, OUT"),
        (["encode", "a.png", "b.chp", "--rate", "1"], 2, "unrecognized arguments: --rate"),
        (["encode", "a.png", "b.chp", "--bpp", "fast"], 2, "'fast' is not a rate"),
        (["encode", "a.png", "b.chp", "--bpp", "-1"], 2, "'-1' is not a rate"),
        (["encode", "a.png", "b.chp", "--bpp", "nan"], 2, "'nan' is not a rate"),
        (["encode", "a.png", "b.chp", "--codec", "none"], 2, "There is no model 'none'"),
        (["encode", "a.png", "b.chp", "--bpp", "1", "--point", "x"], 2, "--point, not both"),
        (["encode", "a.png", "b.chp", "--bpp", "1", "--set", "bpp=2"], 2, "--set bpp=..., not both"),
        (["encode", "a.png", "b.chp", "--set", "levels"], 2, "KEY=VALUE"),
        (["encode", "a.png", "b.chp", "--codec", "toy-mean", "--point", "x"], 2, "it has only"),
        (["encode", "a.png", "a.png", "--codec", "toy-mean"], 2, "both input and output"),
        (["encode", "none.png", "b.chp"], 1, "none.png: cannot be read: no such file or directory"),
        (["encode", "a.png", "none/b.chp"], 1, "no folder 'none'"),
        (["encode", "a.png", "b.chp", "--codec", "toy-mean", "--bpp", "11"], 1, "no more than 10 bpp"),
        (["encode", "a.png", "b.chp", "--codec", "toy-mean", "--labels", "none.png"], 1, "none.png: cannot be read"),
        (["encode", "a.png", "b.chp", "--codec", "toy-mean", "--labels", "a.png"], 1, "not in the palette of street11"),
        (["decode", "none.chp", "b.png"], 1, "none.chp: cannot be read"),
        (["decode", "a.png", "b.xyz"], 2, "b.xyz: pictures are written as .png"),
        (["decode", "a.png", "b.png", "--labels", "l.jpg"], 2, "l.jpg: label maps are written as .png"),
        (["decode", "a.png", "b.png", "--labels", "b.png"], 2, "different outputs"),
        (["decode", "a.png", "b.png"], 1, ""),
        (["info", "a.png"], 1, ""),
        (["info", "none.chp"], 1, "none.chp: cannot be read"),
        (["train", "none"], 2, "invalid choice: 'none'"),
        (["demo", "--out", "-"], 2, "needs a file name"),
    ],
)
def test_errors_are_one_line(cli, picture, argv, code, sentence):
    before = sorted(os.listdir(picture.parent))
    result = cli(*argv)
    assert result.code == code
    assert sentence in _one_line(result.err)
    assert result.out == ""
    assert sorted(os.listdir(picture.parent)) == before


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ChappeError("cannot."), 1, "chappe: cannot."),
        (UsageError("wrong."), 2, "chappe: wrong."),
        (StreamError("damaged."), 1, "chappe: damaged."),
        (KeyboardInterrupt(), 130, "chappe: interrupted."),
        (MemoryError(), 1, "chappe: out of memory"),
        (ZeroDivisionError("by\nzero"), 1, "chappe: internal error, please report it: ZeroDivisionError: by zero"),
    ],
)
def test_what_every_exception_becomes(cli, monkeypatch, error, code, sentence):
    def fail(args):
        raise error

    monkeypatch.setattr(chappe.cli.models, "run", fail)
    result = cli("models")
    assert result.code == code
    assert _one_line(result.err).startswith(sentence)
    monkeypatch.setenv("CHAPPE_DEBUG", "1")
    with pytest.raises(type(error)):
        main(["models"])


def test_tracebacks_only_when_asked_for(spawn):
    plain = spawn("info", "none.chp")
    assert plain.returncode == 1
    assert b"Traceback" not in plain.stderr
    assert b"Traceback" in spawn("info", "none.chp", env={"CHAPPE_DEBUG": "1"}).stderr


def test_ctrl_c_is_one_line_and_130(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "chappe", "info", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "CHAPPE_DEBUG": ""},
    )
    time.sleep(1.5)  # it now waits for standard input
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr.read() == b"chappe: interrupted.\n"
    process.stdin.close()
    process.stderr.close()


def test_a_reader_that_leaves_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "chappe", "models", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_version_and_help(spawn):
    assert spawn("--version").stdout.startswith(b"chappe ")
    text = spawn("--help").stdout.decode()
    for command in ("encode", "decode", "info", "models", "doctor", "demo", "train"):
        assert command in text
        assert spawn(command, "--help").returncode == 0
