"""`chappe evaluate` and `chappe audit` from the command line, on three small scenes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from shrink import FILE as SHRINK
from shrink import make_data

PLAIN, LABELLED = f"{SHRINK}:plain", f"{SHRINK}:labelled"


@pytest.fixture
def evaluate(cli, tmp_path, monkeypatch):
    """evaluate(*options) on the folder `scenes`, one process, into `out`."""
    monkeypatch.delenv("CHAPPE_DATA", raising=False)
    make_data(tmp_path / "scenes", 3)
    common = ("--taxonomy", "street11", "--jobs", "1", "--out", "out")

    def run(*options):
        return cli("evaluate", "scenes", "--codecs", PLAIN, LABELLED, *common, *options)

    return run


def test_table_results_and_audit(evaluate, cli, tmp_path):
    done = evaluate("--bpp", "0.1", "1", "2", "--labels", "predicted", "true", "--limit", "2", "--no-report")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split()[:6] == ["split", "codec", "labels", "point", "frames", "bpp"]
    assert lines[1].split()[:4] == ["all", "original", "original", "2"]
    assert [line.split()[:2] for line in lines[2:11:3]] == [["all", "shrink"]] + 2 * [["all", "shrink-labels"]]
    assert lines[2].split()[3] == "0/2" and set(lines[2].split()[4:]) == {"–"}
    assert "at the judge mIoU that shrink reaches at" in lines[-1] and "the best of {shrink-labels}" in lines[-1]
    text = (tmp_path / "out" / "results.json").read_text()
    results = json.loads(text)
    assert str(tmp_path) not in results["command"].replace(str(SHRINK), "") and results["data"] == "scenes"
    assert results["frames"] == {"all": ["s0", "s1"]} and results["protocol"] == "none"
    assert len(results["cells"]) == 10 and results["sentences"] == [lines[-1]]
    assert {r["name"] for r in results["compressai"]} == {"shrink", "shrink-labels"}
    assert results["versions"]["shrink"] == "shrink 1" and "torch" in results["versions"]

    honest = cli("audit", "out", "--data", "scenes", "--sample", "3")
    assert honest.code == 0 and "0 wrong in themselves, 0 of 3 rows measured again differ." in honest.out
    assert cli("audit", "out").code == 1  # where is the data set?
    path = tmp_path / "out" / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    row = next(r for r in rows if r["reached"] and r["codec"] == "shrink")
    row["bpp"] /= 2
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    caught = cli("audit", "out", "--sample", "0")
    assert caught.code == 1 and f"MISMATCH all {row['name']} shrink 1: says" in caught.out
    assert "values[bpp] says" in caught.out


def test_report_with_gallery(evaluate, tmp_path):
    done = evaluate("--bpp", "2", "--limit", "1", "--gallery", "1", "--quiet")
    assert done.code == 0 and done.err == ""
    page = (tmp_path / "out" / "report.html").read_text()
    assert "shrink-labels" in page and (tmp_path / "out" / "pictures" / "s0--shrink--none--2.png").is_file()


def test_a_folder_of_pictures_without_labels(evaluate, cli, tmp_path):
    done = cli("evaluate", "scenes/images", "--codecs", PLAIN, "--bpp", "2", "--jobs", "1", "--no-report", "--out", "o")
    assert done.code == 0 and "miou" not in done.out and "has no judge mIoU" in done.out
    rows = [json.loads(line) for line in (Path("o") / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and all(row["eye:judge"] is None for row in rows)


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--codecs", "nonsense"], 2, "There is no codec 'nonsense'"),
        (["--bpp", "fast"], 2, "'fast' is neither a rate nor an operating point"),
        (["--bpp", "99"], 2, "'99' is not a rate"),
        (["--limit", "0"], 2, "'0' is not a whole number from 1 on"),
        (["--split", "night"], 1, "no split 'night'"),
        (["--espnetv2"], 1, "CHAPPE_DATA is not set"),
        (["--taxonomy", "street12"], 2, "no label set 'street12'"),
        (["--gallery", "-1"], 2, "--gallery -1"),
        (["--reproduce", "fig0"], 2, "fig0"),
    ],
)
def test_wrong_calls_are_one_line(evaluate, options, code, sentence):
    done = evaluate("--quiet", *options)
    assert done.code == code and sentence in done.err and len(done.err.splitlines()) == 1, done.err


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "images" / "s1.png").write_text("text"), "s1.png: is not a picture"),
        (lambda root: [p.unlink() for p in root.rglob("*.png")], "holds no pictures"),
        (lambda root: Image.new("RGB", (1, 1)).save(root / "images" / "s1.png"), "must be the same"),
        (lambda root: [Image.new(m, (1, 1)).save(root / f / "s1.png") for m, f in (("RGB", "images"), ("L", "labels"))],
         "s1: has 1x1 pixels"),
        (lambda root: Image.new("L", (9, 9)).save(root / "labels" / "s1.png"), "9x9 pixels"),
        (lambda root: Image.new("L", (96, 64), 77).save(root / "labels" / "s1.png"), "class index 77"),
    ],
    ids=["text-as-png", "empty", "tiny-picture", "one-pixel", "label-size", "class-id"],
)  # fmt: skip
def test_bad_input_is_one_line(evaluate, tmp_path, spoil, sentence):
    spoil(tmp_path / "scenes")
    done = evaluate("--quiet")
    assert done.code == 1 and sentence in done.err and len(done.err.splitlines()) == 1, done.err
    assert not (tmp_path / "out").exists()
