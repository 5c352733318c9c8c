"""Folders and video through the command, with the toy codec."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from chappe.cli._batch import outputs
from chappe.image import label_bytes, read_image, read_labels, write_image
from chappe.video import frames, y4m

TOY = ("--codec", "toy-mean")


def colour(k: int) -> np.ndarray:
    return np.full((64, 96, 3), (10 * k, 20, 30), np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for k, name in enumerate(("a.png", "b.jpg", "b.png")):
        write_image(tmp_path / "in" / name, colour(k))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


@pytest.fixture
def pipe(monkeypatch):
    """pipe(b'...') makes these bytes standard input and returns what will hold standard output."""

    def connect(data: bytes) -> io.BytesIO:
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))))
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out, isatty=lambda: False, flush=lambda: None))
        return out

    return connect


def test_a_folder_there_and_back(cli, folder, tmp_path):
    assert cli("encode", "in", "out", *TOY).code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.chp", "b.jpg.chp", "b.png.chp"]
    done = cli("decode", "out", "back")
    assert done.code == 0 and "3 files decoded" in done.err
    assert np.array_equal(read_image(tmp_path / "back" / "b.png.png"), colour(2))


def test_what_is_there_is_left_alone_unless_forced(cli, folder, tmp_path):
    cli("encode", "in", "out", *TOY)
    (tmp_path / "out" / "a.chp").write_bytes(b"mine")
    done = cli("encode", "in", "out", *TOY)
    assert done.code == 0 and "3 of 3 are there already" in done.err
    assert (tmp_path / "out" / "a.chp").read_bytes() == b"mine"
    assert cli("encode", "in", "out", *TOY, "--force", "--quiet") == (0, "", "")
    assert (tmp_path / "out" / "a.chp").read_bytes() != b"mine"


def test_a_bad_picture_does_not_stop_the_others(cli, folder, tmp_path):
    (folder / "a.png").write_bytes(b"not a picture")
    done = cli("encode", "in", "out", *TOY, "--quiet")
    assert done.code == 1
    assert "a.png: is not a picture" in done.err and "1 of 3 files could not be encoded" in done.err
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_labels_of_a_folder(cli, folder, tmp_path):
    (tmp_path / "maps").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "maps" / name).write_bytes(label_bytes(np.full((64, 96), 5, np.uint8), "street11"))
    assert cli("encode", "in", "out", *TOY, "--labels", "maps").code == 0
    assert cli("decode", "out", "back", "--labels", "read").code == 0
    assert (read_labels(tmp_path / "read" / "a.png") == 5).all()
    assert cli("encode", "in", "out2", *TOY, "--labels", "in/a.png").code == 2


def test_calls_of_folders_that_cannot_work(cli, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no files" in cli("encode", "empty", "out", *TOY).err
    assert cli("encode", "in", "out", *TOY, "--jobs", "0").code == 2
    assert cli("encode", "in", "in/a.png", *TOY).code == 1  # a file stands where the folder should be
    assert cli("decode", "in", "out", "--confidence", "c.png").code == 2
    assert outputs(["x.png"], ".chp") == {"x.png": "x.chp"}


def clip(*images: np.ndarray, rate=(25, 1)) -> bytes:
    header = y4m.Y4MHeader(images[0].shape[1], images[0].shape[0], "444", rate)
    return y4m.header_bytes(header) + b"".join(y4m.frame_bytes(image, header) for image in images)


def test_video_through_pipes(cli, pipe, monkeypatch):
    out = pipe(clip(colour(1), colour(9)))
    assert cli_main("encode", "-", "-", *TOY) == 0
    data = out.getvalue()
    file = io.BytesIO(data)
    assert frames.read_header(file) == (25, 1) and len(list(frames.read_frames(file))) == 2
    out = pipe(data)
    assert cli_main("decode", "-", "-") == 0
    file = io.BytesIO(out.getvalue())
    header = y4m.read_header(file)
    assert header == y4m.Y4MHeader(96, 64, "420", (25, 1))
    first, second = y4m.read_frames(file, header)
    assert np.abs(first.astype(int) - colour(1)).max() <= 3 and np.abs(second.astype(int) - colour(9)).max() <= 3


def cli_main(*argv: str) -> int:
    from chappe.cli import main

    return main(list(argv))


def test_video_files(cli, tmp_path):
    (tmp_path / "v.y4m").write_bytes(clip(colour(1), colour(2), colour(3)))
    done = cli("encode", "v.y4m", "v.chps", *TOY)
    assert done.code == 0 and "v.chps: 3 frames" in done.err
    assert cli("decode", "v.chps", "w.y4m").code == 0
    assert cli("decode", "v.chps", "w.png").code == 2
    assert cli("decode", "v.chps", "w.y4m", "--labels", "l.png").code == 2
    assert cli("encode", "v.y4m", "v.chps", *TOY, "--labels", "l.png").code == 2


def test_a_frame_out_of_reach_takes_the_nearest(cli, tmp_path):
    (tmp_path / "v.y4m").write_bytes(clip(colour(1), colour(2)))
    done = cli("encode", "v.y4m", "v.chps", *TOY, "--bpp", "12")
    assert done.code == 0 and "2 frames do not reach the rate" in done.err


def test_a_cut_video_keeps_nothing_and_a_cut_stream_what_came(cli, tmp_path):
    data = clip(colour(1), colour(2))
    (tmp_path / "v.y4m").write_bytes(data[:-1])
    done = cli("encode", "v.y4m", "v.chps", *TOY)
    assert done.code == 1 and "ends inside frame 2" in done.err and not (tmp_path / "v.chps").exists()
    (tmp_path / "v.y4m").write_bytes(data)
    cli("encode", "v.y4m", "v.chps", *TOY)
    stream = (tmp_path / "v.chps").read_bytes()
    (tmp_path / "v.chps").write_bytes(stream[:-3])
    done = cli("decode", "v.chps", "w.y4m")
    assert done.code == 1 and "inside frame 2" in done.err and "1 frames were read" in done.err
    assert (tmp_path / "w.y4m").read_bytes().count(b"FRAME") == 1


def test_a_damaged_frame_shows_the_one_before(cli, tmp_path):
    (tmp_path / "v.y4m").write_bytes(clip(colour(1), colour(2), colour(3)))
    cli("encode", "v.y4m", "v.chps", *TOY)
    stream = bytearray((tmp_path / "v.chps").read_bytes())
    stream[len(stream) // 2] ^= 255
    (tmp_path / "v.chps").write_bytes(stream)
    done = cli("decode", "v.chps", "w.y4m")
    assert done.code == 1 and "frame 2" in done.err
    file = io.BytesIO((tmp_path / "w.y4m").read_bytes())
    shown = list(y4m.read_frames(file, y4m.read_header(file)))
    assert len(shown) == 3 and np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[1], shown[2])


def test_a_reader_that_leaves(cli, pipe, monkeypatch):
    class Gone(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError

    pipe(clip(colour(1)))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=Gone(), isatty=lambda: False, fileno=lambda: 99,
                                                       flush=lambda: None))  # fmt: skip
    monkeypatch.setattr("os.dup2", lambda a, b: None)
    assert cli_main("encode", "-", "-", *TOY) == 141
