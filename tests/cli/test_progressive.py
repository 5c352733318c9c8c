"""Layers, slices, relevance and confidence from the command line, with the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chappe.bitstream import packets
from chappe.data.scenes import render_scene
from chappe.image import read_image, read_labels, write_image

SCENE = render_scene(11, size=(128, 256))
NAME = "sqgan-street"


@pytest.fixture
def scene(cli):
    write_image("a.png", SCENE.image)
    return "a.png"


def test_layers_are_cut_off_without_a_model(cli, scene, spawn):
    assert cli("encode", scene, "a.chp", "--codec", NAME, "--bpp", "0.08", "--layers", "4").code == 0
    whole = Path("a.chp").read_bytes()
    assert len(whole) * 8 / (128 * 256) == pytest.approx(0.08, rel=0.05)
    sizes = packets.prefix_sizes(whole)
    done = spawn("truncate", "a.chp", "b.chp", "--bytes", sizes[2])
    assert (done.returncode, Path("b.chp").stat().st_size) == (0, sizes[2])
    assert json.loads(cli("info", "b.chp", "--json").out)["ok"]
    assert cli("decode", "b.chp", "b.png", "--confidence", "c.png").code == 0
    assert (read_labels("c.png", (128, 256)) == 255).all()
    Path("cut.chp").write_bytes(whole[: sizes[2] + 3])
    result = cli("decode", "cut.chp", "cut.png")
    assert result.code == 0 and "cut.chp: the file is cut or damaged after layer 2" in result.err
    assert np.array_equal(read_image("b.png"), read_image("cut.png"))
    result = cli("info", "cut.chp")
    assert result.code == 1 and "missing      the file is cut" in result.out


def test_truncate_refuses_in_a_sentence(cli, scene):
    cli("encode", scene, "a.chp", "--codec", NAME, "--bpp", "0.08", "--slices", "4")
    result = cli("truncate", "a.chp", "b.chp", "--bpp", "0.01")
    assert result.code == 1 and "no layers" in result.err and result.err.count("\n") == 1
    assert not Path("b.chp").exists()
    assert cli("truncate", "a.chp", "b.chp").code == 2
    assert cli("truncate", "a.chp", "b.chp", "--bytes", "0").code == 2
    assert cli("truncate", "a.png", "b.chp", "--bpp", "0.01").code == 1


def test_lost_slices_are_named_and_mapped(cli, scene):
    assert (
        cli("encode", scene, "a.chp", "--codec", NAME, "--bpp", "0.1", "--slices", "4", "--relevance", "person=1").code
        == 0
    )
    assert cli("info", "a.chp").code == 0
    Path("b.chp").write_bytes(packets.join(packets.split(Path("a.chp").read_bytes())[:3]))
    result = cli("info", "b.chp")
    note = "1 of 4 slices missing: 25 % of the token cells and 32 of 128 rows of the map inferred"
    assert result.code == 1 and f"missing      {note}\n" in result.out
    assert json.loads(cli("info", "b.chp", "--json").out)["missing"] == note
    result = cli("decode", "b.chp", "b.png", "--confidence", "c.png")
    assert result.code == 0 and f"b.chp: {note}\n" in result.err
    confidence = read_labels("c.png", (128, 256))
    assert {0, 127, 128, 255} == set(np.unique(confidence).tolist())
    assert cli("decode", "b.chp", "b.png", "--quiet").err == ""


def test_confidence_of_a_codec_without_parts_is_white(cli, picture):
    cli("encode", picture, "a.chp", "--codec", "toy-mean")
    assert cli("decode", "a.chp", "b.png", "--confidence", "c.png").code == 0
    assert (read_labels("c.png", (64, 96)) == 255).all()
    assert cli("decode", "a.chp", "b.png", "--confidence", "b.png").code == 2
    assert cli("decode", "a.chp", "b.png", "--confidence", "c.jpg").code == 2


def test_options_become_settings_of_the_point(cli, picture):
    import chappe.codec as codec_module

    codec = codec_module.load("toy-mean")
    call = ("encode", picture, "a.chp", "--codec", "toy-mean")
    cli(*call, "--bpp", "0.5", "--layers", "4", "--relevance", "person=1,sky=0")
    assert codec.seen["bpp"] is None
    assert codec.seen["point"].settings == {"bpp": 0.5, "layers": 4, "relevance": "person=1,sky=0"}
    cli(*call, "--point", "only", "--slices", "3")
    assert codec.seen["point"].settings == {"levels": 1, "slices": 3}
    assert cli(*call, "--bpp", "0.5", "--point", "only").code == 2
    assert cli(*call, "--codec", "spic-onepass-street", "--layers", "3").code in (1, 2)


def test_wrong_values_end_in_a_sentence(cli, scene):
    for options, word in ((("--relevance", "dragon=1"), "dragon"), (("--layers", "3", "--slices", "3"), "not both")):
        result = cli("encode", scene, "a.chp", "--codec", NAME, *options)
        assert result.code == 2 and word in result.err and result.err.count("\n") == 1
