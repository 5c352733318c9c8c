"""Opening codecs by name, and what a point written as text means to them."""

from __future__ import annotations

import sys

import pytest

from chappe.bench import codecs
from chappe.bench.codecs import canonical_point, codec_version, known_codecs, open_codec, parse_point, sends_labels
from chappe.codec import OperatingPoint
from chappe.errors import MissingDependency, UsageError
from shrink import FILE as SHRINK


@pytest.fixture(autouse=True)
def fresh():
    open_codec.cache_clear()
    yield
    open_codec.cache_clear()


def test_models_and_classical_codecs_are_known():
    names = known_codecs()
    assert "sqgan-street" in names and "hevc-half" in names and len(names) == len(set(names))


def test_an_adapter_is_opened_once_by_file_or_by_module(tmp_path, monkeypatch):
    codec = open_codec(f"{SHRINK}:plain")
    assert codec.name == "shrink" and codec is open_codec(f"{SHRINK}:plain")
    (tmp_path / "my_adapter.py").write_text("from shrink import labelled\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert open_codec("my_adapter:labelled").name == "shrink-labels"


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("hevk", UsageError, "did you mean hevc"),
        ("nonsense", UsageError, "the codecs are cspic-street, "),
        ("no_such_module:make", UsageError, "no module 'no_such_module'"),
        ("none.py:make", UsageError, "none.py: no such file"),
        (f"{SHRINK}:none", UsageError, "no function 'none'"),
        (f"{SHRINK}:not_a_codec", UsageError, "returned int"),
        ("broken.py:make", UsageError, "ZeroDivisionError"),
        ("lacking.py:make", MissingDependency, "'no_such_package'"),
    ],
)
def test_what_cannot_be_opened_says_so(tmp_path, monkeypatch, name, error, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "lacking.py").write_text("import no_such_package\n")
    with pytest.raises(error, match=sentence):
        open_codec(name)


def test_a_version_is_the_librarys_or_the_weights_and_settings(monkeypatch):
    assert codec_version(open_codec(f"{SHRINK}:plain")) == "shrink 1"
    codec = open_codec(f"{SHRINK}:labelled")
    before = codec_version(codec)
    assert before.startswith("weights beef, settings ")
    monkeypatch.setattr(type(codec), "settings", {"grid": 4})
    assert codec_version(codec) != before
    assert sends_labels(codec) and not sends_labels(open_codec(f"{SHRINK}:plain"))


def test_points_as_text():
    codec = open_codec(f"{SHRINK}:plain")
    assert parse_point(codec, "0.04") == {"bpp": 0.04}
    assert parse_point(codec, "small") == {"point": OperatingPoint("small", {"bpp": 0.5})}
    assert parse_point(codec, "max") is None
    settings = {"bpp": 0.04, "map": "near", "n": 3, "share": 0.5}
    for text in ("0.04,map=near,n=3,share=.5", "bpp=0.04, map=near, n=3, share=.5"):
        assert parse_point(codec, text)["point"] == OperatingPoint(text, settings)
    assert parse_point(codec, "small,n=1")["point"].settings == {"bpp": 0.5, "n": 1}
    for text in ("-1", "0", "25", "nan", "0.04,map", "0.04,=3"):
        with pytest.raises(UsageError):
            parse_point(codec, text)


def test_one_spelling_for_one_point():
    spelled = {".04": "0.04", "4e-2": "0.04", "0.040, map=near": "0.04,map=near", "max": "max", "bpp=.1": "bpp=.1"}
    assert {text: canonical_point(text) for text in spelled} == spelled


def test_the_name_of_the_uncoded_picture_is_taken():
    assert codecs.ORIGINAL == "original" and codecs.ORIGINAL not in known_codecs()
